//! Clients with certificates that are not taken, by OpenSSL's command line: each hears so at once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered, socket};
use crate::support::stun::Checks;
use crate::support::{Server, eventually, post_sdp, request};
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

#[test]
fn an_rsa_certificate_is_refused_at_once_and_the_words_say_what_is_taken() {
    let Some((told, after)) = refused(&["-newkey", "rsa:2048"], None) else { return };
    assert!(told.contains("RSA") && told.contains("ECDSA P-256 and P-384"), "{told}");
    assert!(after < AT_ONCE, "{after:?}");
}

#[test]
fn a_certificate_on_another_curve_is_refused_at_once_and_the_words_say_so() {
    let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp224r1"];
    let Some((told, after)) = refused(&kind, None) else { return };
    assert!(told.contains("another curve than P-256 and P-384"), "{told}");
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
