//! Replays the fuzzers' corpora of what is more than a parser of `src/wire`. File names carry the
//! expectation: `ok-*` must be taken and `bad-*` refused.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use axum::http::{HeaderName, HeaderValue, Request};
use monoport::access::{Access, Action, Asker, JwtKeys, Rules, Secrets};
use monoport::api::wanted_port;
use monoport::cluster::is_hello;
use monoport::config::CommandLine;
use monoport::id::StreamKey;
use monoport::link::Frame;
use monoport::media::{
    DependencyDescriptor, FrameStructure, picture_sizes, scalable_in_payload, starts_keyframe,
};
use monoport::net::Strays;
use monoport::node::understood_letter;
use monoport::session::Offer;
use monoport::srtp::{MasterKey, Profile, RtcpOpener, RtpOpener};
use monoport::whip::fragment::Fragment;
use monoport::whip::{wanted_events, wanted_layer};
use monoport::wire::{dtls, framing, mapped, rtcp, rtp, stun};
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
    replay("tools/fuzz/corpus/offer", 10, |bytes| {
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
fn frames_and_hellos_of_links_in_the_corpus_are_taken_or_refused_as_their_names_say() {
    let stream = StreamKey { index: 0, generation: 0 };
    replay("tools/fuzz/corpus/link", 30, |bytes| {
        let is_frame = Frame::read(bytes, stream, std::time::Instant::now()).is_some();
        is_frame || std::str::from_utf8(bytes).is_ok_and(is_hello)
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
    replay("tools/fuzz/corpus/bodies", 10, |bytes| {
        let layer = |text| !bytes.is_empty() && wanted_layer(text).is_ok();
        let text = std::str::from_utf8(bytes).expect("it is text");
        wanted_port(bytes).is_ok() || wanted_events(bytes).is_ok() || layer(text)
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
    replay_named("tools/fuzz/corpus/media", 10, |meaning, payload| {
        if meaning.starts_with("descriptor") {
            let told = DependencyDescriptor::new(payload).as_ref().and_then(FrameStructure::read);
            return told.is_some_and(|told| told.sizes().is_some());
        }
        let codec = match meaning.split('-').next() {
            Some("vp8") => Codec::Vp8,
            Some("vp9") => Codec::Vp9,
            Some("h264") => Codec::H264,
            Some("h265") => Codec::H265,
            codec => panic!("no codec: {codec:?}"),
        };
        // Whatever it says, or nothing.
        let _ = picture_sizes(codec, payload, true);
        starts_keyframe(codec, payload)
    });
}

#[test]
fn letters_of_the_corpus_between_two_processes_are_understood_or_not_as_their_names_say() {
    replay("tools/fuzz/corpus/takeover", 28, |bytes| {
        let understood = understood_letter(bytes);
        for written in understood.iter().flatten() {
            let again = understood_letter(written).expect("it was written by a process of ours");
            assert!(again.contains(written), "{}", String::from_utf8_lossy(written));
        }
        understood.is_ok()
    });
}

#[test]
fn messages_of_the_corpus_hand_over_as_many_datagrams_as_their_names_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/fuzz/corpus/takeover");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are ASCII");
        let Some(expected) = name.strip_prefix("strays-") else { continue };
        let (expected, _meaning) = expected.split_once('-').expect("a number, and what it is");
        let message = fs::read(&path).expect("it can be read");
        assert_eq!(Strays::of(&message).count().to_string(), expected, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} files in {}, was the corpus lost?", folder.display());
}

/// The inputs a run of the fuzzer has kept of one target: each behind its length.
fn found(target: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/fuzz/found").join(target);
    let packed = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut rest, mut inputs) = (&packed[..], Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (input, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)));
        inputs.push(input.to_vec());
        rest = behind;
    }
    assert!(inputs.len() > 5, "{target}: only {} inputs, were they lost?", inputs.len());
    inputs
}

/// With overflow checks, as tests are built: where the fuzzer has been, nothing panics.
#[test]
fn what_the_fuzzer_has_kept_makes_no_parser_of_the_server_panic() {
    let as_text = |bytes: &[u8], read: &dyn Fn(&str)| {
        std::str::from_utf8(bytes).into_iter().for_each(read);
    };
    for bytes in found("bodies") {
        let _ = (wanted_port(&bytes).is_ok(), wanted_events(&bytes).is_ok());
        as_text(&bytes, &|text| drop(wanted_layer(text)));
    }
    for bytes in found("fragment") {
        as_text(&bytes, &|text| {
            let _ = Fragment::read(text).and_then(|fragment| fragment.credentials());
        });
    }
    for bytes in found("offer") {
        as_text(&bytes, &|text| {
            let _ = (Offer::to_publish(text).is_ok(), Offer::to_watch(text).is_ok());
            let _ = Offer::to_publish_and_watch(text).is_ok();
        });
    }
    for bytes in found("media") {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1] {
            let _ = (starts_keyframe(codec, &bytes), picture_sizes(codec, &bytes, true));
            let _ = scalable_in_payload(codec, &bytes);
        }
        if let Some(descriptor) = DependencyDescriptor::new(&bytes) {
            let _ = FrameStructure::read(&descriptor).map(|told| told.scalable(&descriptor));
        }
    }
    for bytes in found("request") {
        as_text(&bytes, &|text| {
            let uri = text.lines().next().unwrap_or_default();
            if let Ok(request) = Request::get(uri).body(()) {
                let _ = Asker::of(&request);
            }
        });
    }
}

#[test]
fn what_the_fuzzer_has_kept_makes_no_parser_of_datagrams_panic() {
    for bytes in found("dtls") {
        let _ = dtls::flight(&bytes);
    }
    for bytes in found("framing") {
        let _ = framing::front(&bytes, 1_500);
    }
    for bytes in found("mapped") {
        let id = bytes.get(8..20).and_then(|id| id.try_into().ok());
        let _ = id.and_then(|id| mapped::mapped_address(&bytes, id));
    }
    for bytes in found("rtcp") {
        // The iteration ends.
        let _ = rtcp::compound(&bytes).count();
    }
    for bytes in found("rtp") {
        if let Ok(header) = rtp::parse(&bytes) {
            let _ = (header.payload(&bytes).is_ok(), header.elements(&bytes).count());
        }
    }
    for bytes in found("stun") {
        let _ = stun::peek(&bytes).is_ok();
    }
}
