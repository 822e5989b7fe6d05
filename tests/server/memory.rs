//! Memory has names, and they say what it follows.

use str0m::format::Codec;

use crate::delivery::delivers;
use crate::support::{Server, eventually, request};

fn term(server: &Server, name: &str) -> u64 {
    let text = request("GET", &server.url("/metrics"), &[], "").body;
    let head = format!("monoport_memory_bytes{{term=\"{name}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&head));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {text}"))
}

#[test]
fn its_named_parts_grow_with_sessions_streams_and_what_is_sent() {
    let server = Server::with_shards(1);
    for aside in ["receive_slots", "send_arenas", "mailboxes"] {
        eventually(aside, || term(&server, aside) > 0);
    }
    for empty in ["sessions", "dtls", "streams", "histories", "templates"] {
        assert_eq!(term(&server, empty), 0, "{empty}");
    }
    delivers(&server, "remembered", Codec::Vp8);
    eventually("two sessions", || term(&server, "dtls") >= 2 * 9 * 1_024);
    eventually("their memory", || term(&server, "sessions") > 2_000);
    eventually("a stream", || term(&server, "streams") > 1_000);
    eventually("what was sent", || term(&server, "histories") > 200 * 100);
    eventually("an answer for the next one", || term(&server, "templates") > 1_000);
}
