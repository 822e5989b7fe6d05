//! Replays the fuzzers' corpora of what is more than a parser of `src/wire`. File names carry the
//! expectation: `ok-*` must be taken and `bad-*` refused.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use axum::http::{HeaderName, HeaderValue, Request};
use monoport::access::{Access, Action, Asker, JwtKeys, Rules, Secrets};
use monoport::api::wanted_port;
use monoport::config::CommandLine;
use monoport::media::starts_keyframe;
use monoport::session::Offer;
use monoport::srtp::{MasterKey, Profile, RtcpOpener, RtpOpener};
use monoport::whip::fragment::Fragment;
use monoport::whip::wanted_events;
use str0m::format::Codec;

/// Replays the files of a folder, at least `least` of them; returns how many were taken.
fn replay(folder: &str, least: usize, takes: impl Fn(&[u8]) -> bool) -> usize {
    replay_named(folder, least, |_name, bytes| takes(bytes))
}

/// As [`replay`], with what stands behind `ok-` or `bad-` in each file's name.
fn replay_named(folder: &str, least: usize, takes: impl Fn(&str, &[u8]) -> bool) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut seen, mut taken) = (0, 0);
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are ASCII");
        let (expected, meaning) = match name.split_once('-') {
            Some(("ok", meaning)) => (true, meaning),
            Some(("bad", meaning)) => (false, meaning),
            // What a local run of the fuzzer has found and nobody has named yet.
            _ => continue,
        };
        let took = takes(meaning, &fs::read(&path).expect("it can be read"));
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

#[test]
fn bodies_of_the_corpus_are_taken_or_refused_as_their_names_say() {
    replay("tools/fuzz/corpus/bodies", 8, |bytes| {
        wanted_port(bytes).is_ok() || wanted_events(bytes).is_ok()
    });
}

#[test]
fn configuration_files_of_the_corpus_are_read_or_refused_as_their_names_say() {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("monoport-corpus-{}.toml", std::process::id()));
    replay("tools/fuzz/corpus/config", 8, |bytes| {
        fs::write(&path, bytes).expect("it can be written");
        let words = ["monoport".into(), OsString::from("--config"), path.clone().into()];
        CommandLine::read(words).is_ok()
    });
    fs::remove_file(path).expect("it is there");
}

#[test]
fn requests_of_the_corpus_with_tokens_that_nobody_has_made_may_not_publish() {
    let secret = JwtKeys::read("a secret of thirty-two bytes or more").expect("it is long enough");
    let publish = Some("zRkJcU0NsmfFTmAh".to_owned());
    let secrets = Secrets { publish, jwt: Some(secret), ..Secrets::default() };
    let access = Access::new(Rules::new(&secrets));
    replay("tools/fuzz/corpus/request", 3, |bytes| {
        let text = std::str::from_utf8(bytes).expect("it is text");
        let (uri, lines) = text.split_once('\n').expect("the URL has a line");
        let mut request = Request::get(uri).body(()).expect("a URL");
        for (name, value) in lines.lines().filter_map(|line| line.split_once(": ")) {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, HeaderValue::from_str(value).expect("a value"));
        }
        access.admit(Action::Publish, Some("s"), &Asker::of(&request)).is_ok()
    });
}

#[test]
fn payloads_of_the_corpus_begin_key_frames_or_do_not_as_their_names_say() {
    replay_named("tools/fuzz/corpus/media", 7, |meaning, payload| {
        let codec = match meaning.split('-').next() {
            Some("vp8") => Codec::Vp8,
            Some("vp9") => Codec::Vp9,
            Some("h264") => Codec::H264,
            Some("h265") => Codec::H265,
            codec => panic!("no codec: {codec:?}"),
        };
        starts_keyframe(codec, payload)
    });
}
