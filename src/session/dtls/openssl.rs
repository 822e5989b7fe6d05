//! OpenSSL's DTLS 1.2, for clients that may have other certificates than ECDSA ones.
//!
//! It takes RSA and every curve that is in use. It costs more than dimpl: about four times the
//! handshake's time on the core, and some 75 KB a session (its buffers are as long as the longest
//! record, and stay), so whoever needs it not does not get it (see `choice.rs`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::pkey::{Id, PKey};
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslSessionCacheMode, SslStream,
    SslVerifyMode, SslVersion,
};
use openssl::x509::{X509, X509Ref, X509StoreContextRef, X509VerifyResult};
use str0m::crypto::dtls::{DtlsCert, DtlsOutput, KeyingMaterial, SrtpProfile};

use super::{DTLS_MTU, NEVER};
use crate::limits::{MAX_OPENSSL_WAITING, OPENSSL_LOOK, RSA_BITS};
use crate::session::HandshakeFault;

/// Best first, as dimpl has them (RFC 7714 §14.2, RFC 5764 §4.1.2).
const PROFILES: [(&str, SrtpProfile); 3] = [
    ("SRTP_AEAD_AES_256_GCM", SrtpProfile::AEAD_AES_256_GCM),
    ("SRTP_AEAD_AES_128_GCM", SrtpProfile::AEAD_AES_128_GCM),
    ("SRTP_AES128_CM_SHA1_80", SrtpProfile::AES128_CM_SHA1_80),
];

thread_local! {
    /// What all sessions of this thread with the same certificate share: keys and lists are parsed
    /// once.
    static CONTEXT: RefCell<Option<(DtlsCert, SslContext)>> = const { RefCell::new(None) };
}

fn context(certificate: &DtlsCert) -> Result<SslContext, ErrorStack> {
    CONTEXT.with_borrow_mut(|kept| match kept {
        Some((of, context)) if of.certificate == certificate.certificate => Ok(context.clone()),
        _ => {
            let made = new_context(certificate)?;
            *kept = Some((certificate.clone(), made.clone()));
            Ok(made)
        }
    })
}

fn new_context(certificate: &DtlsCert) -> Result<SslContext, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::dtls())?;
    context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    // 112 bits, whatever the system's configuration says.
    context.set_security_level(2);
    context.set_cipher_list("ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!PSK")?;
    // The last one for its certificates: FFmpeg with GnuTLS makes those.
    context.set_groups_list("X25519:P-256:P-384:P-521:P-224")?;
    context.set_certificate(X509::from_der(&certificate.certificate)?.as_ref())?;
    context.set_private_key(PKey::private_key_from_der(&certificate.private_key)?.as_ref())?;
    context.set_tlsext_use_srtp(&PROFILES.map(|(name, _)| name).join(":"))?;
    // A session that went on without a handshake would be one whose certificate nobody compared.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_options(
        SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION | SslOptions::NO_QUERY_MTU,
    );
    let ask = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    // No authority vouches for it: the offer's fingerprint does, which is compared afterwards.
    context.set_verify_callback(ask, |_trusted, chain| is_fit(chain));
    Ok(context.build())
}

/// Whether the key of the certificate that is looked at is taken. This comes before anything is
/// verified with it.
fn is_fit(chain: &mut X509StoreContextRef) -> bool {
    let fits = chain.current_cert().and_then(has_fit_size);
    match fits {
        Some(true) => chain.set_error(X509VerifyResult::OK),
        Some(false) => chain.set_error(X509VerifyResult::APPLICATION_VERIFICATION),
        // What OpenSSL says of a key that it can't read stays.
        None => {}
    }
    fits == Some(true)
}

/// Whether a certificate's key is of a size that is taken; `None` where it can't be read.
fn has_fit_size(certificate: &X509Ref) -> Option<bool> {
    let key = certificate.public_key().ok()?;
    let is_rsa = matches!(key.id(), Id::RSA | Id::RSA_PSS);
    Some(!is_rsa || RSA_BITS.contains(&key.bits()))
}

/// Datagrams to and from OpenSSL.
#[derive(Debug, Default)]
struct Wire {
    /// The one that is being taken in.
    incoming: Option<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(datagram) = self.incoming.take() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        // Its buffer holds the longest record; of a longer datagram the rest is lost, as from a
        // socket.
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }
}

impl Write for Wire {
    /// What nobody has taken is dropped when it becomes too much: the path may lose it as well.
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        if self.outgoing.len() < MAX_OPENSSL_WAITING {
            self.outgoing.push_back(datagram.to_vec());
        }
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Shaking,
    Connected,
    /// Closed by either side, or failed: only what waits comes out.
    Over,
}

/// What is said once, in this order, between datagrams.
#[derive(Debug)]
enum News {
    Certificate(Vec<u8>),
    Keys(Vec<u8>, SrtpProfile),
    Connected,
    Closed,
}

/// One connection.
#[derive(Debug)]
pub(super) struct OpenSsl {
    stream: SslStream<Wire>,
    stage: Stage,
    news: VecDeque<News>,
    now: Instant,
    is_closing: bool,
}

impl OpenSsl {
    /// A connection as the client (`active`) or the server.
    ///
    /// # Errors
    /// When OpenSSL takes our own certificate or our lists not.
    pub fn new(certificate: &DtlsCert, active: bool, now: Instant) -> Result<OpenSsl, ErrorStack> {
        let mut ssl = Ssl::new(context(certificate)?.as_ref())?;
        ssl.set_mtu(DTLS_MTU as u32)?;
        if active {
            ssl.set_connect_state();
        } else {
            ssl.set_accept_state();
        }
        let stream = SslStream::new(ssl, Wire::default())?;
        let (stage, news) = (Stage::Shaking, VecDeque::new());
        Ok(OpenSsl { stream, stage, news, now, is_closing: false })
    }

    /// Takes in a datagram; an empty one has the client begin.
    ///
    /// # Errors
    /// Why the handshake is given up.
    pub fn handle_packet(&mut self, datagram: &[u8]) -> Result<(), HandshakeFault> {
        if !datagram.is_empty() {
            self.stream.get_mut().incoming = Some(datagram.to_vec());
        }
        self.go_on()
    }

    /// Lets time pass: a flight that nobody answered is sent again.
    ///
    /// # Errors
    /// Why the handshake is given up.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeFault> {
        self.now = now;
        if self.stage == Stage::Shaking { self.go_on() } else { Ok(()) }
    }

    fn go_on(&mut self) -> Result<(), HandshakeFault> {
        // OpenSSL takes what is left of an earlier error for its own.
        drop(ErrorStack::get());
        if self.stage == Stage::Shaking {
            match self.stream.do_handshake() {
                Ok(()) => self.connected()?,
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(()),
                Err(error) => {
                    self.stage = Stage::Over;
                    return Err(HandshakeFault::of_openssl(
                        error.ssl_error(),
                        self.stream.ssl().verify_result(),
                    ));
                }
            }
        }
        if self.stage == Stage::Connected {
            self.read();
        }
        Ok(())
    }

    /// The handshake is done: what it agreed on is what is asked for, or it counts for nothing.
    fn connected(&mut self) -> Result<(), HandshakeFault> {
        self.stage = Stage::Over;
        let ssl = self.stream.ssl();
        let certificate = ssl.peer_certificate().ok_or(HandshakeFault::Missing)?;
        if has_fit_size(&certificate) != Some(true) {
            return Err(HandshakeFault::KeySize);
        }
        // Keys exported without it are not bound to this handshake (RFC 7627 §1).
        if ssl.extms_support() != Some(true) {
            return Err(HandshakeFault::NoExtendedMasterSecret);
        }
        let named = ssl.selected_srtp_profile().map(|profile| profile.name());
        let profile = PROFILES.iter().find(|(name, _)| named == Some(name));
        let (_, profile) = profile.ok_or(HandshakeFault::NoSrtp)?;
        let mut material = vec![0; profile.keying_material_len()];
        let exported = ssl.export_keying_material(&mut material, "EXTRACTOR-dtls_srtp", None);
        let der = exported.and_then(|()| certificate.to_der());
        let der =
            der.map_err(|error| HandshakeFault::of_openssl(Some(&error), X509VerifyResult::OK))?;
        self.news.extend([News::Certificate(der), News::Keys(material, *profile), News::Connected]);
        self.stage = Stage::Connected;
        Ok(())
    }

    /// Takes in what came after the handshake: nothing of ours is spoken over DTLS itself. A flight
    /// of the client's that is sent again is answered by OpenSSL on the way.
    fn read(&mut self) {
        let mut unheard = [0; DTLS_MTU];
        loop {
            match self.stream.ssl_read(&mut unheard) {
                Ok(_) => {}
                Err(error) if error.code() == ErrorCode::WANT_READ => return,
                // A close_notify, or an alert that ends it.
                Err(_) => {
                    self.stage = Stage::Over;
                    return self.news.push_back(News::Closed);
                }
            }
        }
    }

    /// The next output. The peer's certificate comes before everything that follows from it.
    pub fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        if let Some(News::Certificate(der)) = self.news.front() {
            let Some(place) = buffer.get_mut(..der.len()) else {
                return DtlsOutput::BufferTooSmall { needed: der.len() };
            };
            place.copy_from_slice(der);
            self.news.pop_front();
            return DtlsOutput::PeerCert(place);
        }
        if let Some(datagram) = self.stream.get_ref().outgoing.front() {
            let Some(place) = buffer.get_mut(..datagram.len()) else {
                return DtlsOutput::BufferTooSmall { needed: datagram.len() };
            };
            place.copy_from_slice(datagram);
            self.stream.get_mut().outgoing.pop_front();
            return DtlsOutput::Packet(place);
        }
        match self.news.pop_front() {
            Some(News::Keys(material, profile)) => {
                DtlsOutput::KeyingMaterial(KeyingMaterial::new(&material), profile)
            }
            Some(News::Connected) => DtlsOutput::Connected,
            Some(News::Closed) => DtlsOutput::CloseNotify,
            Some(News::Certificate(_)) | None => DtlsOutput::Timeout(self.now + self.patience()),
        }
    }

    fn patience(&self) -> Duration {
        if self.stage == Stage::Shaking { OPENSSL_LOOK } else { NEVER }
    }

    /// Begins an orderly end: a close_notify comes out if there was a connection.
    pub fn close(&mut self) {
        if !self.is_closing && self.stage != Stage::Shaking {
            drop(ErrorStack::get());
            // A peer that is gone already needs no goodbye.
            let _ = self.stream.shutdown();
        }
        (self.is_closing, self.stage) = (true, Stage::Over);
    }
}

impl HandshakeFault {
    /// What an error of OpenSSL's is about, and what became of verifying the certificate.
    pub(super) fn of_openssl(
        error: Option<&ErrorStack>,
        verified: X509VerifyResult,
    ) -> HandshakeFault {
        /// Reasons of its library of TLS, as `openssl/sslerr.h` numbers them.
        mod reason {
            pub const BAD_SIGNATURE: i32 = 123;
            pub const CERTIFICATE_VERIFY_FAILED: i32 = 134;
            pub const PEER_DID_NOT_RETURN_A_CERTIFICATE: i32 = 199;
            pub const WRONG_SIGNATURE_TYPE: i32 = 370;
            pub const WRONG_CURVE: i32 = 378;
        }
        let errors = error.map_or(&[][..], ErrorStack::errors);
        for error in errors {
            match error.reason_code() {
                reason::PEER_DID_NOT_RETURN_A_CERTIFICATE => return HandshakeFault::Missing,
                reason::WRONG_CURVE => return HandshakeFault::Curve,
                reason::WRONG_SIGNATURE_TYPE => return HandshakeFault::KeyKind,
                reason::BAD_SIGNATURE => return HandshakeFault::Signature,
                reason::CERTIFICATE_VERIFY_FAILED => {
                    let is_size = verified == X509VerifyResult::APPLICATION_VERIFICATION;
                    return if is_size { HandshakeFault::KeySize } else { HandshakeFault::Garbled };
                }
                _ => {}
            }
        }
        let told = errors.last().and_then(openssl::error::Error::reason);
        HandshakeFault::Given(told.unwrap_or("no reason given"))
    }
}
