//! The way to another node: a connection for each request, within bounds of time and number.
//!
//! Certificates are not looked at: nodes are known by the secret they sign with, at whatever
//! address, and TLS keeps others from reading.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Request, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
};

use super::signed::{self, Asked};
use super::{Answered, Carried, Head, Neighbours, PATH, SIGNATURE, Unasked, lock, unix_ms};
use crate::control::NodeRecord;
use crate::limits::{
    FORWARD_ANSWER, FORWARD_CONNECT, FORWARDED_UNDER_WAY, MAX_FORWARDED_ANSWER_BYTES,
};

/// Headers of answers that are passed on to clients.
const PASSED_ON: [&str; 10] = [
    "accept-patch",
    "accept-post",
    "allow",
    "cache-control",
    "content-type",
    "etag",
    "link",
    "location",
    "retry-after",
    "www-authenticate",
];

impl Head {
    /// What is passed on of an answer.
    #[must_use]
    pub fn of(status: u16, headers: &HeaderMap) -> Head {
        let passed = PASSED_ON.into_iter().flat_map(|name| {
            let values = headers.get_all(name).into_iter();
            values.filter_map(move |value| Some((name.to_owned(), value.to_str().ok()?.to_owned())))
        });
        Head { status, headers: passed.collect() }
    }

    /// Whether it is that of a stream of events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        let mut headers = self.headers.iter();
        headers
            .any(|(name, value)| name == "content-type" && value.starts_with("text/event-stream"))
    }
}

impl Neighbours {
    pub(super) async fn ask_node(
        &self,
        node: &NodeRecord,
        request: Carried,
    ) -> Result<Answered, Unasked> {
        let permits = self.permits(&node.name);
        let permit = permits.try_acquire().map_err(|_full| Unasked::Busy(node.name.clone()))?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).expect("the operating system gives random bytes");
        let nonce = signed::hex(&random);
        let asked = Asked {
            from: self.control.member().node.to_string(),
            to: node.name.to_string(),
            time_ms: unix_ms(),
            nonce: nonce.clone(),
            request,
        };
        let silent = |why: String| {
            let (node, at) = (node.name.clone(), node.http.to_string());
            Unasked::Silent { node, at, why }
        };
        let answer = tokio::time::timeout(FORWARD_ANSWER, self.exchange(node, &asked)).await;
        let answer = answer
            .map_err(|_elapsed| silent(format!("not within {} s", FORWARD_ANSWER.as_secs())))?
            .map_err(|error| silent(error.to_string()))?;
        drop(permit);
        let (head, signature, body) = answer;
        let whole = match &body {
            Received::Whole(bytes) => Some(&bytes[..]),
            Received::Stream(_) => None,
        };
        if !signed::is_answer(&self.keys.now(), &nonce, &head, whole, &signature) {
            let (node, at) = (node.name.clone(), node.http.to_string());
            let said = words_of(whole.unwrap_or_default());
            let why = format!("its answer ({}) is not signed: {said}", head.status);
            return Err(Unasked::Stranger { node, at, why });
        }
        let body = match body {
            Received::Whole(bytes) => Body::from(bytes),
            Received::Stream(body) => body,
        };
        Ok(Answered { head, body })
    }

    fn permits(&self, node: &str) -> Arc<Semaphore> {
        let mut all = lock(&self.under_way);
        if let Some(known) = all.get(node) {
            return known.clone();
        }
        // Nodes come and go for years.
        all.retain(|_, permits| Arc::strong_count(permits) > 1);
        let permits = Arc::new(Semaphore::new(FORWARDED_UNDER_WAY));
        all.insert(node.into(), permits.clone());
        permits
    }

    /// What comes back, before anything of it is believed.
    async fn exchange(
        &self,
        node: &NodeRecord,
        asked: &Asked,
    ) -> io::Result<(Head, String, Received)> {
        let keys = self.keys.now();
        let key = keys.first().ok_or_else(|| io::Error::other("this node has no secret"))?;
        let body = serde_json::to_vec(asked).map_err(io::Error::other)?;
        let request = Request::post(PATH)
            .header(HOST, node.http.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE, signed::hex(signed::sign(key, &body).as_ref()))
            .body(Body::from(body))
            .map_err(io::Error::other)?;
        let stream = connected(node.http.address, FORWARD_CONNECT).await?;
        let answer = if node.http.tls {
            let name = ServerName::IpAddress(node.http.address.ip().into());
            let connector = TlsConnector::from(Arc::new(tls().map_err(io::Error::other)?));
            send(connector.connect(name, stream).await?, request).await?
        } else {
            send(stream, request).await?
        };
        let signature = answer.headers().get(SIGNATURE).and_then(|tag| tag.to_str().ok());
        let signature = signature.unwrap_or_default().to_owned();
        let head = Head::of(answer.status().as_u16(), answer.headers());
        let body = if head.is_stream() {
            Received::Stream(answer.into_body())
        } else {
            let bytes = to_bytes(answer.into_body(), MAX_FORWARDED_ANSWER_BYTES).await;
            Received::Whole(bytes.map_err(io::Error::other)?)
        };
        Ok((head, signature, body))
    }
}

/// The words of a refusal: the detail of a problem (RFC 9457 §3.1.4), or the text as it is.
pub(super) fn words_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Told {
        detail: String,
    }
    let told = serde_json::from_slice(body).map(|told: Told| told.detail);
    let said = told.unwrap_or_else(|_other| String::from_utf8_lossy(body).into_owned());
    said.chars().filter(|char| !char.is_control()).take(300).collect()
}

enum Received {
    Whole(Bytes),
    /// Events, as they come.
    Stream(Body),
}

async fn connected(at: std::net::SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(within, TcpStream::connect(at)).await;
    let stream = stream.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> io::Result<Response<Body>> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // It ends with the answer, or when nobody reads that any more.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(answer.map(Body::new))
}

fn tls() -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    let any = Arc::new(AnyCertificate);
    Ok(builder.dangerous().with_custom_certificate_verifier(any).with_no_client_auth())
}

/// Takes any certificate: see above.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_its_words() {
        let problem = br#"{"status":409,"title":"Conflict","detail":"it drains"}"#;
        assert_eq!(words_of(problem), "it drains");
        assert_eq!(words_of(b"Bad\r\nGateway"), "BadGateway");
        assert_eq!(words_of(&[b'x'; 1_000]).len(), 300);
    }
}
