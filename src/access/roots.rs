//! Whose certificates count where the server itself is a client of HTTPS: those that sign for the
//! system's programs, and what an operator names besides, a company's own authority for example.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::limits::MAX_ROOTS_FILE_BYTES;

/// Certificate authorities besides the system's.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Those in a file of PEM.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn read(path: &Path) -> Result<Roots, String> {
        let mut pem = Vec::new();
        let file = File::open(path).map_err(|error| error.to_string())?;
        let read = file.take(MAX_ROOTS_FILE_BYTES).read_to_end(&mut pem);
        read.map_err(|error| error.to_string())?;
        let roots: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("it is no PEM of certificates ({error})"))?;
        if roots.is_empty() {
            return Err("it holds no certificate as PEM (-----BEGIN CERTIFICATE-----)".to_owned());
        }
        let mut store = RootCertStore::empty();
        for (number, root) in (1..).zip(&roots) {
            let added = store.add(root.clone());
            added.map_err(|error| {
                format!("its certificate {number} is none that can sign others ({error})")
            })?;
        }
        Ok(Roots(roots))
    }

    /// What a client of HTTPS is told: these and the system's count, which are read now. Where the
    /// system has none, as in an image with nothing but the server, those that are built in (of
    /// Mozilla's list) stand in for them, unless there are these.
    #[must_use]
    pub fn tls(&self) -> TlsConfig {
        // What can't be read of the system's signs for nobody; the error of who is refused says so.
        let system = rustls_native_certs::load_native_certs().certs;
        let all = self.0.iter().chain(&system);
        let all: Vec<_> = all.map(|root| Certificate::from_der(root).to_owned()).collect();
        let roots = if all.is_empty() { RootCerts::WebPki } else { all.into() };
        TlsConfig::builder().root_certs(roots).build()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} certificate authorities", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_authority_says_what_is_wrong_with_it() {
        let path = std::env::temp_dir().join(format!("monoport-roots-{}", std::process::id()));
        let error = |text: &str| {
            std::fs::write(&path, text).expect("it is written");
            Roots::read(&path).expect_err("it holds none")
        };
        let words = error("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
        assert!(words.contains("holds no certificate"), "{words}");
        let words = error("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(words.contains("certificate 1"), "{words}");
        std::fs::remove_file(&path).expect("it is there");
        assert!(Roots::read(&path).expect_err("it is gone").contains("No such file"));
    }
}
