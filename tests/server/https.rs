//! HTTPS, secrets that change while the server runs, and connections that ask for nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::ready::Process;
use crate::support::{eventually, process, request};
use monoport::limits::{HTTP_BODY_TIMEOUT, HTTP_STALL_TIMEOUT};
use socket2::{Domain, Socket, Type};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Two certificates for `localhost`, each its own issuer, good for a hundred years.
const ONE: [&str; 2] = [include_str!("https/one.pem"), include_str!("https/one.key.pem")];
const TWO: [&str; 2] = [include_str!("https/two.pem"), include_str!("https/two.key.pem")];

/// A folder that is gone in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("monoport-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn put(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

/// The status of a page, for who trusts `certificate` alone.
fn status_over_tls(http: &str, certificate: &str) -> Option<u16> {
    status_of(http, "/readyz", certificate)
}

fn status_of(http: &str, path: &str, certificate: &str) -> Option<u16> {
    let certificate = Certificate::from_pem(certificate.as_bytes()).expect("a certificate");
    let roots = RootCerts::new_with_certs(&[certificate]);
    let tls = TlsConfig::builder().root_certs(roots).build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(5)))
        .build();
    let place = http.rsplit('/').next().expect("HOST:PORT").to_socket_addrs();
    let at = place.expect("an address").find(SocketAddr::is_ipv4).expect("of IPv4");
    let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), At(at));
    let url = format!("https://localhost{path}");
    agent.get(url).call().ok().map(|answer| answer.status().as_u16())
}

/// Every name is here.
#[derive(Debug)]
struct At(SocketAddr);

impl Resolver for At {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

#[test]
fn a_new_certificate_is_taken_on_sighup_and_a_broken_one_is_not() {
    let folder = Folder::new("https");
    let (cert, key) = (folder.put("cert", ONE[0]), folder.put("key", ONE[1]));
    let server = Process::start(&["--tls-cert", &cert, "--tls-key", &key]);
    assert_eq!(status_over_tls(&server.http, ONE[0]), Some(200));
    assert_eq!(status_over_tls(&server.http, TWO[0]), None, "it is the other's certificate");

    folder.put("cert", TWO[0]);
    folder.put("key", TWO[1]);
    server.signal("-HUP");
    eventually("the new one is served", || status_over_tls(&server.http, TWO[0]) == Some(200));
    folder.put("key", "not a key");
    server.signal("-HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(status_over_tls(&server.http, TWO[0]), Some(200), "it goes on as it was");
}

#[test]
fn sighup_reads_tokens_again_and_never_ends_the_server() {
    let folder = Folder::new("tokens");
    let file = folder.put("token", "first\n");
    let mut server = Process::start(&["--token-file", &file]);
    let status =
        |token: &str| request("GET", &server.url(&format!("/live?token={token}")), &[], "").status;
    assert_eq!((status("first"), status("second")), (200, 401));
    folder.put("token", "second\n");
    server.signal("-HUP");
    eventually("the new token counts", || status("second") == 200);
    assert_eq!(status("first"), 401);
    folder.put("token", "\n");
    server.signal("-HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((status("second"), status("")), (200, 401), "an empty file changes nothing");
    server.signal("-TERM");
    assert!(server.ends_well(), "another signal still does");
}

#[test]
fn files_that_change_are_taken_without_a_signal_and_broken_ones_are_told_of() {
    let folder = Folder::new("changes");
    let (cert, key) = (folder.put("cert", ONE[0]), folder.put("key", ONE[1]));
    let (token, deny) = (folder.put("token", "first\n"), folder.put("deny", "\n"));
    let files = ["--tls-cert", &cert, "--tls-key", &key, "--token-file", &token];
    let server = process::Process::start(&[&files[..], &["--deny-file", &deny]].concat());
    folder.put("cert", TWO[0]);
    folder.put("key", TWO[1]);
    eventually("the new one is served", || status_over_tls(&server.url, TWO[0]) == Some(200));
    // One that is put in the place of another by its name, as a mounted secret is.
    folder.put("next", "not a key");
    std::fs::rename(folder.0.join("next"), folder.0.join("key")).expect("a rename");
    folder.put("token", "second\n");
    let live = |token: &str| {
        let path = format!("/live?token={token}");
        status_of(&server.url, &path, TWO[0])
    };
    eventually("the new token counts, with the old certificate", || live("second") == Some(200));
    assert_eq!(live("first"), Some(401));
    folder.put("deny", "127.0.0.0/8\n");
    eventually("the list counts", || live("second") == Some(403));
    let log = server.stop();
    assert!(log.contains("a file has changed: the certificate stays as it is"), "{log}");
    assert!(log.contains("a file has changed: tokens, keys and lists were read again"), "{log}");
}

/// Connects to `to` from an address of loopback.
fn from(source: [u8; 4], to: &str) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    let to: SocketAddr = to.parse().expect("an address");
    socket.connect(&to.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

#[test]
fn a_thousand_idle_connections_neither_shut_http_for_others_nor_stay() {
    // The limit of open files that a shell has.
    let server = Process::start_with_files(1_024, &["--shards", "1"]);
    let mut idle: Vec<TcpStream> =
        (0..990).map_while(|_| from([127, 0, 0, 2], &server.http).ok()).collect();
    assert!(idle.len() > 900, "the kernel takes them: {}", idle.len());
    let mut other = from([127, 0, 0, 3], &server.http).expect("there is room for others");
    other.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is sent");
    let mut answer = [0; 15];
    other.read_exact(&mut answer).expect("it is answered");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    // And they are closed for who does not ask; the first is one that was taken in.
    let first = &mut idle[0];
    let closed = first.read(&mut [0; 1]);
    assert!(matches!(closed, Ok(0)), "{closed:?}");
}

/// Whether the server at `http` has its end of a connection with `client` open, as the kernel's
/// table says.
fn is_open(http: &str, client: SocketAddr) -> bool {
    let http: SocketAddr = http.parse().expect("an address");
    // Established is 1 (include/net/tcp_states.h).
    let ends =
        [format!(":{:04X}", http.port()), format!(":{:04X}", client.port()), "01".to_owned()];
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel has a table");
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        ends.iter().all(|end| words.next().is_some_and(|word| word.ends_with(end)))
    })
}

#[test]
fn a_client_that_asks_and_does_not_read_is_closed() {
    let server = Process::start_with_files(1_024, &["--shards", "1"]);
    let mut unread = from([127, 0, 0, 2], &server.http).expect("it is connected");
    let get = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // The answers are far more than the kernel keeps for both ends.
    unread.set_nonblocking(true).expect("a socket can be non-blocking");
    let asked = unread.write(get.repeat(2_000).as_bytes()).expect("some of it fits");
    assert!(asked > 500 * get.len(), "{asked} bytes were taken");
    let client = unread.local_addr().expect("it is connected");
    let is_open = || is_open(&server.http, client);
    assert!(is_open());
    // Its time does not begin before the kernel is full, and the machine may be slow.
    let start = Instant::now();
    while is_open() {
        assert!(start.elapsed() < 6 * HTTP_STALL_TIMEOUT, "it is open, and nobody reads");
        std::thread::sleep(Duration::from_millis(100));
    }
    // One that asks for nothing for as long goes for another reason; this one had asked.
    assert!(start.elapsed() > HTTP_STALL_TIMEOUT / 2, "{:?}", start.elapsed());
}

#[test]
fn a_body_that_does_not_come_is_given_up_and_its_client_told() {
    let server = Process::start_with_files(1_024, &["--shards", "1"]);
    let head = "POST /whip/s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\n\
                Content-Length: 60000\r\n\r\nv=0\r\n";
    let mut slow: Vec<TcpStream> =
        (0..200).map(|_| from([127, 0, 0, 2], &server.http).expect("it is connected")).collect();
    for stream in &mut slow {
        stream.write_all(head.as_bytes()).expect("it is sent");
    }
    for stream in &mut slow {
        stream.set_read_timeout(Some(6 * HTTP_BODY_TIMEOUT)).expect("it is not zero");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("it is answered");
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
}
