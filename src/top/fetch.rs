//! Asking the server: one blocking request at a time, and what went wrong in words.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::access::Roots;

/// A server that takes longer to answer is told about like one that does not.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The API of one server.
pub struct Api {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody is there, or they do not speak HTTP.
    #[error("no answer from {url} ({why}): is the server up, and is this its --http address?")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What the HTTP client says.
        why: String,
    },
    /// 401 without a token.
    #[error(
        "the server asks for its admin token: give it with --admin-token-file FILE, or in \
         MONOPORT_ADMIN_TOKEN"
    )]
    TokenWanted,
    /// 401 with one.
    #[error("the server does not take this admin token; it is the one the server was started with")]
    TokenRefused,
    /// 404 where the API should be.
    #[error("{0} is not there: this is no monoport, or one from before the API")]
    NoApi(String),
    /// 404 where a session should be.
    #[error("the session is gone, and so long ago that the server has forgotten it")]
    NoSession,
    /// Another status than 200.
    #[error("the server answered {status}: {detail}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the server says about it.
        detail: String,
    },
    /// Something that is not the API.
    #[error("{url} answered, but not as the API does ({why})")]
    Strange {
        /// Who was asked.
        url: String,
        /// What does not fit.
        why: String,
    },
}

/// A problem as RFC 9457 has it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: Option<String>,
}

impl Api {
    /// The server at `url`, as in `http://127.0.0.1:7880`.
    #[must_use]
    pub fn new(url: &str, token: Option<String>) -> Api {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .tls_config(Roots::default().tls())
            .build();
        Api { agent: config.into(), base: url.trim_end_matches('/').to_owned(), token }
    }

    /// Where the server is.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks for `path` below `/api/v1/`.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        let url = format!("{}/api/v1/{path}", self.base);
        let mut request = self.agent.get(&url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", &format!("Bearer {token}"));
        }
        let unreachable =
            |error: ureq::Error| Trouble::Unreachable { url: url.clone(), why: error.to_string() };
        let mut response = request.call().map_err(unreachable)?;
        let body = response.body_mut().read_to_string().map_err(unreachable)?;
        match response.status().as_u16() {
            200 => serde_json::from_str(&body)
                .map_err(|error| Trouble::Strange { url, why: error.to_string() }),
            401 if self.token.is_none() => Err(Trouble::TokenWanted),
            401 => Err(Trouble::TokenRefused),
            404 if path.starts_with("sessions/") => Err(Trouble::NoSession),
            404 => Err(Trouble::NoApi(url)),
            status => {
                let problem: Problem = serde_json::from_str(&body).unwrap_or_default();
                let first_line = || body.lines().next().unwrap_or_default().chars().take(200);
                let detail = problem.detail.unwrap_or_else(|| first_line().collect());
                Err(Trouble::Status { status, detail })
            }
        }
    }
}
