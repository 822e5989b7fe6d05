//! JSON by POST to another service, in time and never elsewhere than asked to.

use std::time::Duration;

use tokio_rustls::rustls;
use ureq::Agent;
use ureq::tls::TlsConfig;

use crate::access::Roots;

/// A service, by its URL.
#[derive(Clone)]
pub(super) struct Service {
    agent: Agent,
    url: String,
    roots: Roots,
}

impl Service {
    /// The service at `url`, which has `timeout` for each answer, and for which the system's
    /// authorities sign, or `roots`.
    pub fn new(url: &str, roots: &Roots, timeout: Duration) -> Service {
        // Over plain HTTP nobody signs, and the system's need not be read.
        let tls = if url.starts_with("http:") { TlsConfig::default() } else { roots.tls() };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect is an answer: what is told to one service is not for another.
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("monoport/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(timeout))
            .tls_config(tls)
            .build();
        Service { agent: config.into(), url: url.to_owned(), roots: roots.clone() }
    }

    /// Whether it is the one at `url`, for which these sign.
    pub fn is(&self, url: &str, roots: &Roots) -> bool {
        self.url == url && self.roots == *roots
    }

    /// Where it is, for the log: a user, a password or a query in its URL are secrets.
    pub fn shown(&self) -> &str {
        let end = self.url.find(['?', '#']).unwrap_or(self.url.len());
        let url = &self.url[..end];
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let host = rest.find('/').unwrap_or(rest.len());
        match rest[..host].rfind('@') {
            Some(_) => scheme,
            None => url,
        }
    }

    /// Sends `body` and waits for the status of the answer, of which nothing else is read. Blocks.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Result<u16, String> {
        let mut request = self.agent.post(&self.url).content_type("application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match request.send(body) {
            Ok(answer) => Ok(answer.status().as_u16()),
            Err(ureq::Error::Timeout(_)) => Err("it did not answer in time".to_owned()),
            Err(error) if is_of_nobody_known(&error) => Err(NOBODY_KNOWN.to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

const NOBODY_KNOWN: &str = "its certificate is signed by nobody whom this machine trusts: put the \
    certificate of who signs it into the file of --hook-ca-file, or among the system's";

fn is_of_nobody_known(error: &ureq::Error) -> bool {
    let error = match error {
        ureq::Error::Rustls(error) => Some(error),
        // What TLS has to say while it shakes hands comes as an error of what it reads.
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    };
    let unknown = rustls::CertificateError::UnknownIssuer;
    error == Some(&rustls::Error::InvalidCertificate(unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_a_url_are_not_shown() {
        let service = |url: &str| Service::new(url, &Roots::default(), Duration::from_secs(1));
        let shown = |url: &str| service(url).shown().to_owned();
        assert_eq!(shown("https://a.example/auth?key=hidden"), "https://a.example/auth");
        assert_eq!(shown("http://user:hidden@a.example/auth"), "http");
        assert_eq!(shown("http://a.example/@auth"), "http://a.example/@auth");
    }
}
