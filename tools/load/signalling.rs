//! WHIP and WHEP from the client's side: post an offer, read the answer, delete the session.

use crate::sdp::{Answer, AnswerError};
use std::time::Duration;

/// A server that takes longer to answer an offer has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one server; cheap to clone, and clones share connections.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

/// An accepted offer.
pub struct Accepted {
    pub answer: Answer,
    /// The session's URL.
    pub session: String,
}

/// Why an offer led to no session.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Http(#[from] Box<ureq::Error>),
    /// Nobody publishes the stream yet.
    #[error("409 no publisher yet")]
    NoPublisher,
    #[error("status {0}: {1}")]
    Status(u16, String),
    #[error("{0}")]
    Answer(#[from] AnswerError),
    #[error("the answer came without a Location")]
    NoLocation,
}

impl Client {
    /// A client for the server at `base`, with a bearer token if it wants one.
    #[must_use]
    pub fn new(base: &str, token: Option<String>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .max_idle_connections_per_host(32)
            .build();
        Self { agent: config.into(), base: base.trim_end_matches('/').to_owned(), token }
    }

    /// Posts `offer` to `/whip/NAME` or `/whep/NAME`.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn offer(&self, publish: bool, name: &str, offer: &str) -> Result<Accepted, Refused> {
        let kind = if publish { "whip" } else { "whep" };
        let url = format!("{}/{kind}/{name}", self.base);
        let mut request = self.agent.post(&url).header("Content-Type", "application/sdp");
        if let Some(token) = &self.token {
            request = request.header("Authorization", &format!("Bearer {token}"));
        }
        let mut response = request.send(offer).map_err(Box::new)?;
        let location = response.headers().get("location").and_then(|v| v.to_str().ok());
        let location = location.map(|location| self.absolute(location));
        let body = response.body_mut().read_to_string().map_err(Box::new)?;
        match response.status().as_u16() {
            200 | 201 => {}
            409 => return Err(Refused::NoPublisher),
            status => return Err(Refused::Status(status, body.chars().take(200).collect())),
        }
        let session = location.ok_or(Refused::NoLocation)?;
        Ok(Accepted { answer: Answer::scan(&body)?, session })
    }

    /// Ends a session. A failure is of no interest at the end of a run: the server reaps it.
    pub fn delete(&self, session: &str) -> bool {
        let mut request = self.agent.delete(session);
        if let Some(token) = &self.token {
            request = request.header("Authorization", &format!("Bearer {token}"));
        }
        request.call().is_ok_and(|response| response.status().is_success())
    }

    /// A `Location` as a URL: the server may give a path (RFC 9110 §10.2.2).
    fn absolute(&self, location: &str) -> String {
        if location.contains("://") {
            return location.to_owned();
        }
        let host_end = self.base.find("://").map_or(0, |at| at + 3);
        let origin_end =
            self.base[host_end..].find('/').map_or(self.base.len(), |at| host_end + at);
        let separator = if location.starts_with('/') { "" } else { "/" };
        format!("{}{separator}{location}", &self.base[..origin_end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_location_is_joined_to_the_origin() {
        let client = Client::new("http://127.0.0.1:8080/base/", None);
        assert_eq!(client.absolute("/session/1"), "http://127.0.0.1:8080/session/1");
        assert_eq!(client.absolute("http://a/b"), "http://a/b");
        let client = Client::new("http://127.0.0.1:8080", None);
        assert_eq!(client.absolute("/session/1"), "http://127.0.0.1:8080/session/1");
    }
}
