//! The key derivation of RFC 3711 §4.3 with a derivation rate of zero: one session key for the life
//! of the master key, which is all that WebRTC uses.

use super::{MAX_KEY_LEN, MasterKey, Profile};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};

/// Bytes of the HMAC-SHA1 key (RFC 3711 §5.2: n_a = 160 bits).
pub(super) const AUTH_KEY_LEN: usize = 20;

/// Which of the two protocols keys are derived for (RFC 3711 §4.3.1 and §4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Rtp,
    Rtcp,
}

impl Purpose {
    /// The label of the cipher key; the next two are those of the authentication key and the salt.
    const fn first_label(self) -> u8 {
        match self {
            Self::Rtp => 0x00,
            Self::Rtcp => 0x03,
        }
    }
}

/// What one direction of one protocol encrypts with.
pub(super) struct SessionKeys {
    pub profile: Profile,
    cipher: [u8; MAX_KEY_LEN],
    pub auth: [u8; AUTH_KEY_LEN],
    /// The salt, on the left; AES-GCM leaves the last two bytes unused.
    pub salt: [u8; 14],
}

impl SessionKeys {
    pub fn derive(profile: Profile, master: &MasterKey, purpose: Purpose) -> Self {
        let label = purpose.first_label();
        let mut keys =
            Self { profile, cipher: [0; MAX_KEY_LEN], auth: [0; AUTH_KEY_LEN], salt: [0; 14] };
        expand(master, label, &mut keys.cipher[..profile.key_len()]);
        expand(master, label + 1, &mut keys.auth);
        expand(master, label + 2, &mut keys.salt[..profile.salt_len()]);
        keys
    }

    /// Session keys as they are, for the vectors of the RFCs, which start from them.
    #[cfg(test)]
    pub fn known(profile: Profile, cipher: &[u8], salt: &[u8]) -> Self {
        let mut keys =
            Self { profile, cipher: [0; MAX_KEY_LEN], auth: [0; AUTH_KEY_LEN], salt: [0; 14] };
        keys.cipher[..cipher.len()].copy_from_slice(cipher);
        keys.salt[..salt.len()].copy_from_slice(salt);
        keys
    }

    pub fn cipher(&self) -> &[u8] {
        &self.cipher[..self.profile.key_len()]
    }
}

/// Fills `out` with the key stream that RFC 3711 §4.3.3 assigns to `label`: AES in counter mode
/// under the master key, starting at `(salt XOR label << 48) << 16`.
///
/// A 96-bit salt counts as if two zero bytes followed it (RFC 7714 §11).
fn expand(master: &MasterKey, label: u8, out: &mut [u8]) {
    let algorithm = if master.key().len() == 32 { &AES_256 } else { &AES_128 };
    let mut iv = [0u8; 16];
    iv[..master.salt().len()].copy_from_slice(master.salt());
    iv[7] ^= label;
    out.fill(0);
    UnboundCipherKey::new(algorithm, master.key())
        .and_then(EncryptingKey::ctr)
        .and_then(|key| key.less_safe_encrypt(out, EncryptionContext::Iv128(iv.into())))
        .expect("AES takes a 16 or 32 byte key and any length: MasterKey::new checked the former");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::tests::hex;

    /// RFC 3711 appendix B.3.
    #[test]
    fn derives_the_keys_of_rfc_3711() {
        let master = MasterKey::new(
            Profile::Aes128CmSha1_80,
            &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            &hex("0EC675AD498AFEEBB6960B3AABE6"),
        )
        .unwrap();
        let keys = SessionKeys::derive(Profile::Aes128CmSha1_80, &master, Purpose::Rtp);
        assert_eq!(keys.cipher(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(keys.salt.to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(keys.auth.to_vec(), hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    #[test]
    fn rtp_and_rtcp_never_share_a_key() {
        for profile in Profile::ALL {
            let key = vec![7; profile.key_len()];
            let master = MasterKey::new(profile, &key, &vec![9; profile.salt_len()]).unwrap();
            let rtp = SessionKeys::derive(profile, &master, Purpose::Rtp);
            let rtcp = SessionKeys::derive(profile, &master, Purpose::Rtcp);
            assert_ne!(rtp.cipher(), rtcp.cipher());
            assert_ne!(rtp.auth, rtcp.auth);
            assert_ne!(rtp.salt, rtcp.salt);
        }
    }
}
