//! From where: lists of addresses, and whose address it is behind proxies.

use crate::support::client::{Client, Offered, socket};
use crate::support::process::Process;
use crate::support::service::Service;
use crate::support::{Response, Server, eventually, request};
use str0m::format::Codec;
use str0m::media::Direction;

const SDP: (&str, &str) = ("Content-Type", "application/sdp");

fn offer() -> String {
    let offered = Offered::both(Codec::Vp8);
    Client::offer(offered, Direction::SendOnly, socket()).1.to_sdp_string()
}

/// POSTs an offer that a proxy on this machine hands on for `client`.
fn post_for(url: &str, client: &str) -> Response {
    let headers = [SDP, ("Authorization", "Bearer t"), ("X-Forwarded-For", client)];
    request("POST", url, &headers, &offer())
}

#[test]
fn who_is_denied_may_nothing_and_probes_may_still_ask() {
    let server = Server::start(&["--shards", "1", "--deny", "192.0.2.0/24,127.0.0.0/8"]);
    let refused = request("POST", &server.url("/whip/s"), &[SDP], &offer());
    assert_eq!(refused.status, 403, "{}", refused.body);
    let words = "nobody at the address 127.0.0.1 may use this server (--deny)";
    assert!(refused.body.contains(words), "{}", refused.body);
    for path in ["/live", "/metrics", "/api/v1/status"] {
        assert_eq!(request("GET", &server.url(path), &[], "").status, 403, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(request("GET", &server.url(path), &[], "").status, 200, "{path}");
    }
}

#[test]
fn behind_a_trusted_proxy_the_list_is_of_clients_and_others_say_nothing_about_themselves() {
    let service = Service::start(|_| 200);
    let (url, token) = (service.url("/"), ["--shards", "1", "--publish-token", "t"]);
    let lists = ["--trusted-proxies", "127.0.0.1", "--allow", "203.0.113.0/24"];
    let options = [&token[..], &lists, &["--auth-url", &url]].concat();
    let server = Server::start(&options);
    let post = |client: &str| post_for(&server.url("/whip/s"), client);
    assert_eq!(post("203.0.113.9").status, 201);
    assert_eq!(post("192.0.2.1, 203.0.113.9").status, 201, "the proxy's own entry is the last");
    let refused = post("203.0.113.9, 192.0.2.1");
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("192.0.2.1 is none of those"), "{}", refused.body);
    let itself = request("GET", &server.url("/live?token=t"), &[], "");
    assert_eq!(itself.status, 403, "the proxy is on no list: {}", itself.body);
    // The authorization service is told of the client, not of the proxy.
    let forwarded = [("Forwarded", "for=203.0.113.7;proto=https")];
    assert_eq!(request("GET", &server.url("/live"), &forwarded, "").status, 200);
    assert_eq!(service.posted()[0].json()["ip"], "203.0.113.7");
    let both = [("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.7")];
    let refused = request("GET", &server.url("/live"), &both, "");
    assert_eq!(refused.status, 400, "{}", refused.body);

    let options = [&token[..], &["--deny", "203.0.113.0/24"]].concat();
    let trusts_nobody = Server::start(&options);
    let made = post_for(&trusts_nobody.url("/whip/s"), "203.0.113.9");
    assert_eq!(made.status, 201, "nobody's word is taken: {}", made.body);
}

#[test]
fn a_list_in_a_file_is_read_again_on_sighup_and_the_log_has_the_clients_address() {
    let file = std::env::temp_dir().join(format!("monoport-deny-{}", std::process::id()));
    std::fs::write(&file, "# nobody\n").expect("the file is written");
    let path = file.to_str().expect("a path");
    let options = ["--trusted-proxies", "127.0.0.1", "--deny-file", path, "--token", "t"];
    let server = Process::start(&[&["--shards", "1"][..], &options].concat());
    let url = format!("{}/whip/s", server.url);
    let status = || post_for(&url, "203.0.113.9").status;
    assert_eq!(status(), 201);
    std::fs::write(&file, "203.0.113.0/24\n").expect("the file is written");
    server.signal("-HUP");
    eventually("the list counts", || status() == 403);
    std::fs::write(&file, "203.0.113.0/99\n").expect("the file is written");
    server.signal("-HUP");
    eventually("it is refused", || server.log().contains("line 1: `203.0.113.0/99`"));
    assert_eq!(status(), 403, "one that can't be read changes nothing");
    std::fs::remove_file(&file).expect("it is there");
    let log = server.stop();
    assert!(log.contains("from=\"203.0.113.9, "), "{log}");
}
