//! One direction of a connection's bytes, as pieces that say what they are: a hello, a record of so
//! many bytes. Bytes exist only inside frames, so that a hundred thousand connections are small.

use std::collections::VecDeque;
use std::sync::Arc;

use super::client::Call;
use super::slab::Id;
use super::tls;

/// What the other end's application knows when a piece has arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Nothing.
    None,
    /// A ClientHello.
    Hello,
    /// The server's flight.
    ServerFlight,
    /// The handshake is over.
    Finished,
    /// A whole request: of which call and attempt.
    Request(Id<Call>, u32),
    /// The beginning of an answer.
    Head,
    /// The end of an answer.
    End,
    /// An error instead of an answer, and the seconds after which to come back.
    Error { status: u16, retry_after: Option<u16> },
}

/// What its bytes are.
#[derive(Clone, Debug)]
enum Bytes {
    /// These.
    Given(Arc<[u8]>),
    /// A record header, and filler.
    Record(u32),
}

#[derive(Clone, Debug)]
struct Piece {
    /// Offset of its first byte.
    start: u64,
    len: u32,
    bytes: Bytes,
    message: Message,
}

/// The bytes of one direction that have been written and not yet acknowledged.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pieces: VecDeque<Piece>,
    /// Offset behind the last byte.
    written: u64,
}

impl Stream {
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes bytes that are given.
    pub(super) fn give(&mut self, bytes: &Arc<[u8]>, message: Message) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.push(len, Bytes::Given(Arc::clone(bytes)), message);
    }

    /// Writes `plaintext` bytes of data in as few records as hold them.
    pub(super) fn record(&mut self, plaintext: u32, message: Message) {
        let mut left = plaintext;
        while left > tls::PLAINTEXT_MAX {
            self.one_record(tls::PLAINTEXT_MAX, Message::None);
            left -= tls::PLAINTEXT_MAX;
        }
        self.one_record(left, message);
    }

    /// Forgets what has been acknowledged, which is all below `offset`.
    pub(super) fn acknowledge(&mut self, offset: u64) {
        let done = |piece: &mut Piece| piece.start + u64::from(piece.len) <= offset;
        while self.pieces.pop_front_if(done).is_some() {}
    }

    /// Appends the bytes from `offset` on to `frame`.
    pub(super) fn copy(&self, offset: u64, len: u32, frame: &mut Vec<u8>) {
        let end = offset + u64::from(len);
        for piece in self.pieces.iter().skip_while(|p| p.start + u64::from(p.len) <= offset) {
            if piece.start >= end {
                break;
            }
            let from = offset.saturating_sub(piece.start);
            let to = (end - piece.start).min(piece.len.into());
            piece.copy(from, to, frame);
        }
    }

    /// Messages whose last byte lies below `to` and not below `from`, in order.
    pub(super) fn messages(&self, from: u64, to: u64) -> impl Iterator<Item = Message> {
        let end = |piece: &Piece| piece.start + u64::from(piece.len);
        let arrived = move |piece: &&Piece| end(piece) > from && end(piece) <= to;
        self.pieces.iter().filter(arrived).map(|p| p.message).filter(|&m| m != Message::None)
    }

    fn one_record(&mut self, plaintext: u32, message: Message) {
        let len = tls::HEADER + plaintext + tls::OVERHEAD;
        self.push(len, Bytes::Record(plaintext), message);
    }

    fn push(&mut self, len: u32, bytes: Bytes, message: Message) {
        self.pieces.push_back(Piece { start: self.written, len, bytes, message });
        self.written += u64::from(len);
    }
}

impl Piece {
    /// Appends its bytes from `from` up to `to` to `frame`.
    fn copy(&self, from: u64, to: u64, frame: &mut Vec<u8>) {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        match &self.bytes {
            Bytes::Given(bytes) => {
                frame.extend_from_slice(bytes.get(at(from)..at(to)).unwrap_or_default());
            }
            Bytes::Record(plaintext) => {
                let header = tls::header(*plaintext);
                let of_header = header.get(at(from)..header.len().min(at(to))).unwrap_or_default();
                frame.extend_from_slice(of_header);
                let filler = at(to - from) - of_header.len();
                frame.resize(frame.len() + filler, tls::FILLER);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_of_a_stream_has_the_bytes_of_the_whole() {
        let mut stream = Stream::default();
        stream.give(&Arc::from(tls::finished()), Message::Finished);
        stream.record(40_000, Message::Head);
        stream.record(5, Message::End);
        let whole = u32::try_from(stream.written()).unwrap();
        let mut bytes = Vec::new();
        stream.copy(0, whole, &mut bytes);
        for step in [1, 4, 1460] {
            let mut cut = Vec::new();
            for offset in (0..whole).step_by(step as usize) {
                stream.copy(offset.into(), step.min(whole - offset), &mut cut);
            }
            assert!(cut == bytes, "in steps of {step}");
        }
        assert_eq!(stream.messages(0, 64).collect::<Vec<_>>(), [Message::Finished]);
        assert_eq!(stream.messages(64, u64::from(whole) - 1).collect::<Vec<_>>(), [Message::Head]);
        stream.acknowledge(u64::from(whole) - 1);
        assert_eq!(stream.pieces.len(), 1);
    }
}
