//! JSON by POST to another service, in time and never elsewhere than asked to.

use std::time::Duration;

use ureq::Agent;

/// A service, by its URL.
#[derive(Clone)]
pub(super) struct Service {
    agent: Agent,
    url: String,
}

impl Service {
    /// The service at `url`, which has `timeout` for each answer.
    pub fn new(url: &str, timeout: Duration) -> Service {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect is an answer: what is told to one service is not for another.
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("monoport/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(timeout))
            .build();
        Service { agent: config.into(), url: url.to_owned() }
    }

    /// Whether it is the one at `url`.
    pub fn is_at(&self, url: &str) -> bool {
        self.url == url
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
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_a_url_are_not_shown() {
        let shown = |url: &str| Service::new(url, Duration::from_secs(1)).shown().to_owned();
        assert_eq!(shown("https://a.example/auth?key=hidden"), "https://a.example/auth");
        assert_eq!(shown("http://user:hidden@a.example/auth"), "http");
        assert_eq!(shown("http://a.example/@auth"), "http://a.example/@auth");
    }
}
