//! HTTPS: the certificate and its key, read at the start and again on SIGHUP.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::config::TlsFiles;

/// The certificate in force.
pub(super) struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

/// Why HTTPS can't be served with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// It holds nothing of the kind.
    #[error("{path} holds no {what} as PEM")]
    NoPem {
        /// The file.
        path: String,
        /// What it should hold.
        what: &'static str,
    },
    /// They do not go together, or are of a kind that is not supported.
    #[error("{0}")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// # Errors
    /// What is wrong with the files.
    pub fn read(files: &TlsFiles) -> Result<Tls, TlsError> {
        let current = RwLock::new(Arc::new(server(files)?));
        Ok(Tls { files: files.clone(), current })
    }

    /// Goes on with what the files hold now.
    ///
    /// # Errors
    /// What is wrong with them; it goes on as it was.
    pub fn read_again(&self) -> Result<(), TlsError> {
        let next = Arc::new(server(&self.files)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// For one connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }
}

fn server(TlsFiles { cert, key }: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let no = |path: &Path, what| TlsError::NoPem { path: path.display().to_string(), what };
    let pem = bytes_of(cert)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_error| no(cert, "certificate"))?;
    if chain.is_empty() {
        return Err(no(cert, "certificate"));
    }
    let secret =
        PrivateKeyDer::from_pem_slice(&bytes_of(key)?).map_err(|_error| no(key, "private key"))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut server = builder.with_single_cert(chain, secret)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(server)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path)
        .map_err(|error| TlsError::Unreadable { path: path.display().to_string(), error })
}
