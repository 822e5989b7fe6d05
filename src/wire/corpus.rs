//! Replays the fuzzers' corpora with the stable compiler.
//!
//! File names carry the expectation. `ok-*` must be accepted and `bad-*` refused; those of `kind`
//! begin with the protocol they must be taken for. What a fuzzer finds joins under a name of
//! meaning, and is then checked for good.

use std::fs;
use std::path::Path;

use crate::limits::MAX_TCP_FRAME_IN;
use crate::wire::framing::{self, Front};
use crate::wire::kind::{self, Kind};
use crate::wire::ufrag::UfragKey;
use crate::wire::{dtls, mapped, rtcp, rtp, stun};

/// Each file of a target's corpus with its name, and at least `least` of them.
fn corpus(target: &str, least: usize) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/fuzz/corpus").join(target);
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().expect("names are ASCII").to_owned();
            (name, fs::read(&path).unwrap())
        })
        // What a local run of the fuzzer has found and nobody has named yet.
        .filter(|(name, _)| name.contains('-'))
        .collect();
    files.sort();
    assert!(files.len() >= least, "{target}: only {} files, was the corpus lost?", files.len());
    files
}

fn replay(target: &str, least: usize, accepts: impl Fn(&[u8]) -> bool) {
    for (name, bytes) in corpus(target, least) {
        let expected = match name.split_once('-') {
            Some(("ok", _)) => true,
            Some(("bad", _)) => false,
            _ => panic!("{target}/{name}: begin the name with ok- or bad-"),
        };
        assert_eq!(accepts(&bytes), expected, "{target}/{name}");
    }
}

#[test]
fn kind_corpus() {
    for (name, bytes) in corpus("kind", 17) {
        let expected = match name.split_once('-').map(|(protocol, _)| protocol) {
            Some("stun") => Some(Kind::Stun),
            Some("dtls") => Some(Kind::Dtls),
            Some("rtp") => Some(Kind::Rtp),
            Some("rtcp") => Some(Kind::Rtcp),
            Some("none") => None,
            _ => panic!("kind/{name}: begin the name with a protocol or none-"),
        };
        assert_eq!(kind::of(&bytes), expected, "kind/{name}");
    }
}

#[test]
fn dtls_corpus() {
    replay("dtls", 10, |bytes| dtls::flight(bytes).is_some());
}

#[test]
fn stun_corpus() {
    replay("stun", 24, |bytes| stun::peek(bytes).is_ok());
}

/// The transaction of the standard's sample (RFC 5769 section 2.2).
#[test]
fn mapped_corpus() {
    let id = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
    replay("mapped", 13, |bytes| mapped::mapped_address(bytes, id).is_some());
}

#[test]
fn ufrag_corpus() {
    let key = UfragKey::from_bytes([7; 16]);
    replay("ufrag", 11, |bytes| key.decode(bytes).is_some());
}

#[test]
fn framing_corpus() {
    // The first byte is where the fuzzer cuts.
    replay("framing", 12, |bytes| {
        let mut stream = &bytes[1..];
        loop {
            match framing::front(stream, MAX_TCP_FRAME_IN) {
                Front::Whole(_, rest) => stream = rest,
                Front::Part => return true,
                Front::TooLong(_) => return false,
            }
        }
    });
}

#[test]
fn rtp_corpus() {
    replay("rtp", 23, |bytes| {
        let Ok(header) = rtp::parse(bytes) else { return false };
        let _ = header.payload(bytes);
        assert!(header.elements(bytes).count() <= bytes.len());
        true
    });
}

#[test]
fn rtcp_corpus() {
    replay("rtcp", 41, |bytes| rtcp::compound(bytes).all(|packet| packet.is_ok()));
}
