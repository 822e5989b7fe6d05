//! The vectors of the RFCs, round trips over a rollover, and packets that must be refused.

use super::kdf::SessionKeys;
use super::*;
use crate::limits::MAX_RTCP_SENDERS;

/// Bytes from hexadecimal digits; spaces are ignored.
pub(super) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("a hexadecimal digit") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SALT: &str = "517569642070726f2071756f";
const RTP: &str = "8040f17b8041f8d35501a0b2\
                   47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61\
                    deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

fn known(profile: Profile) -> SessionKeys {
    let key = if profile == Profile::AeadAes256Gcm { KEY_256 } else { KEY_128 };
    SessionKeys::known(profile, &hex(key), &hex(SALT))
}

fn seal_known(sealer: &RtpSealer, plain: &[u8], ssrc: u32, index: u64) -> Vec<u8> {
    let mut packet = plain.to_vec();
    packet.resize(plain.len() + sealer.overhead(), 0);
    let len = sealer.seal(&mut packet, 12, plain.len(), ssrc, index);
    packet.truncate(len);
    packet
}

/// RFC 7714 §16.1.1 and §16.2.1.
#[test]
fn seals_and_opens_the_rtp_vectors_of_rfc_7714() {
    let vectors = [
        (
            Profile::AeadAes128Gcm,
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833\
             899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            Profile::AeadAes256Gcm,
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b\
             7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ];
    for (profile, sealed) in vectors {
        for library in Library::ALL {
            let sealer = RtpSealer::known(&known(profile), library);
            let mut packet = seal_known(&sealer, &hex(RTP), 0x5501_a0b2, 0xf17b);
            let expected = [&hex(RTP)[..12], &hex(sealed)].concat();
            assert_eq!(packet, expected, "{profile:?} {library:?}");
            let opener = RtpOpener::known(&known(profile), library);
            let len = opener.open(&mut packet, 12, 0x5501_a0b2, 0xf17b).unwrap();
            assert_eq!(packet[..len], hex(RTP), "{profile:?} {library:?}");
        }
    }
}

/// RFC 7714 §17.1 (AES-128) and §17.2 (AES-256).
#[test]
fn seals_and_opens_the_rtcp_vectors_of_rfc_7714() {
    let vectors = [
        (
            Profile::AeadAes128Gcm,
            "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded\
             0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
        ),
        (
            Profile::AeadAes256Gcm,
            "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047\
             6f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
        ),
    ];
    for (profile, sealed) in vectors {
        for library in Library::ALL {
            let mut sealer = RtcpSealer::known(&known(profile), library);
            sealer.start_at(0x5d4);
            let plain = hex(RTCP);
            let mut packet = plain.clone();
            packet.resize(plain.len() + sealer.overhead(), 0);
            let len = sealer.seal(&mut packet, plain.len());
            assert_eq!(len, packet.len());
            assert_eq!(packet, [&plain[..8], &hex(sealed)].concat(), "{profile:?} {library:?}");
            let mut opener = RtcpOpener::known(&known(profile), library);
            let len = opener.open(&mut packet).unwrap();
            assert_eq!(packet[..len], plain);
        }
    }
}

/// RFC 7714 §17.3 and §17.4: authenticated, not encrypted.
#[test]
fn opens_the_clear_rtcp_vectors_of_rfc_7714() {
    let vectors = [
        (Profile::AeadAes128Gcm, "841dd9683dd78ec92ae58790125f62b3000005d4"),
        (Profile::AeadAes256Gcm, "91db4afbfeee5a978fab4393ed2615fe000005d4"),
    ];
    for (profile, tail) in vectors {
        let mut packet = [hex(RTCP), hex(tail)].concat();
        let mut opener = RtcpOpener::known(&known(profile), Library::Ring);
        let len = opener.open(&mut packet).unwrap();
        assert_eq!(packet[..len], hex(RTCP), "{profile:?}");
    }
}

fn master(profile: Profile, seed: u8) -> MasterKey {
    let key: Vec<u8> = (0..profile.key_len()).map(|i| i as u8 ^ seed).collect();
    MasterKey::new(profile, &key, &vec![seed; profile.salt_len()]).unwrap()
}

fn rtp_packet(seq: u16, ssrc: u32, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x90, 96];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&7u32.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 0x22, 1, 2, 3]);
    packet.extend((0..payload).map(|i| i as u8));
    packet
}

#[test]
fn round_trips_over_a_rollover_between_either_library() {
    for profile in Profile::ALL {
        for (seals, opens) in [(Library::Ring, Library::AwsLc), (Library::AwsLc, Library::Ring)] {
            let sealer = RtpSealer::with_library(profile, &master(profile, 3), seals);
            let opener = RtpOpener::with_library(profile, &master(profile, 3), opens);
            let mut rollover = Rollover::new();
            let mut window = ReplayWindow::<32>::new();
            for index in 65_530u64..65_560 {
                let plain = rtp_packet(index as u16, 42, (index % 7) as usize * 200);
                let mut packet = plain.clone();
                packet.resize(plain.len() + sealer.overhead(), 0xee);
                assert_eq!(sealer.seal(&mut packet, 20, plain.len(), 42, index), packet.len());
                assert_eq!(packet[..20], plain[..20], "the header stays clear");
                let guess = rollover.guess(index as u16);
                assert!(window.check(guess));
                let len = opener.open(&mut packet, 20, 42, guess).unwrap();
                rollover.update(guess);
                window.accept(guess);
                assert_eq!(packet[..len], plain, "{profile:?} {index}");
                assert!(!window.check(rollover.guess(index as u16)), "a copy is known");
            }
        }
    }
}

#[test]
fn refuses_a_change_of_any_byte_and_of_the_turn() {
    for profile in Profile::ALL {
        let sealer = RtpSealer::new(profile, &master(profile, 5));
        let opener = RtpOpener::new(profile, &master(profile, 5));
        let plain = rtp_packet(9, 42, 61);
        let mut sealed = plain.clone();
        sealed.resize(plain.len() + sealer.overhead(), 0);
        sealer.seal(&mut sealed, 20, plain.len(), 42, 9);
        for at in 0..sealed.len() {
            let mut packet = sealed.clone();
            packet[at] ^= 0x10;
            assert_eq!(opener.open(&mut packet, 20, 42, 9), Err(Rejected::Auth), "byte {at}");
        }
        // The sequence number is in the header, so the counter of its turns is what remains.
        let refused = opener.open(&mut sealed.clone(), 20, 42, 9 + 65_536);
        assert_eq!(refused, Err(Rejected::Auth), "{profile:?}: another turn");
        let other = RtpOpener::new(profile, &master(profile, 6));
        assert_eq!(other.open(&mut sealed.clone(), 20, 42, 9), Err(Rejected::Auth));
        assert!(opener.open(&mut sealed, 20, 42, 9).is_ok(), "the untouched packet opens");
    }
}

#[test]
fn short_packets_are_malformed_not_a_panic() {
    for profile in Profile::ALL {
        let opener = RtpOpener::new(profile, &master(profile, 5));
        let mut rtcp = RtcpOpener::new(profile, &master(profile, 5));
        for len in 0..12 + profile.tag_len() {
            let refused = opener.open(&mut vec![0x80; len], 12, 1, 1);
            assert_eq!(refused, Err(Rejected::Malformed), "{profile:?} {len}");
        }
        for len in 0..12 + profile.tag_len() {
            assert_eq!(rtcp.open(&mut vec![0x80; len]), Err(Rejected::Malformed));
        }
        let refused = opener.open(&mut [0x80; 100], 100, 1, 1);
        assert_eq!(refused, Err(Rejected::Malformed), "a header longer than what the tag leaves");
    }
}

fn seal_rtcp(sealer: &mut RtcpSealer, plain: &[u8]) -> Vec<u8> {
    let mut packet = plain.to_vec();
    packet.resize(plain.len() + sealer.overhead(), 0);
    let len = sealer.seal(&mut packet, plain.len());
    packet.truncate(len);
    packet
}

#[test]
fn rtcp_round_trips_and_refuses_replay_and_change() {
    for profile in Profile::ALL {
        let mut sealer = RtcpSealer::new(profile, &master(profile, 8));
        let mut opener = RtcpOpener::new(profile, &master(profile, 8));
        let plain = hex(RTCP);
        let packets: Vec<_> = (0..80).map(|_| seal_rtcp(&mut sealer, &plain)).collect();
        for at in 0..packets[0].len() {
            let mut packet = packets[0].clone();
            packet[at] ^= 0x10;
            let refused = opener.open(&mut packet);
            assert_eq!(refused, Err(Rejected::Auth), "{profile:?} byte {at}");
        }
        for packet in &packets[1..] {
            let mut copy = packet.clone();
            let len = opener.open(&mut copy).unwrap();
            assert_eq!(copy[..len], plain);
            assert_eq!(opener.open(&mut packet.clone()), Err(Rejected::Replay));
        }
        let refused = opener.open(&mut packets[0].clone());
        assert_eq!(refused, Err(Rejected::Replay), "older than the window");
    }
}

#[test]
fn a_spent_rtcp_key_seals_nothing() {
    for profile in Profile::ALL {
        let mut sealer = RtcpSealer::new(profile, &master(profile, 8));
        sealer.start_at((1 << 31) - 1);
        assert!(!seal_rtcp(&mut sealer, &hex(RTCP)).is_empty(), "the last index");
        assert!(seal_rtcp(&mut sealer, &hex(RTCP)).is_empty());
    }
}

#[test]
fn splits_the_exporter_output_in_the_order_of_rfc_5764() {
    for profile in Profile::ALL {
        let (key, salt) = (profile.key_len(), profile.salt_len());
        let material: Vec<u8> = (0..profile.keying_material_len()).map(|i| i as u8).collect();
        let (client, server) = split_keying_material(profile, &material).unwrap();
        assert_eq!(client.key(), &material[..key]);
        assert_eq!(server.key(), &material[key..2 * key]);
        assert_eq!(client.salt(), &material[2 * key..2 * key + salt]);
        assert_eq!(server.salt(), &material[2 * key + salt..]);
        assert!(split_keying_material(profile, &material[1..]).is_none());
        assert_eq!(format!("{client:?}"), "MasterKey(..)");
    }
}

/// RFC 3711 §3.2.3: aiortc, Pion and MediaMTX report from an SSRC per track, each with an index of
/// its own.
#[test]
fn rtcp_of_each_sender_has_a_replay_list_of_its_own() {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
        let mut opener = RtcpOpener::new(profile, &master(profile, 1));
        let sealed = |ssrc: u32, index: u32| {
            let mut sealer = RtcpSealer::new(profile, &master(profile, 1));
            sealer.start_at(index);
            let mut packet = vec![0x80, 201, 0, 1];
            packet.extend(ssrc.to_be_bytes());
            packet.resize(8 + sealer.overhead(), 0);
            sealer.seal(&mut packet, 8);
            packet
        };
        for index in 0..10 {
            assert_eq!(opener.open(&mut sealed(1, index)), Ok(8), "{profile:?}");
            assert_eq!(opener.open(&mut sealed(2, index)), Ok(8), "{profile:?}");
            assert_eq!(opener.open(&mut sealed(1, index)), Err(Rejected::Replay));
            assert_eq!(opener.open(&mut sealed(2, index)), Err(Rejected::Replay));
        }
        // A forged sender makes no list, and so pushes none out.
        for ssrc in 10..1_000 {
            let mut forged = sealed(ssrc, 0);
            forged[12] ^= 1;
            assert_eq!(opener.open(&mut forged), Err(Rejected::Auth));
        }
        assert_eq!(opener.open(&mut sealed(1, 3)), Err(Rejected::Replay));
        // Whoever is heard keeps its list, however many others there are.
        for ssrc in 10..10 + 3 * MAX_RTCP_SENDERS as u32 {
            assert_eq!(opener.open(&mut sealed(ssrc, 0)), Ok(8));
            assert_eq!(opener.open(&mut sealed(1, ssrc)), Ok(8));
        }
        assert_eq!(opener.open(&mut sealed(1, 300)), Err(Rejected::Replay));
    }
}
