//! The DTLS of sessions, with two libraries behind one door: dimpl for browsers and their kin,
//! OpenSSL for whoever may have another certificate than an ECDSA one (`dtls/choice.rs`).

mod choice;
mod openssl;
mod shared;
mod silent;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::openssl::x509::X509VerifyResult;
use str0m::crypto::CryptoProvider;
use str0m::crypto::dtls::{DtlsCert, DtlsImplError, DtlsOutput};

use self::choice::Library;
use self::openssl::OpenSsl;
use self::silent::SilentProvider;
use super::certificate::HandshakeFault;
use crate::wire::dtls::{Flight, flight};

/// Bytes of a DTLS flight's datagram: str0m's own default, safe on any path.
pub(super) const DTLS_MTU: usize = 1_150;

/// The alert that is none (RFC 8446 §6.1).
const CLOSE_NOTIFY: u8 = 0;

/// Long after the session's end.
const NEVER: Duration = Duration::from_secs(3_600);

/// A certificate for the server, on P-256, which every client takes.
pub(super) fn new_certificate() -> Option<DtlsCert> {
    str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
}

/// str0m's crypto, for an `Rtc` that negotiates and is never heard of again: its DTLS says nothing.
pub(super) fn crypto() -> Arc<CryptoProvider> {
    static SILENT: SilentProvider = SilentProvider;
    Arc::new(CryptoProvider { dtls_provider: &SILENT, ..str0m::crypto::from_feature_flags() })
}

/// Why DTLS is given up, or a datagram refused.
#[derive(Debug)]
pub(super) struct Fault {
    /// What is told, where it is the end of the session.
    pub told: Option<HandshakeFault>,
    /// In the words of whoever found it.
    pub words: String,
}

impl From<DtlsImplError> for Fault {
    fn from(error: DtlsImplError) -> Fault {
        Fault { told: HandshakeFault::of(&error), words: error.to_string() }
    }
}

impl From<HandshakeFault> for Fault {
    fn from(fault: HandshakeFault) -> Fault {
        Fault { told: Some(fault), words: fault.words() }
    }
}

/// The DTLS of one session.
pub(super) struct Dtls {
    library: Chosen,
    now: Instant,
    connected: bool,
}

enum Chosen {
    /// What came so far, until a library can be chosen by it.
    Not(Arc<DtlsCert>, Vec<Vec<u8>>),
    Dimpl(Box<dimpl::Dtls>),
    OpenSsl(Box<OpenSsl>),
}

impl Dtls {
    /// That of a server with this certificate: it waits for the client's hello.
    pub fn server(certificate: Arc<DtlsCert>, now: Instant) -> Dtls {
        Dtls { library: Chosen::Not(certificate, Vec::new()), now, connected: false }
    }

    /// The same of a server that does not judge the client by its hello.
    ///
    /// # Errors
    /// When the library does not begin.
    pub fn careful_server(certificate: &DtlsCert, now: Instant) -> Result<Dtls, Fault> {
        let openssl = new_openssl(certificate, false, now)?;
        Ok(Dtls { library: Chosen::OpenSsl(openssl), now, connected: false })
    }

    /// That of a client: it says hello. A server shows its certificate before it sees ours, and may
    /// have any.
    ///
    /// # Errors
    /// When the library does not begin.
    pub fn client(certificate: &DtlsCert, now: Instant) -> Result<Dtls, Fault> {
        let mut openssl = new_openssl(certificate, true, now)?;
        openssl.handle_packet(&[])?;
        Ok(Dtls { library: Chosen::OpenSsl(openssl), now, connected: false })
    }

    /// Takes in a datagram.
    ///
    /// # Errors
    /// When the library does not take it.
    pub fn handle_packet(&mut self, datagram: &[u8]) -> Result<(), Fault> {
        match &mut self.library {
            Chosen::Dimpl(dimpl) => {
                // dimpl does not say.
                if let Some(Flight::Alert(alert)) = flight(datagram).filter(|_| !self.connected)
                    && alert != CLOSE_NOTIFY
                {
                    return Err(HandshakeFault::Alert(alert).into());
                }
                Ok(dimpl.handle_packet(datagram)?)
            }
            Chosen::OpenSsl(openssl) => Ok(openssl.handle_packet(datagram)?),
            Chosen::Not(certificate, held) => {
                held.push(datagram.to_vec());
                let Some(library) = choice::choose(held) else { return Ok(()) };
                let held = std::mem::take(held);
                self.library = begun(library, certificate, self.now)?;
                held.iter().try_for_each(|datagram| self.handle_packet(datagram))
            }
        }
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// When the handshake has taken too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Fault> {
        self.now = now;
        match &mut self.library {
            Chosen::Not(..) => Ok(()),
            Chosen::Dimpl(dimpl) => Ok(dimpl.handle_timeout(now)?),
            Chosen::OpenSsl(openssl) => Ok(openssl.handle_timeout(now)?),
        }
    }

    /// What it wants next. The peer's certificate comes before its keys.
    pub fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        match &mut self.library {
            Chosen::Not(..) => DtlsOutput::Timeout(self.now + NEVER),
            Chosen::Dimpl(dimpl) => {
                let output = dimpl.poll_output(buffer);
                self.connected |= matches!(output, DtlsOutput::Connected);
                output
            }
            Chosen::OpenSsl(openssl) => openssl.poll_output(buffer),
        }
    }

    /// Has it say goodbye. One that can't is dropped all the same.
    pub fn close(&mut self) {
        match &mut self.library {
            Chosen::Not(..) => {}
            Chosen::Dimpl(dimpl) => drop(dimpl.close()),
            Chosen::OpenSsl(openssl) => openssl.close(),
        }
    }
}

fn begun(library: Library, certificate: &DtlsCert, now: Instant) -> Result<Chosen, Fault> {
    match library {
        Library::Dimpl => {
            let unfit = |error: str0m::crypto::CryptoError| error.to_string();
            let config = shared::config().map_err(unfit);
            let config = config.map_err(|words| Fault { told: None, words })?;
            let mut dimpl = dimpl::Dtls::new_12(config, certificate.clone(), now);
            // It keeps its time by this.
            dimpl.handle_timeout(now)?;
            Ok(Chosen::Dimpl(Box::new(dimpl)))
        }
        Library::OpenSsl => Ok(Chosen::OpenSsl(new_openssl(certificate, false, now)?)),
    }
}

fn new_openssl(
    certificate: &DtlsCert,
    is_client: bool,
    now: Instant,
) -> Result<Box<OpenSsl>, HandshakeFault> {
    let made = OpenSsl::new(certificate, is_client, now);
    made.map(Box::new)
        .map_err(|errors| HandshakeFault::of_openssl(Some(&errors), X509VerifyResult::OK))
}
