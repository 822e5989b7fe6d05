//! Services over HTTPS: who signs for them, and what becomes of one for which nobody does.

use std::path::{Path, PathBuf};

use crate::support::client::{Client, Offered, connect, socket};
use crate::support::process::Process;
use crate::support::service::{Posted, Service};
use crate::support::{Server, eventually, post_sdp};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use str0m::format::Codec;
use str0m::media::Direction;

/// A company's own certificate authority, with its certificate in a file of PEM.
struct Authority {
    key: PKey<Private>,
    certificate: X509,
    file: PathBuf,
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("OpenSSL has P-256");
    PKey::from_ec_key(EcKey::generate(&group).expect("OpenSSL makes keys")).expect("it is one")
}

/// A certificate for `name` and `key`: an authority's own, or one for 127.0.0.1 signed by `by`.
fn certificate(name: &str, key: &PKey<Private>, by: Option<&Authority>) -> X509 {
    let make = || {
        let mut subject = X509NameBuilder::new()?;
        subject.append_entry_by_text("CN", name)?;
        let subject = subject.build();
        let mut number = BigNum::new()?;
        number.rand(64, MsbOption::ONE, false)?;
        let mut x509 = X509::builder()?;
        x509.set_version(2)?;
        x509.set_serial_number(&*number.to_asn1_integer()?)?;
        x509.set_subject_name(&subject)?;
        x509.set_pubkey(key)?;
        x509.set_not_before(&*Asn1Time::days_from_now(0)?)?;
        x509.set_not_after(&*Asn1Time::days_from_now(2)?)?;
        match by {
            None => {
                x509.set_issuer_name(&subject)?;
                x509.append_extension(BasicConstraints::new().critical().ca().build()?)?;
            }
            Some(by) => {
                x509.set_issuer_name(by.certificate.subject_name())?;
                let context = x509.x509v3_context(Some(&by.certificate), None);
                let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&context)?;
                x509.append_extension(names)?;
            }
        }
        x509.sign(by.map_or(key, |by| &by.key), MessageDigest::sha256())?;
        Ok::<_, openssl::error::ErrorStack>(x509.build())
    };
    make().expect("OpenSSL makes certificates")
}

impl Authority {
    /// One of this name, which no other test of this run may have.
    fn new(name: &str) -> Authority {
        let file = format!("monoport-{name}-{}.pem", std::process::id());
        let (key, file) = (new_key(), std::env::temp_dir().join(file));
        let certificate = certificate(name, &key, None);
        let pem = certificate.to_pem().expect("OpenSSL writes PEM");
        std::fs::write(&file, pem).expect("the file is written");
        Authority { key, certificate, file }
    }

    fn path(&self) -> &str {
        path(&self.file)
    }

    /// A service for which it signs, and which lets everybody in.
    fn service(&self) -> Service {
        let key = new_key();
        let signed = certificate("service", &key, Some(self));
        let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("OpenSSL does");
        tls.set_certificate(&signed).expect("it is a certificate");
        tls.set_private_key(&key).expect("it is its key");
        Service::start_tls(tls.build(), |_| 200)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // Whoever reads it has read it.
        let _ = std::fs::remove_file(&self.file);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("it is UTF-8")
}

/// What a POST to a stream is answered, with the words of the answer.
fn publish(url: &str) -> (u16, String) {
    let offered = Offered::both(Codec::Vp8);
    let offer = Client::offer(offered, Direction::SendOnly, socket()).1.to_sdp_string();
    let answer = post_sdp(&format!("{url}/whip/s"), &offer);
    (answer.status, answer.body)
}

#[test]
fn a_service_signed_for_by_an_authority_of_ones_own_is_asked_and_told() {
    let authority = Authority::new("asked-and-told");
    let service = authority.service();
    let (auth, hook) = (service.url("/auth"), service.url("/hook"));
    let options = ["--shards", "1", "--auth-url", &auth, "--hook-url", &hook];
    let server = Server::start(&[&options[..], &["--hook-ca-file", authority.path()]].concat());
    let mut publisher = Client::publish(&server, "s", Offered::both(Codec::Vp8));
    assert_eq!(service.posted()[0].json()["action"], "publish");
    connect(&mut [&mut publisher]);
    let joined = |posted: &Posted| posted.header("monoport-event") == Some("session.joined");
    eventually("the webhook is told", || service.posted().iter().any(joined));
}

#[test]
fn a_service_for_which_nobody_signs_is_asked_nothing_and_the_log_says_what_to_do() {
    let (authority, other) = (Authority::new("unknown"), Authority::new("another"));
    let service = authority.service();
    let options = ["--shards", "1", "--auth-url", &service.url("/"), "--hook-ca-file"];
    for server in
        [Process::start(&options[..4]), Process::start(&[&options[..], &[other.path()]].concat())]
    {
        let (status, words) = publish(&server.url);
        assert_eq!(status, 503, "{words}");
        assert_eq!(service.count(), 0, "{:?}", service.posted());
        let log = server.stop();
        assert!(log.contains("--hook-ca-file") && log.contains("nobody whom"), "{log}");
    }
}

#[test]
fn the_authorities_of_the_system_sign_for_services() {
    let authority = Authority::new("systems");
    let service = authority.service();
    let options = ["--shards", "1", "--auth-url", &service.url("/")];
    let server = Process::start_with(&options, &[("SSL_CERT_FILE", authority.path())]);
    let (status, words) = publish(&server.url);
    assert_eq!((status, service.count()), (201, 1), "{words}");
}

#[test]
fn a_file_of_authorities_is_read_again_on_sighup() {
    let (authority, other) = (Authority::new("later"), Authority::new("earlier"));
    let service = authority.service();
    let file = std::env::temp_dir().join(format!("monoport-authorities-{}", std::process::id()));
    std::fs::copy(&other.file, &file).expect("it is copied");
    let options = ["--shards", "1", "--auth-url", &service.url("/")];
    let server = Process::start(&[&options[..], &["--hook-ca-file", path(&file)]].concat());
    assert_eq!(publish(&server.url).0, 503);
    std::fs::copy(&authority.file, &file).expect("it is copied");
    server.signal("-HUP");
    eventually("the other authority counts", || publish(&server.url).0 == 201);
    // What is no certificate leaves all as it was.
    std::fs::write(&file, "nothing").expect("it is written");
    server.signal("-HUP");
    eventually("the log says so", || server.log().contains("holds no certificate as PEM"));
    assert_eq!(publish(&server.url).0, 201);
    std::fs::remove_file(&file).expect("it is there");
}
