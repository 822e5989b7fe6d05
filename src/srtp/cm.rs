//! AES-128 in counter mode with HMAC-SHA1 (RFC 3711 §4.1.1 and §4.2.1), for peers without AES-GCM.
//!
//! Both keys are expanded once. Doing it per packet, as is common, costs a third more.

use super::kdf::SessionKeys;
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

/// Bytes of the tag: HMAC-SHA1 cut to 80 bits (RFC 3711 §5.2).
pub(super) const TAG_LEN: usize = 10;

/// The expanded keys of one direction of one protocol.
pub(super) struct CounterMode {
    cipher: EncryptingKey,
    auth: hmac::Key,
    salt: [u8; 14],
}

impl CounterMode {
    pub fn new(keys: &SessionKeys) -> Self {
        let cipher = UnboundCipherKey::new(&AES_128, keys.cipher())
            .and_then(EncryptingKey::ctr)
            .expect("the profile fixes the key's length");
        let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &keys.auth);
        Self { cipher, auth, salt: keys.salt }
    }

    /// Encrypts or decrypts `text` in place: XOR with the key stream of `index`, the 48-bit packet
    /// index of RTP or the 31-bit one of RTCP.
    #[inline]
    pub fn apply(&self, ssrc: u32, index: u64, text: &mut [u8]) {
        let mut iv = [0u8; 16];
        iv[..14].copy_from_slice(&self.salt);
        xor(&mut iv[4..8], &ssrc.to_be_bytes());
        xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
        self.cipher
            .less_safe_encrypt(text, EncryptionContext::Iv128(iv.into()))
            .expect("counter mode takes a 16 byte IV and any length");
    }

    /// The tag over `packet` followed by `trailer`, which is the rollover counter for RTP.
    #[inline]
    pub fn tag(&self, packet: &[u8], trailer: &[u8]) -> [u8; TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.auth);
        context.update(packet);
        context.update(trailer);
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&context.sign().as_ref()[..TAG_LEN]);
        tag
    }

    /// Whether `tag` is that of `packet` and `trailer`, in time that does not depend on where it
    /// differs.
    #[inline]
    pub fn verify(&self, packet: &[u8], trailer: &[u8], tag: &[u8]) -> bool {
        self.tag(packet, trailer).ct_eq(tag).into()
    }
}

fn xor(target: &mut [u8], with: &[u8]) {
    for (byte, with) in target.iter_mut().zip(with) {
        *byte ^= with;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::Profile;
    use crate::srtp::tests::hex;

    /// RFC 3711 appendix B.2: the key stream of SSRC 0, index 0.
    #[test]
    fn produces_the_key_stream_of_rfc_3711() {
        let keys = SessionKeys::known(
            Profile::Aes128CmSha1_80,
            &hex("2B7E151628AED2A6ABF7158809CF4F3C"),
            &hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"),
        );
        let mut stream = vec![0; 48];
        CounterMode::new(&keys).apply(0, 0, &mut stream);
        let expected = "E03EAD0935C95E80E166B16DD92B4EB4\
                        D23513162B02D0F72A43A2FE4A5F97AB\
                        41E95B3BB0A2E8DD477901E4FCA894C0";
        assert_eq!(stream, hex(expected));
    }
}
