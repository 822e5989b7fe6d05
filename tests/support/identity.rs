//! Clients with certificates of any kind: OpenSSL's DTLS under a client's `Rtc`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::X509;
use str0m::RtcConfig;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, KeyingMaterial,
    ProtocolVersion, SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider, from_feature_flags};

/// The key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Of so many bits.
    Rsa(u32),
    Curve(Nid),
}

/// Who a client is in DTLS, and how it speaks it.
#[derive(Clone)]
pub struct Identity {
    certificate: DtlsCert,
    /// Profiles of SRTP that it offers, as OpenSSL lists them.
    pub profiles: &'static str,
    /// The server is to begin: the client is DTLS's server.
    pub passive: bool,
    /// Its hello is like a browser's.
    pub disguised: bool,
}

thread_local! {
    static NEXT: RefCell<Option<Identity>> = const { RefCell::new(None) };
}

impl Identity {
    /// One with a new certificate.
    pub fn new(key: Key) -> Identity {
        let key = match key {
            Key::Rsa(bits) => PKey::from_rsa(Rsa::generate(bits).expect("OpenSSL makes keys")),
            Key::Curve(curve) => {
                let group = EcGroup::from_curve_name(curve).expect("OpenSSL has it");
                PKey::from_ec_key(EcKey::generate(&group).expect("OpenSSL makes keys"))
            }
        };
        let key = key.expect("a key is a key");
        let certificate = self_signed(&key).expect("OpenSSL makes certificates");
        let private_key = key.private_key_to_pkcs8().expect("a key can be written");
        let certificate = DtlsCert { certificate, private_key };
        Identity {
            certificate,
            profiles: "SRTP_AES128_CM_SHA1_80",
            passive: false,
            disguised: false,
        }
    }

    /// Clients that `make` makes have this identity.
    pub fn with<T>(&self, make: impl FnOnce() -> T) -> T {
        NEXT.set(Some(self.clone()));
        let made = make();
        NEXT.set(None);
        made
    }
}

/// The configuration of a client, with its identity where it is to have one.
pub fn configured(config: RtcConfig) -> RtcConfig {
    static PROVIDER: Provider = Provider;
    let Some(identity) = NEXT.with_borrow(Clone::clone) else { return config };
    let crypto = CryptoProvider { dtls_provider: &PROVIDER, ..from_feature_flags() };
    config.set_crypto_provider(Arc::new(crypto)).set_dtls_cert(identity.certificate)
}

/// Its offer.
pub fn offered(offer: String) -> String {
    match NEXT.with_borrow(|next| next.as_ref().is_some_and(|identity| identity.passive)) {
        true => offer.replace("a=setup:actpass", "a=setup:passive"),
        false => offer,
    }
}

fn self_signed(key: &PKey<Private>) -> Result<Vec<u8>, ErrorStack> {
    let mut certificate = X509::builder()?;
    certificate.set_version(2)?;
    certificate.set_serial_number(&*BigNum::from_u32(1)?.to_asn1_integer()?)?;
    certificate.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    certificate.set_not_after(&*Asn1Time::days_from_now(2)?)?;
    certificate.set_pubkey(key)?;
    certificate.sign(key, MessageDigest::sha256())?;
    certificate.build().to_der()
}

#[derive(Debug)]
struct Provider;

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        None
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let identity = NEXT.with_borrow(Clone::clone).expect("an identity is chosen");
        let made = context(certificate, &identity);
        let mut ssl = made.and_then(|context| Ssl::new(context.as_ref()));
        if let Ok(ssl) = &mut ssl {
            ssl.set_mtu(1_200).expect("a length it takes");
        }
        let stream = ssl.and_then(|ssl| SslStream::new(ssl, Wire::default()));
        let stream = stream.expect("OpenSSL takes the certificate");
        let told = VecDeque::new();
        Ok(Box::new(Dtls { stream, told, done: false, active: false, closed: false, now }))
    }
}

fn context(certificate: &DtlsCert, identity: &Identity) -> Result<SslContext, ErrorStack> {
    /// `SSL_OP_NO_ENCRYPT_THEN_MAC` of `openssl/ssl.h`.
    const NO_ENCRYPT_THEN_MAC: SslOptions = SslOptions::from_bits_retain(1 << 19);
    let mut context = SslContext::builder(SslMethod::dtls())?;
    context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    // The server's rules are looked at, not ours.
    context.set_security_level(0);
    context.set_groups_list("X25519:P-256:P-384:P-521:P-224")?;
    context.set_certificate(X509::from_der(&certificate.certificate)?.as_ref())?;
    context.set_private_key(PKey::private_key_from_der(&certificate.private_key)?.as_ref())?;
    if !identity.profiles.is_empty() {
        context.set_tlsext_use_srtp(identity.profiles)?;
    }
    if identity.disguised {
        context.set_options(NO_ENCRYPT_THEN_MAC);
        context.set_cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")?;
    }
    context.set_options(SslOptions::NO_QUERY_MTU);
    context.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
    Ok(context.build())
}

#[derive(Debug, Default)]
struct Wire {
    incoming: Option<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(datagram) = self.incoming.take() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        buffer[..datagram.len()].copy_from_slice(&datagram);
        Ok(datagram.len())
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.outgoing.push_back(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum Told {
    Certificate(Vec<u8>),
    Keys(Vec<u8>, SrtpProfile),
    Connected,
    Closed,
}

#[derive(Debug)]
struct Dtls {
    stream: SslStream<Wire>,
    told: VecDeque<Told>,
    done: bool,
    active: bool,
    closed: bool,
    now: Instant,
}

impl Dtls {
    fn go_on(&mut self) {
        if !self.done {
            let begin = if self.active { SslStream::connect } else { SslStream::accept };
            self.done = begin(&mut self.stream).is_ok();
            self.shook_hands();
        }
        let mut buffer = [0; 2_000];
        while self.done && !self.closed {
            match self.stream.ssl_read(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.code() == ErrorCode::WANT_READ => return,
                Err(_) => {
                    self.closed = true;
                    self.told.push_back(Told::Closed);
                }
            }
        }
    }

    fn shook_hands(&mut self) {
        if self.done {
            let ssl = self.stream.ssl();
            let certificate = ssl.peer_certificate().expect("servers have one");
            self.told.push_back(Told::Certificate(certificate.to_der().expect("it is one")));
            if let Some(profile) = ssl.selected_srtp_profile() {
                let profile = match profile.name() {
                    "SRTP_AEAD_AES_256_GCM" => SrtpProfile::AEAD_AES_256_GCM,
                    "SRTP_AEAD_AES_128_GCM" => SrtpProfile::AEAD_AES_128_GCM,
                    _ => SrtpProfile::AES128_CM_SHA1_80,
                };
                let mut keys = vec![0; profile.keying_material_len()];
                let exported = ssl.export_keying_material(&mut keys, "EXTRACTOR-dtls_srtp", None);
                exported.expect("the handshake is done");
                self.told.push_back(Told::Keys(keys, profile));
            }
            self.told.push_back(Told::Connected);
        }
    }
}

impl DtlsInstance for Dtls {
    fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.stream.get_mut().incoming = Some(packet.to_vec()).filter(|packet| !packet.is_empty());
        self.go_on();
        Ok(())
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        if let Some(datagram) = self.stream.get_mut().outgoing.pop_front() {
            buffer[..datagram.len()].copy_from_slice(&datagram);
            return DtlsOutput::Packet(&buffer[..datagram.len()]);
        }
        match self.told.pop_front() {
            Some(Told::Certificate(der)) => {
                buffer[..der.len()].copy_from_slice(&der);
                DtlsOutput::PeerCert(&buffer[..der.len()])
            }
            Some(Told::Keys(keys, profile)) => {
                DtlsOutput::KeyingMaterial(KeyingMaterial::new(&keys), profile)
            }
            Some(Told::Connected) => DtlsOutput::Connected,
            Some(Told::Closed) => DtlsOutput::CloseNotify,
            None => DtlsOutput::Timeout(self.now + Duration::from_millis(100)),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        if self.active {
            self.go_on();
        }
        Ok(())
    }

    fn send_application_data(&mut self, _data: &[u8]) -> Result<usize, DtlsImplError> {
        Ok(0)
    }

    fn is_active(&self) -> bool {
        self.active
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        Some(ProtocolVersion::DTLS1_2)
    }

    fn is_closed(&self) -> bool {
        self.closed && self.stream.get_ref().outgoing.is_empty()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        let _ = self.stream.shutdown();
        self.closed = true;
        Ok(())
    }
}
