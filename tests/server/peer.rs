//! `monoport check --peer`: a running server, looked at from outside.

use std::net::UdpSocket;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Server, eventually, free_port};

fn check(url: &str, options: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(["check", "--peer", url])
        .args(options)
        .env_remove("MONOPORT_TOKEN")
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

/// The line that names `address`.
fn line<'a>(said: &'a str, address: &str) -> &'a str {
    said.lines().find(|line| line.contains(address)).unwrap_or_else(|| panic!("{said}"))
}

fn is_empty_again(server: &Server) {
    eventually("the session is over", || server.node().counts() == (0, 0));
    eventually("and its tables are empty", || server.sessions() == 0 && server.streams() == 0);
}

#[test]
fn a_server_that_can_be_reached_is_found_fit() {
    let server = Server::start(&["--shards", "2", "--token", "t"]);
    let (output, said) = check(&server.url("/"), &["--token", "t"]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let media = server.media().to_string();
    let found = line(&said, &media);
    assert!(found.starts_with("ok") && found.contains("it sees us as 127.0.0.1:"), "{said}");
    assert!(found.contains("UDP") && line(&said, "HTTP").starts_with("ok"), "{said}");
    is_empty_again(&server);

    for options in [&[][..], &["--token", "u"]] {
        let (output, said) = check(&server.url(""), options);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("fail  HTTP") && said.contains("fix: pass --token"), "{said}");
    }
    let (output, said) = check(&server.url("/elsewhere"), &["--token", "t"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("404") && said.contains("fix: pass the URL"), "{said}");
}

#[test]
fn each_address_is_tried_and_those_that_fail_are_named() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let mad = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    mad.set_read_timeout(Some(Duration::from_millis(50))).expect("not zero");
    let closed = free_port().to_string();
    let address = |socket: &UdpSocket| socket.local_addr().expect("it is bound").to_string();
    let announce = format!("127.0.0.1,{},{},{closed}", address(&silent), address(&mad));
    let server = Server::start(&["--shards", "1", "--announce", &announce]);

    let stop = AtomicBool::new(false);
    let (output, said) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 2_000];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = mad.recv_from(&mut buffer) else { continue };
                let _ = mad.send_to(&buffer[..length], from);
            }
        });
        let checked = check(&server.url(""), &[]);
        stop.store(true, Ordering::Relaxed);
        checked
    });
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(line(&said, &server.media().to_string()).starts_with("ok"), "{said}");
    for (address, reason) in [
        (address(&silent), "does not answer within"),
        (address(&mad), "answers, but it is not this server"),
        (closed, "nothing listens on the port"),
    ] {
        let found = line(&said, &address);
        assert!(found.starts_with("fail") && found.contains(reason), "{said}");
        let (ip, port) = address.rsplit_once(':').expect("IP:PORT");
        assert!(said.contains(&format!("fix: let UDP port {port} through to {ip}")), "{said}");
    }
    is_empty_again(&server);
}
