//! No packet opens that was not sealed with the keys, none makes the openers panic, and what is
//! sealed opens as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport::srtp::{MasterKey, Profile, RtcpOpener, RtcpSealer, RtpOpener, Rejected};
use monoport_fuzz::wire::rtp;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, packet)) = bytes.split_first() else { return };
    let profile = Profile::ALL[usize::from(*choice) % Profile::ALL.len()];
    let (key, salt) = (vec![7; profile.key_len()], vec![9; profile.salt_len()]);
    let Some(master) = MasterKey::new(profile, &key, &salt) else { panic!("its lengths") };
    let opener = RtpOpener::new(profile, &master);
    for header_len in [0, 12, usize::from(*choice), packet.len()] {
        let opened = opener.open(&mut packet.to_vec(), header_len, 1, u64::from(*choice));
        assert!(opened.is_err(), "{opened:?}");
    }
    if let Ok(header) = rtp::parse(packet) {
        let opened = opener.open(&mut packet.to_vec(), header.header_len, header.ssrc, 1 << 47);
        assert!(opened.is_err(), "{opened:?}");
    }
    let mut opener = RtcpOpener::new(profile, &master);
    assert!(opener.open(&mut packet.to_vec()).is_err());
    if packet.len() >= 8 {
        let mut sealer = RtcpSealer::new(profile, &master);
        let mut sealed = packet.to_vec();
        sealed.resize(packet.len() + sealer.overhead(), 0);
        let length = sealer.seal(&mut sealed, packet.len());
        let mut opened = sealed[..length].to_vec();
        assert_eq!(opener.open(&mut opened), Ok(packet.len()));
        assert_eq!(&opened[..packet.len()], packet);
        assert_eq!(opener.open(&mut sealed[..length].to_vec()), Err(Rejected::Replay));
    }
});
