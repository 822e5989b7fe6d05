//! The secrets, and what each opens.

use subtle::Choice;

use super::jwt::{Disbelief, JwtKeys};
use super::origin::Trace;
use super::secret::Secret;
use super::{Action, Asker, pattern};
use crate::limits::MAX_TOKEN_BYTES;

/// What the rules are made of.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// The token for publishing.
    pub publish: Option<String>,
    /// The token for watching.
    pub watch: Option<String>,
    /// The token for the API and the metrics.
    pub admin: Option<String>,
    /// The keys of tokens that say what they open, in publishing and watching.
    pub jwt: Option<JwtKeys>,
    /// Whether those are served whom no token is asked of, wherever they are.
    pub everybody: bool,
    /// Whether the metrics are for everybody.
    pub metrics_open: bool,
    /// Whether HTTP is for this machine alone.
    pub http_is_loopback: bool,
}

/// Who may do what.
pub struct Rules {
    publish: Guard,
    watch: Guard,
    administer: Guard,
    measure: Guard,
    /// Every secret there is: whoever shows one of them is known, though not for everything.
    known: Vec<Secret>,
    jwt: Option<JwtKeys>,
}

/// What stands before an action.
#[derive(Clone)]
enum Guard {
    /// Whoever has the token, or one that says so.
    Token(Option<Secret>),
    /// Whoever is on this machine.
    ThisMachine,
    /// Nobody: others reach HTTP, and there is no token to tell them apart.
    Nobody,
    Everybody,
}

/// What a request that was let in may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Clients' addresses are shown to those alone who have shown a token.
    pub addresses: bool,
    /// The streams it is about; all where there is none.
    streams: Option<Box<str>>,
}

impl Admitted {
    fn freely() -> Admitted {
        Admitted { addresses: false, streams: None }
    }

    /// Whether it is also about the stream `name`.
    #[must_use]
    pub fn includes(&self, name: &str) -> bool {
        self.streams.as_deref().is_none_or(|streams| pattern::matches(streams, name))
    }
}

/// Why a request is refused, with words for the person who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token was shown.
    #[error("this server asks for a bearer token")]
    Missing,
    /// It is nobody's.
    #[error("the bearer token is not the right one")]
    Wrong,
    /// It was good until a while ago.
    #[error("the time of the bearer token is over")]
    Expired,
    /// It is for other streams.
    #[error("this bearer token is for other streams")]
    OtherStream,
    /// It is somebody's, who may do other things.
    #[error("this bearer token does not give the right to {0}")]
    Without(&'static str),
    /// There is no token, and it does not come from this machine.
    #[error(
        "without {token} this server lets none but this machine {verb}, and the request's {trace} \
         says that it came from elsewhere: start the server with {token}"
    )]
    Elsewhere {
        /// What was asked.
        verb: &'static str,
        /// What gives the sender away.
        trace: &'static str,
        /// The flag that would tell them apart.
        token: &'static str,
    },
    /// There is no token, and anybody could ask.
    #[error(
        "nobody may {verb}, since others reach this address and no token tells you apart from \
         them: start the server with {token}, or with --http on loopback"
    )]
    Closed {
        /// What was asked.
        verb: &'static str,
        /// The flag that would tell them apart.
        token: &'static str,
    },
}

impl Denied {
    /// Whether another token may do (401); if not, this request is forbidden (403).
    #[must_use]
    pub fn asks_for_a_token(self) -> bool {
        matches!(self, Denied::Missing | Denied::Wrong | Denied::Expired)
    }
}

impl Rules {
    /// The rules by these secrets.
    #[must_use]
    pub fn new(secrets: &Secrets) -> Rules {
        let Secrets { publish, watch, admin, jwt, .. } = secrets;
        let Secrets { everybody, metrics_open, http_is_loopback, .. } = *secrets;
        let by_place = if http_is_loopback { Guard::ThisMachine } else { Guard::Nobody };
        let guard = |secret: &Option<String>, otherwise: Guard| match secret {
            Some(secret) => Guard::Token(Some(Secret::new(secret))),
            None => otherwise,
        };
        let or_jwt = |guard: Guard| match guard {
            Guard::Token(_) => guard,
            _ if jwt.is_some() => Guard::Token(None),
            _ => guard,
        };
        let open = if everybody { Guard::Everybody } else { by_place.clone() };
        // Who names a token for publishing alone wants everybody to watch.
        let watching = if publish.is_some() { Guard::Everybody } else { open.clone() };
        let administer = guard(admin, by_place);
        Rules {
            publish: or_jwt(guard(publish, open)),
            watch: or_jwt(guard(watch, watching)),
            measure: if metrics_open { Guard::Everybody } else { administer.clone() },
            administer,
            jwt: jwt.clone(),
            known: [publish, watch, admin].into_iter().flatten().map(|s| Secret::new(s)).collect(),
        }
    }

    /// Lets a request go on, about `stream` or about whatever there is.
    ///
    /// # Errors
    /// Why it may not.
    pub fn admit(
        &self,
        action: Action,
        stream: Option<&str>,
        asker: &Asker,
    ) -> Result<Admitted, Denied> {
        let (guard, token) = match action {
            Action::Publish => (&self.publish, "--token"),
            Action::Watch => (&self.watch, "--token"),
            Action::Administer => (&self.administer, "--admin-token"),
            Action::Measure => (&self.measure, "--admin-token or --metrics-open"),
        };
        let verb = action.verb();
        match guard {
            Guard::Token(secret) => self.compare(secret.as_ref(), action, stream, asker),
            Guard::Everybody => Ok(Admitted::freely()),
            Guard::Nobody => Err(Denied::Closed { verb, token }),
            Guard::ThisMachine => match asker.trace() {
                None => Ok(Admitted::freely()),
                // A page that somebody runs on this machine may publish and watch, as a program
                // there may.
                Some(Trace::Neighbour) if matches!(action, Action::Publish | Action::Watch) => {
                    Ok(Admitted::freely())
                }
                Some(trace) => Err(Denied::Elsewhere { verb, trace: trace.words(), token }),
            },
        }
    }

    fn compare(
        &self,
        secret: Option<&Secret>,
        action: Action,
        stream: Option<&str>,
        asker: &Asker,
    ) -> Result<Admitted, Denied> {
        let shown = asker.token().ok_or(Denied::Missing)?;
        if shown.len() > MAX_TOKEN_BYTES {
            return Err(Denied::Wrong);
        }
        let is_right = secret.map_or(Choice::from(0), |secret| secret.is(shown));
        let is_known =
            self.known.iter().fold(Choice::from(0), |known, secret| known | secret.is(shown));
        match (bool::from(is_right), bool::from(is_known), &self.jwt) {
            (true, _, _) => Ok(Admitted { addresses: true, streams: None }),
            (false, true, _) => Err(Denied::Without(action.verb())),
            (false, false, Some(keys)) if matches!(action, Action::Publish | Action::Watch) => {
                by_claims(keys, action, stream, shown, asker.is_late())
            }
            (false, false, _) => Err(Denied::Wrong),
        }
    }
}

/// What a token that says itself what it opens opens.
fn by_claims(
    keys: &JwtKeys,
    action: Action,
    stream: Option<&str>,
    shown: &str,
    late: bool,
) -> Result<Admitted, Denied> {
    let claims = keys.verify(shown, late).map_err(|disbelief| match disbelief {
        Disbelief::Expired => Denied::Expired,
        Disbelief::Forged => Denied::Wrong,
    })?;
    if !claims.gives(action) {
        return Err(Denied::Without(action.verb()));
    }
    let admitted = Admitted { addresses: true, streams: Some(claims.stream) };
    match stream {
        Some(name) if !admitted.includes(name) => Err(Denied::OtherStream),
        _ => Ok(admitted),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Uri};

    use super::*;

    fn asker(token: Option<&str>, host: &'static str, origin: Option<&'static str>) -> Asker {
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().expect("a value"));
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().expect("a value"));
        }
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("a value");
            headers.insert("authorization", value);
        }
        Asker::of(&headers, &Uri::from_static("/"))
    }

    fn secret(secret: &str) -> Option<String> {
        Some(secret.to_owned())
    }

    #[test]
    fn each_token_opens_its_own_door_alone() {
        let rules = Rules::new(&Secrets {
            publish: secret("p"),
            watch: secret("w"),
            admin: secret("a"),
            ..Secrets::default()
        });
        let doors = [(Action::Publish, "p"), (Action::Watch, "w"), (Action::Administer, "a")];
        let endless = "x".repeat(MAX_TOKEN_BYTES + 1);
        for (action, right) in doors.into_iter().chain([(Action::Measure, "a")]) {
            let try_it =
                |token: Option<&str>| rules.admit(action, None, &asker(token, "example.org", None));
            assert_eq!(try_it(None).err(), Some(Denied::Missing), "{action:?}");
            for wrong in ["x", "pp", "", &*endless] {
                assert_eq!(try_it(Some(wrong)).err(), Some(Denied::Wrong), "{action:?} {wrong}");
            }
            for known in ["p", "w", "a"] {
                let without = Denied::Without(action.verb());
                let expected = if known == right { None } else { Some(without) };
                assert_eq!(try_it(Some(known)).err(), expected, "{action:?} {known}");
            }
            assert!(try_it(Some(right)).is_ok_and(|admitted| admitted.addresses));
        }
    }

    #[test]
    fn watching_is_open_where_publishing_alone_has_a_token() {
        let secrets = Secrets { publish: secret("p"), ..Secrets::default() };
        let rules = Rules::new(&secrets);
        let stranger = asker(None, "example.org", Some("https://example.org"));
        assert!(rules.admit(Action::Watch, None, &stranger).is_ok());
        assert_eq!(rules.admit(Action::Publish, None, &stranger).err(), Some(Denied::Missing));
        let rules = Rules::new(&Secrets { watch: secret("w"), ..Secrets::default() });
        let refused = rules.admit(Action::Publish, None, &stranger).err();
        assert!(matches!(refused, Some(Denied::Closed { .. })), "{refused:?}");
        assert!(
            Rules::new(&Secrets { everybody: true, ..Secrets::default() })
                .admit(Action::Publish, None, &stranger)
                .is_ok()
        );
    }

    #[test]
    fn without_tokens_only_this_machine_is_let_in() {
        let rules = Rules::new(&Secrets { http_is_loopback: true, ..Secrets::default() });
        let here = asker(None, "localhost:7880", None);
        let page = asker(None, "localhost:7880", Some("https://example.org"));
        let rebound = asker(None, "example.org", None);
        let neighbour = asker(None, "localhost:7880", Some("http://localhost:3000"));
        for action in [Action::Publish, Action::Watch, Action::Administer, Action::Measure] {
            assert_eq!(rules.admit(action, None, &here), Ok(Admitted::freely()));
            for elsewhere in [&page, &rebound] {
                let refused =
                    rules.admit(action, None, elsewhere).expect_err("it is not from here");
                assert!(matches!(refused, Denied::Elsewhere { .. }), "{refused}");
                assert!(!refused.asks_for_a_token(), "no token would do");
            }
            let may = matches!(action, Action::Publish | Action::Watch);
            assert_eq!(rules.admit(action, None, &neighbour).is_ok(), may, "{action:?}");
        }
        let open = Secrets { metrics_open: true, ..Secrets::default() };
        assert!(Rules::new(&open).admit(Action::Measure, None, &rebound).is_ok());
        assert!(Rules::new(&Secrets::default()).admit(Action::Measure, None, &here).is_err());
    }
}
