//! Replays the fuzzers' corpora of what is more than a parser of `src/wire`. File names carry the
//! expectation: `ok-*` must be taken and `bad-*` refused.

use std::fs;
use std::path::Path;

use monoport::session::Offer;
use monoport::srtp::{MasterKey, Profile, RtcpOpener, RtpOpener};
use monoport::whip::fragment::Fragment;

/// Replays the files of a folder, at least `least` of them; returns how many were taken.
fn replay(folder: &str, least: usize, takes: impl Fn(&[u8]) -> bool) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut seen, mut taken) = (0, 0);
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are ASCII");
        let expected = match name.split_once('-') {
            Some(("ok", _)) => true,
            Some(("bad", _)) => false,
            // What a local run of the fuzzer has found and nobody has named yet.
            _ => continue,
        };
        let took = takes(&fs::read(&path).expect("it can be read"));
        assert_eq!(took, expected, "{}", path.display());
        seen += 1;
        taken += usize::from(took);
    }
    assert!(seen >= least, "only {seen} files in {}, was the corpus lost?", folder.display());
    taken
}

#[test]
fn offers_of_the_corpus_are_taken_or_refused_as_their_names_say() {
    replay("tools/fuzz/corpus/offer", 8, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        Offer::to_publish(text).is_ok() || Offer::to_watch(text).is_ok()
    });
}

#[test]
fn fragments_of_the_corpus_are_taken_or_refused_as_their_names_say() {
    replay("tools/fuzz/corpus/fragment", 8, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        Fragment::read(text).and_then(|fragment| fragment.credentials()).is_ok()
    });
}

#[test]
fn packets_of_the_corpus_that_nobody_sealed_do_not_open() {
    let opened = replay("tools/fuzz/corpus/srtp", 8, |bytes| {
        let (choice, packet) = bytes.split_first().expect("it begins with the profile");
        let profile = Profile::ALL[usize::from(*choice) % Profile::ALL.len()];
        let (key, salt) = (vec![7; profile.key_len()], vec![9; profile.salt_len()]);
        let master = MasterKey::new(profile, &key, &salt).expect("its lengths");
        let rtp = RtpOpener::new(profile, &master).open(&mut packet.to_vec(), 12, 0, 1);
        rtp.is_ok() || RtcpOpener::new(profile, &master).open(&mut packet.to_vec()).is_ok()
    });
    assert_eq!(opened, 0);
}
