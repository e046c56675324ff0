//! The protection of Initial packets (RFC 9001, 5): keys from the client's first connection id,
//! header protection, AES-128-GCM.
//!
//! Anyone can derive these keys; the tag only says that they are the right ones.

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes_gcm::AesGcm;
use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U12;
use hkdf::Hkdf;
use sha2::Sha256;

use super::packet::Packet;
use super::version::Version;

/// The keys that protect what the client sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    key: [u8; 16],
    iv: [u8; 12],
    header: [u8; 16],
}

impl Keys {
    /// The client's keys, from the destination connection id of its first Initial.
    pub(super) fn client(version: &Version, destination: &[u8]) -> Option<Self> {
        let (_, initial) = Hkdf::<Sha256>::extract(Some(&version.salt), destination);
        let mut secret = [0; 32];
        initial.expand(CLIENT_IN, &mut secret).ok()?;
        let client = Hkdf::<Sha256>::from_prk(&secret).ok()?;
        let mut keys = Self::default();
        client.expand(version.labels.key, &mut keys.key).ok()?;
        client.expand(version.labels.iv, &mut keys.iv).ok()?;
        client.expand(version.labels.header, &mut keys.header).ok()?;
        Some(keys)
    }

    /// The payload of an Initial, opened in `scratch`, if these are its keys. No allocation as long
    /// as the packet is no longer than the capacity of `scratch`.
    pub(super) fn open<'a>(
        &self,
        packet: &Packet<'_>,
        scratch: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        let sample_at = packet.number_at + NUMBER_BYTES_MAX;
        let sample: &[u8; 16] = packet.bytes.get(sample_at..)?.first_chunk()?;
        if packet.bytes.len() > scratch.capacity() {
            return None;
        }
        let mut mask = (*sample).into();
        Aes128Enc::new(&self.header.into()).encrypt_block(&mut mask);
        let [mask_first, mask_number @ ..] = *mask.first_chunk::<5>()?;
        scratch.clear();
        scratch.extend_from_slice(packet.bytes);
        let first = scratch.first_mut()?;
        *first ^= mask_first & 0x0f;
        let number_bytes = usize::from(*first & 3) + 1;
        let (header, sealed) = scratch.split_at_mut_checked(packet.number_at + number_bytes)?;
        let mut nonce = self.iv;
        let number = header.get_mut(packet.number_at..)?;
        for (byte, mask) in number.iter_mut().zip(mask_number) {
            *byte ^= mask;
        }
        // The client's first numbers are sent whole: none of them has been acknowledged.
        for (byte, number) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *byte ^= number;
        }
        let (payload, tag) = sealed.split_last_chunk_mut::<16>()?;
        let cipher = AesGcm::<Aes128Enc, U12>::new(&self.key.into());
        let opened = cipher.decrypt_inout_detached(
            &nonce.into(),
            header,
            (&mut *payload).into(),
            (&*tag).into(),
        );
        opened.is_ok().then_some(payload)
    }
}

/// Input of HKDF-Expand-Label for the client's secret.
const CLIENT_IN: &[u8] = b"\x00\x20\x0ftls13 client in\x00";
/// The longest packet number; header protection takes its sample as if all were so long (RFC 9001,
/// 5.4.2).
const NUMBER_BYTES_MAX: usize = 4;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Seals a payload behind a header and a packet number (RFC 9001, 5.3 and 5.4).
    pub(in super::super) fn seal(
        keys: &Keys,
        header: &[u8],
        number: &[u8],
        payload: &[u8],
    ) -> Vec<u8> {
        let mut header = [header, number].concat();
        let number_at = header.len() - number.len();
        let mut nonce = keys.iv;
        for (byte, number) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *byte ^= number;
        }
        let mut sealed = payload.to_vec();
        let cipher = AesGcm::<Aes128Enc, U12>::new(&keys.key.into());
        let in_place = sealed.as_mut_slice().into();
        let tag = cipher.encrypt_inout_detached(&nonce.into(), &header, in_place).unwrap();
        sealed.extend(tag);
        let sample_at = NUMBER_BYTES_MAX - number.len();
        let sample: [u8; 16] = *sealed[sample_at..].first_chunk().unwrap();
        let mut mask = sample.into();
        Aes128Enc::new(&keys.header.into()).encrypt_block(&mut mask);
        header[0] ^= mask[0] & 0x0f;
        for (byte, mask) in header[number_at..].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        [header, sealed].concat()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]);
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    /// The destination connection id of both RFCs' examples.
    const ID: &str = "8394c8f03e515708";

    /// The CRYPTO frame of RFC 9001, A.2, padded to 1,162 bytes.
    fn payload() -> Vec<u8> {
        let frame = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a\
            2b69484c00000413011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00\
            080006001d0017001800100007000504616c706e000500050100000000003300260024001d00209370b2c9\
            caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403\
            050306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ff\
            ff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff";
        let mut payload = bytes(frame);
        payload.resize(1162, 0);
        payload
    }

    fn keys(version: u32) -> Keys {
        Keys::client(Version::of(version).unwrap(), &bytes(ID)).unwrap()
    }

    #[test]
    fn client_keys_of_version_1_are_those_of_rfc_9001() {
        let Keys { key, iv, header } = keys(1);
        assert_eq!(key[..], bytes("1f369613dd76d5467730efcbe3b1a22d"));
        assert_eq!(iv[..], bytes("fa044b2f42a3fd3b46fb255c"));
        assert_eq!(header[..], bytes("9f50449e04a0e810283a1e9933adedd2"));
    }

    #[test]
    fn client_keys_of_version_2_are_those_of_rfc_9369() {
        let Keys { key, iv, header } = keys(0x6b33_43cf);
        assert_eq!(key[..], bytes("8b1a0bc121284290a29e0971b5cd045d"));
        assert_eq!(iv[..], bytes("91f73e2351d8fa91660e909f"));
        assert_eq!(header[..], bytes("45b95e15235d6f45a6b19cbcb0294ba9"));
    }

    /// Protects the example, compares its beginning and its tag with the RFC's, and opens it again.
    fn round_trip(version: u32, header: &str, protected: &str, tag: &str) {
        let sealed = seal(&keys(version), &bytes(header), &[0, 0, 0, 2], &payload());
        assert_eq!(sealed[..protected.len() / 2], bytes(protected));
        assert_eq!(sealed[sealed.len() - 16..], bytes(tag));
        let packet = Packet::first(&sealed).unwrap();
        let mut scratch = Vec::with_capacity(2048);
        assert_eq!(keys(version).open(&packet, &mut scratch), Some(&payload()[..]));
        assert_eq!(keys(0xff00_001d).open(&packet, &mut scratch), None, "other keys");
    }

    #[test]
    fn the_client_initial_of_rfc_9001_opens() {
        round_trip(
            1,
            "c300000001088394c8f03e5157080000449e",
            "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9b",
            "e221af44860018ab0856972e194cd934",
        );
    }

    #[test]
    fn the_client_initial_of_rfc_9369_opens() {
        round_trip(
            0x6b33_43cf,
            "d36b3343cf088394c8f03e5157080000449e",
            "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071",
            "a18b2faa745b6fe189cf772a9f84cbfc",
        );
    }
}
