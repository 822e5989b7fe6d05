//! Clients with certificates of every kind, by OpenSSL: those that are taken publish and watch, the
//! others hear at once why not.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::delivery::delivers;
use crate::support::client::{Client, Offered, connect, run_for, run_until, socket};
use crate::support::identity::{Identity, Key};
use crate::support::stun::Checks;
use crate::support::{Server, eventually, post_sdp, request};
use openssl::nid::Nid;
use str0m::format::Codec;
use str0m::media::Direction;

const VP8: Offered = Offered { codec: Codec::Vp8, audio: true, video: true };

/// A key and a certificate in a folder of their own, which goes with it.
struct Certificate(PathBuf);

impl Certificate {
    /// Of the kind that these options of `openssl req` ask for; `None` without OpenSSL.
    fn make(kind: &[&str]) -> Option<Certificate> {
        let folder = format!("monoport-{}-{}", std::process::id(), kind.concat().len());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).expect("a folder for files of a test");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=client"])
            .args(kind)
            .arg("-keyout")
            .arg(folder.join("key.pem"))
            .arg("-out")
            .arg(folder.join("certificate.pem"))
            .stderr(Stdio::null())
            .status();
        let made = made.ok()?;
        assert!(made.success(), "openssl makes {kind:?}");
        Some(Certificate(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// As an offer has it.
    fn fingerprint(&self) -> String {
        let output = Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(self.path("certificate.pem"))
            .output()
            .expect("openssl runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let (_name, value) = said.trim().split_once('=').expect("a name and a value");
        format!("a=fingerprint:sha-256 {value}")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the server says of a client that shows a certificate of this kind, and how soon.
fn refused(kind: &[&str], fingerprint: Option<&str>) -> Option<(String, Duration)> {
    let certificate = Certificate::make(kind).or_else(|| {
        eprintln!("certificates are not tested: there is no openssl here");
        None
    })?;
    let server = Server::with_shards(1);
    let (mut client, offer, _) = Client::offer(VP8, Direction::SendOnly, socket());
    let own = certificate.fingerprint();
    let offer: String = offer
        .to_sdp_string()
        .lines()
        .map(|line| match line.starts_with("a=fingerprint") {
            true => format!("{}\r\n", fingerprint.unwrap_or(&own)),
            false => format!("{line}\r\n"),
        })
        .collect();
    let response = post_sdp(&server.url("/whip/s"), &offer);
    assert_eq!(response.status, 201, "{}", response.body);
    client.answer = response.body;
    Checks::of(&mut client).exchange(&client.socket, server.media(), true);
    let from = client.address;
    // The address is proved; from here on it is OpenSSL's.
    drop(client);
    let begun = Instant::now();
    let mut tls = handshake(&certificate.0, &server.media().to_string(), &from.to_string());
    let mut told = String::new();
    eventually("it is ended", || {
        told = request("GET", &server.url("/api/v1/failures"), &[], "").body;
        told.contains("\"words\"")
    });
    let after = begun.elapsed();
    let _ = tls.kill();
    let _ = tls.wait();
    Some((told, after))
}

fn handshake(folder: &Path, to: &str, from: &str) -> std::process::Child {
    Command::new("openssl")
        .args(["s_client", "-dtls1_2", "-use_srtp", "SRTP_AEAD_AES_128_GCM"])
        .args(["-connect", to, "-bind", from, "-cert"])
        .arg(folder.join("certificate.pem"))
        .arg("-key")
        .arg(folder.join("key.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs")
}

const AT_ONCE: Duration = Duration::from_secs(8);

/// What the server says of a client whose handshake fails, and how soon.
fn fails(identity: &Identity) -> (String, Duration) {
    let server = Server::with_shards(1);
    let mut client = identity.with(|| Client::publish(&server, "s", VP8));
    let (begun, mut told) = (Instant::now(), String::new());
    eventually("it is ended", || {
        client.poll();
        told = request("GET", &server.url("/api/v1/failures"), &[], "").body;
        told.contains("\"words\"")
    });
    (told, begun.elapsed())
}

#[test]
fn an_rsa_certificate_of_few_bits_is_refused_at_once_and_the_words_say_what_is_taken() {
    let (told, after) = fails(&Identity::new(Key::Rsa(1_024)));
    assert!(told.contains("of another size") && told.contains("RSA of 2048"), "{told}");
    assert!(after < AT_ONCE, "{after:?}");
}

#[test]
fn a_certificate_on_another_curve_is_refused_at_once_and_the_words_say_so() {
    let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"];
    let Some((told, after)) = refused(&kind, None) else { return };
    assert!(told.contains("on another curve") && told.contains("P-521"), "{told}");
    assert!(after < AT_ONCE, "{after:?}");
}

#[test]
fn a_certificate_that_the_offer_does_not_name_is_said_to_be_another() {
    let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    let other = format!("a=fingerprint:sha-256 {}", vec!["0A"; 32].join(":"));
    let Some((told, after)) = refused(&kind, Some(&other)) else { return };
    assert!(told.contains("is not the one of a=fingerprint"), "{told}");
    assert!(after < AT_ONCE, "{after:?}");
}

/// Clients of a kind publish and watch, and the server begins with DTLS or lets them begin.
fn publish_and_watch(key: Key) {
    let mut identity = Identity::new(key);
    for passive in [false, true] {
        identity.passive = passive;
        let server = Server::with_shards(1);
        identity.with(|| delivers(&server, "s", Codec::Vp8));
    }
}

#[test]
fn clients_with_an_rsa_certificate_of_2048_bits_publish_and_watch() {
    publish_and_watch(Key::Rsa(2_048));
}

#[test]
fn clients_with_an_rsa_certificate_of_4096_bits_publish_and_watch() {
    publish_and_watch(Key::Rsa(4_096));
}

#[test]
fn clients_with_a_certificate_on_p256_by_openssl_publish_and_watch() {
    publish_and_watch(Key::Curve(Nid::X9_62_PRIME256V1));
}

#[test]
fn clients_with_a_certificate_on_p224_publish_and_watch() {
    publish_and_watch(Key::Curve(Nid::SECP224R1));
}

#[test]
fn clients_with_a_certificate_on_p384_publish_and_watch() {
    publish_and_watch(Key::Curve(Nid::SECP384R1));
}

#[test]
fn clients_with_a_certificate_on_p521_publish_and_watch() {
    publish_and_watch(Key::Curve(Nid::SECP521R1));
}

#[test]
fn each_srtp_profile_can_be_agreed_on_with_openssl() {
    let mut identity = Identity::new(Key::Rsa(2_048));
    let all = ["SRTP_AEAD_AES_256_GCM", "SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_SHA1_80"];
    let server = Server::with_shards(1);
    for profile in all {
        identity.profiles = profile;
        identity.with(|| delivers(&server, profile, Codec::Vp8));
    }
    // Of several the strongest is taken, whatever the client would rather have.
    identity.profiles = "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM";
    let mut client = identity.with(|| Client::publish(&server, "all", VP8));
    connect(&mut [&mut client]);
    let cards = request("GET", &server.url("/api/v1/sessions"), &[], "").body;
    assert!(cards.contains("AEAD_AES_256_GCM"), "{cards}");
}

#[test]
fn a_client_without_srtp_hears_which_profiles_are_taken() {
    let mut identity = Identity::new(Key::Rsa(2_048));
    identity.profiles = "";
    let (told, after) = fails(&identity);
    assert!(told.contains("AES128_CM_HMAC_SHA1_80"), "{told}");
    assert!(after < AT_ONCE, "{after:?}");
}

#[test]
fn a_flight_of_openssl_that_was_lost_is_sent_again() {
    let identity = Identity::new(Key::Rsa(2_048));
    let server = Server::with_shards(1);
    let mut client = identity.with(|| Client::publish(&server, "s", VP8));
    client.deaf_to_dtls = true;
    run_for(Duration::from_millis(700), &mut [&mut client]);
    assert!(!client.connected);
    client.deaf_to_dtls = false;
    connect(&mut [&mut client]);
}

#[test]
fn a_client_of_openssl_that_closes_dtls_is_gone_at_once() {
    let identity = Identity::new(Key::Rsa(2_048));
    let server = Server::with_shards(1);
    let mut client = identity.with(|| Client::publish(&server, "s", VP8));
    connect(&mut [&mut client]);
    assert_eq!(server.sessions(), 1);
    client.say_goodbye();
    eventually("its session is gone", || server.sessions() == 0);
}

#[test]
fn a_session_of_openssl_that_the_server_ends_hears_a_close_notify() {
    let identity = Identity::new(Key::Rsa(2_048));
    let server = Server::with_shards(1);
    let mut client = identity.with(|| Client::publish(&server, "s", VP8));
    connect(&mut [&mut client]);
    assert_eq!(client.delete().status, 200);
    run_until("it hears so", &mut [&mut client], |clients| clients[0].closed);
}

#[test]
fn a_client_whose_hello_hid_its_kind_of_certificate_gets_in_when_it_comes_again() {
    let mut identity = Identity::new(Key::Rsa(2_048));
    identity.disguised = true;
    let server = Server::with_shards(1);
    let mut first = identity.with(|| Client::publish(&server, "s", VP8));
    eventually("it is ended", || {
        first.poll();
        request("GET", &server.url("/api/v1/failures"), &[], "").body.contains("\"words\"")
    });
    // Another stream's client is no worse off.
    let mut other = Client::publish(&server, "other", VP8);
    let mut again = identity.with(|| Client::publish(&server, "s", VP8));
    connect(&mut [&mut other, &mut again]);
}

#[test]
fn a_handshake_that_a_client_gives_up_with_an_alert_ends_its_session_at_once_and_says_so() {
    let server = Server::with_shards(1);
    let mut client = Client::publish(&server, "s", VP8);
    client.deaf_to_dtls = true;
    run_until("its hello is out", &mut [&mut client], |clients| clients[0].sent > 2);
    // A record of the alert protocol: fatal, handshake_failure.
    let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
    let mut told = String::new();
    eventually("it is ended", || {
        client.poll();
        let _ = client.socket.send_to(&alert, server.media());
        told = request("GET", &server.url("/api/v1/failures"), &[], "").body;
        told.contains("\"words\"")
    });
    assert!(told.contains("alert 40 handshake_failure"), "{told}");
    assert_eq!(server.metric("monoport_dtls_failures_total{shard=\"0\",cause=\"alert\"}"), 1);
}
