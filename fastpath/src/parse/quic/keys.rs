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
