//! The frames of an opened Initial (RFC 9000, 12.4 and 19): CRYPTO, and those that may stand before
//! it.

use super::varint;
use super::version::FrameTypes;

/// A piece of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crypto<'a> {
    /// Where it stands in the stream of handshake bytes.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) data: &'a [u8],
}

/// The CRYPTO frames of a payload, up to its end or to a frame that no Initial may hold.
pub(super) fn crypto(payload: &[u8], types: FrameTypes) -> impl Iterator<Item = Crypto<'_>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        loop {
            let start = rest.iter().position(|&byte| byte != PADDING)?;
            rest = rest.get(start..)?;
            match (types, varint(&mut rest)?) {
                (FrameTypes::Ietf, PING) | (FrameTypes::Google, GOOGLE_PING) => {}
                (FrameTypes::Ietf, ACK) => ack(&mut rest, 0)?,
                (FrameTypes::Ietf, ACK_ECN) => ack(&mut rest, 3)?,
                (FrameTypes::Ietf, CRYPTO) | (FrameTypes::Google, GOOGLE_CRYPTO) => {
                    let offset = varint(&mut rest)?;
                    let data = block(&mut rest)?;
                    return Some(Crypto { offset, data });
                }
                (FrameTypes::Ietf, CONNECTION_CLOSE) => {
                    varint(&mut rest)?;
                    varint(&mut rest)?;
                    block(&mut rest)?;
                }
                _ => {
                    rest = &[];
                    return None;
                }
            }
        }
    })
}

/// Skips the fields of an ACK frame and the `counts` of ECN behind them.
fn ack(rest: &mut &[u8], counts: u64) -> Option<()> {
    varint(rest)?;
    varint(rest)?;
    let ranges = varint(rest)?;
    varint(rest)?;
    // Each number takes a byte at least, so the payload bounds what a count can ask for.
    for _ in 0..ranges.checked_mul(2)?.checked_add(counts)? {
        varint(rest)?;
    }
    Some(())
}

/// Bytes behind their length.
fn block<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint(rest)?).ok()?;
    let (block, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(block)
}

// Frame types (RFC 9000, 19), and Google's.
const PADDING: u8 = 0x00;
const PING: u64 = 0x01;
const ACK: u64 = 0x02;
const ACK_ECN: u64 = 0x03;
const CRYPTO: u64 = 0x06;
const CONNECTION_CLOSE: u64 = 0x1c;
const GOOGLE_PING: u64 = 0x07;
const GOOGLE_CRYPTO: u64 = 0x08;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(payload: &[u8]) -> Vec<Crypto<'_>> {
        crypto(payload, FrameTypes::Ietf).collect()
    }

    #[test]
    fn crypto_is_found_among_the_frames_of_an_initial() {
        let payload = [
            &[0, 0, 1][..],
            &[2, 5, 0, 1, 0, 1, 2],
            &[3, 5, 0, 0, 0, 7, 8, 9],
            &[6, 0, 2, 0xaa, 0xbb],
            &[0x1c, 0, 6, 1, b'x'],
            &[0, 6, 0x40, 0x64, 1, 0xcc, 0, 0],
        ]
        .concat();
        let expected =
            [Crypto { offset: 0, data: &[0xaa, 0xbb] }, Crypto { offset: 100, data: &[0xcc] }];
        assert_eq!(read(&payload), expected);
    }

    #[test]
    fn another_frame_ends_the_packet() {
        assert_eq!(read(&[8, 0, 6, 0, 1, 0xaa]), []);
        assert_eq!(read(&[6, 0, 1, 0xaa, 8, 6, 1, 1, 0xbb]).len(), 1);
    }

    #[test]
    fn google_has_numbers_of_its_own() {
        let payload = [7, 8, 0, 1, 0xaa, 6, 1, 1, 0xbb];
        let read: Vec<_> = crypto(&payload, FrameTypes::Google).collect();
        assert_eq!(read, [Crypto { offset: 0, data: &[0xaa] }]);
    }

    #[test]
    fn a_frame_that_is_cut_gives_nothing() {
        let payload = [6, 0, 4, 1, 2, 3, 4];
        for len in 0..payload.len() {
            assert_eq!(read(&payload[..len]), [], "{len} bytes");
        }
        assert_eq!(read(&[2, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]), []);
    }

    proptest! {
        #[test]
        fn arbitrary_payloads_do_not_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&payload).len() <= payload.len());
        }
    }
}
