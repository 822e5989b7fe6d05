//! The authorization service (`--auth-url`): asked who may publish or watch a stream, in the words
//! that MediaMTX asks in, so that one written for that will do.
//!
//! ```json
//! {"user": "", "password": "", "token": "…", "ip": "192.0.2.1", "action": "publish",
//!  "path": "STREAM", "protocol": "webrtc", "id": "UUID", "query": "a=b"}
//! ```
//!
//! A status of 2xx lets in. Any other refuses; one of the service's own troubles (5xx, a redirect,
//! no answer) lets nobody in either, and is not remembered.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use tokio::sync::Semaphore;

use super::post::Service;
use super::verdicts::{Fingerprint, Verdict, Verdicts};
use crate::access::{Action, Asker, Roots, Shares};
use crate::limits::{AUTHORITY_TIMEOUT, MAX_HTTP_CONNECTIONS, MAX_QUESTIONS};
use crate::telemetry::{Exposition, limited};

mod answers;

use answers::{Answer, Answers};

/// Whom to ask, and what was answered lately.
pub struct Authority {
    service: Mutex<Option<Service>>,
    verdicts: Mutex<Verdicts>,
    /// Places for questions under way.
    places: Arc<Semaphore>,
    /// How many of those under way or waiting are of one source.
    shares: Arc<Shares>,
    answers: Answers,
}

/// Why somebody is not let in, with words for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// Nothing was shown, and without it the service lets nobody in.
    #[error("this server asks for a bearer token, or a user and a password")]
    Missing,
    /// What was shown is nobody's.
    #[error("the authorization service of this server does not know these credentials")]
    Wrong,
    /// They are not for this.
    #[error("the authorization service of this server does not let you {0}")]
    Refused(&'static str),
    /// It can't be asked.
    #[error(
        "the authorization service of this server {0}, and without its word nobody is let in: try \
         again; whoever runs the server finds the reason in its log"
    )]
    Unanswered(&'static str),
}

/// What the service is asked.
#[derive(Serialize)]
struct Question<'a> {
    user: &'a str,
    password: &'a str,
    token: &'a str,
    ip: String,
    action: &'static str,
    path: &'a str,
    protocol: &'static str,
    id: String,
    query: &'a str,
}

impl<'a> Question<'a> {
    fn new(action: Action, stream: Option<&'a str>, asker: &'a Asker) -> Question<'a> {
        let (user, password) = asker.password().unwrap_or_default();
        Question {
            user,
            password,
            token: asker.token().unwrap_or_default(),
            ip: asker.from().map(|ip| ip.to_string()).unwrap_or_default(),
            action: match action {
                Action::Publish => "publish",
                Action::Watch => "read",
                Action::Administer => "api",
                Action::Measure => "metrics",
            },
            path: stream.unwrap_or_default(),
            protocol: "webrtc",
            id: random_uuid(),
            query: asker.query(),
        }
    }

    /// All but what is new in each question.
    fn parts(&self) -> [&str; 7] {
        let Question { user, password, token, ip, action, path, query, .. } = self;
        [user, password, token, ip, action, path, query]
    }

    fn shows_nothing(&self) -> bool {
        [self.user, self.password, self.token].iter().all(|shown| shown.is_empty())
    }
}

impl Authority {
    /// The service at `url`, for which `roots` sign; nobody is asked without one.
    #[must_use]
    pub fn new(url: Option<&str>, roots: &Roots) -> Arc<Authority> {
        Arc::new(Authority {
            service: Mutex::new(url.map(|url| Service::new(url, roots, AUTHORITY_TIMEOUT))),
            verdicts: Mutex::new(Verdicts::new()),
            places: Arc::new(Semaphore::new(MAX_QUESTIONS)),
            // All may wait for a place; those of one source have half of the places at most.
            shares: Shares::new(MAX_HTTP_CONNECTIONS, MAX_QUESTIONS / 2),
            answers: Answers::default(),
        })
    }

    /// Goes on with the service at `url`, for which `roots` sign. What the former one said counts
    /// no longer.
    pub fn replace(&self, url: Option<&str>, roots: &Roots) {
        let mut service = lock(&self.service);
        let same = match (&*service, url) {
            (Some(service), Some(url)) => service.is(url, roots),
            (None, None) => true,
            _ => false,
        };
        if !same {
            *service = url.map(|url| Service::new(url, roots, AUTHORITY_TIMEOUT));
            lock(&self.verdicts).clear();
        }
    }

    /// Asks whether `asker` may do that with `stream`, or with whatever there is.
    ///
    /// # Errors
    /// Why not: it says so, or there is no word of it in time.
    pub async fn ask(
        &self,
        action: Action,
        stream: Option<&str>,
        asker: &Asker,
    ) -> Result<(), Unauthorized> {
        let question = Question::new(action, stream, asker);
        let fingerprint = lock(&self.verdicts).fingerprint(&question.parts());
        let known = lock(&self.verdicts).get(&fingerprint, Instant::now());
        let verdict = match known {
            Some(verdict) => {
                self.answers.count(Answer::Remembered);
                verdict
            }
            None => {
                let from = asker.from().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                self.ask_anew(&question, fingerprint, from).await?
            }
        };
        match verdict {
            Verdict::Allowed => Ok(()),
            Verdict::Refused(_) if question.shows_nothing() => Err(Unauthorized::Missing),
            Verdict::Refused(401) => Err(Unauthorized::Wrong),
            Verdict::Refused(_) => Err(Unauthorized::Refused(action.verb())),
        }
    }

    async fn ask_anew(
        &self,
        question: &Question<'_>,
        fingerprint: Fingerprint,
        from: IpAddr,
    ) -> Result<Verdict, Unauthorized> {
        let failed = |words: &'static str| {
            self.answers.count(Answer::Failed);
            Unauthorized::Unanswered(words)
        };
        let service = lock(&self.service).clone();
        let service = service.ok_or_else(|| failed("is not known"))?;
        let share = self.shares.admit(from).map_err(|_full| {
            failed("is asked too much from your address, or from your proxy's, at the moment")
        })?;
        let body = serde_json::to_vec(question).map_err(|_error| failed("can't be asked that"))?;
        let (places, posted) = (self.places.clone(), service.clone());
        let answer = async move {
            let place = places.acquire_owned().await.map_err(|error| error.to_string())?;
            let asking = tokio::task::spawn_blocking(move || {
                let answer = posted.post(&[], &body);
                // Held for as long as it takes, also where nobody waits any more.
                drop((place, share));
                answer
            });
            asking.await.map_err(|error| error.to_string())?
        };
        let answer = tokio::time::timeout(AUTHORITY_TIMEOUT, answer).await;
        let answer = answer.unwrap_or_else(|_elapsed| Err("it did not answer in time".to_owned()));
        let verdict = match answer {
            Ok(200..=299) => Verdict::Allowed,
            Ok(status @ 400..=499) => Verdict::Refused(status),
            Ok(status) => {
                let (at, id) = (service.shown(), &question.id);
                limited!(WARN, id, "the authorization service at {at} answers with {status}");
                return Err(failed("is in trouble"));
            }
            Err(why) => {
                let (at, id) = (service.shown(), &question.id);
                limited!(WARN, id, why, "the authorization service at {at} has no answer");
                return Err(failed("does not answer"));
            }
        };
        self.answers.count(match verdict {
            Verdict::Allowed => Answer::Allowed,
            Verdict::Refused(_) => Answer::Refused,
        });
        lock(&self.verdicts).keep(fingerprint, verdict, Instant::now());
        Ok(verdict)
    }

    /// Adds how many questions were answered how.
    pub fn expose(&self, exposition: &mut Exposition) {
        self.answers.expose(exposition);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A random UUID (RFC 9562 §5.4).
pub(super) fn random_uuid() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    let random = u128::from_be_bytes(bytes);
    let (version, variant) = (0xf << 76, 0x3 << 62);
    let uuid = random & !version & !variant | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{uuid:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_version_and_its_variant() {
        for _ in 0..100 {
            let uuid = random_uuid();
            let dashes: Vec<usize> = uuid.match_indices('-').map(|(at, _)| at).collect();
            assert_eq!((uuid.len(), &dashes[..]), (36, &[8, 13, 18, 23][..]), "{uuid}");
            assert_eq!(&uuid[14..15], "4");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        }
    }
}
