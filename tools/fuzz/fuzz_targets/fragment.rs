//! Whatever a fragment says, it is refused or answered with one line per thing, each well ended.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use monoport::control::RestartedIce;
use monoport::whip::fragment::Fragment;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(fragment) = Fragment::read(text) else { return };
    let Ok(credentials) = fragment.credentials() else { return };
    let candidates = vec![SocketAddr::from(([192, 0, 2, 1], 7882))];
    let (tcp_candidates, etag) = (candidates.clone(), String::new());
    let answer = fragment.answer(&RestartedIce { etag, credentials, candidates, tcp_candidates });
    // What is taken over from the fragment brings no line of its own.
    assert_eq!(answer.split("\r\n").count(), 9, "{answer:?}");
    assert!(answer.ends_with("\r\n") && answer.matches('\n').count() == 8, "{answer:?}");
});
