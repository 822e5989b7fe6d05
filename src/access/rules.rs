//! The secrets, and what each opens.

use std::net::IpAddr;

use subtle::Choice;

use super::jwt::{Disbelief, JwtKeys};
use super::origin::Trace;
use super::secret::Secret;
use super::{Action, Asker, Networks, pattern};
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
    /// Whether an authorization service is asked about whoever shows none of these.
    pub service: bool,
    /// Whether those are served whom no token is asked of, wherever they are.
    pub everybody: bool,
    /// Whether the metrics are for everybody.
    pub metrics_open: bool,
    /// Whether HTTP is for this machine alone.
    pub http_is_loopback: bool,
    /// From where alone somebody may do anything; from everywhere where there is no list.
    pub allow: Option<Networks>,
    /// From where nobody may.
    pub deny: Networks,
    /// Proxies whose word about a client's address is taken.
    pub trusted_proxies: Networks,
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
    allow: Option<Networks>,
    deny: Networks,
    trusted_proxies: Networks,
}

/// What stands before an action.
#[derive(Clone)]
enum Guard {
    /// Whoever has the token, or one that says so.
    Token(Option<Secret>),
    /// The same, and whoever the authorization service lets in.
    Service(Option<Secret>),
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
    /// Whom nothing is known of that would let it see more.
    #[must_use]
    pub fn freely() -> Admitted {
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
    /// It comes from where nobody may do anything.
    #[error("nobody at the address {0} may use this server (--deny)")]
    Place(IpAddr),
    /// It does not come from where alone somebody may.
    #[error("the address {0} is none of those that may use this server (--allow)")]
    OtherPlace(IpAddr),
    /// There are lists of addresses, and its own is not known.
    #[error("this server looks at where a request comes from, and it can't be told")]
    NoPlace,
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
    /// The authorization service has the word; whoever does not ask it lets nobody in.
    #[error("the authorization service of this server has not been asked")]
    Undecided,
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
        let Secrets { everybody, metrics_open, http_is_loopback, service, .. } = *secrets;
        let by_place = if http_is_loopback { Guard::ThisMachine } else { Guard::Nobody };
        let guard = |secret: &Option<String>, otherwise: Guard| match secret {
            Some(secret) => Guard::Token(Some(Secret::new(secret))),
            None => otherwise,
        };
        let or_more = |guard: Guard| match guard {
            Guard::Token(secret) if service => Guard::Service(secret),
            _ if service => Guard::Service(None),
            Guard::Token(_) => guard,
            _ if jwt.is_some() => Guard::Token(None),
            _ => guard,
        };
        let open = if everybody { Guard::Everybody } else { by_place.clone() };
        // Who names a token for publishing alone wants everybody to watch.
        let watching = if publish.is_some() { Guard::Everybody } else { open.clone() };
        let administer = guard(admin, by_place);
        Rules {
            publish: or_more(guard(publish, open)),
            watch: or_more(guard(watch, watching)),
            measure: if metrics_open { Guard::Everybody } else { administer.clone() },
            administer,
            jwt: jwt.clone(),
            allow: secrets.allow.clone(),
            deny: secrets.deny.clone(),
            trusted_proxies: secrets.trusted_proxies.clone(),
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
        self.place(asker.from())?;
        let (guard, token) = match action {
            Action::Publish => (&self.publish, "--token"),
            Action::Watch => (&self.watch, "--token"),
            Action::Administer => (&self.administer, "--admin-token"),
            Action::Measure => (&self.measure, "--admin-token or --metrics-open"),
        };
        let verb = action.verb();
        match guard {
            Guard::Token(secret) => self.compare(secret.as_ref(), action, stream, asker),
            Guard::Service(secret) => {
                let known = self.compare(secret.as_ref(), action, stream, asker);
                known.or_else(|denied| or_service(denied, asker))
            }
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

    /// Proxies whose word about a client's address is taken.
    pub(super) fn trusted_proxies(&self) -> &Networks {
        &self.trusted_proxies
    }

    /// Whether anybody at `from` may do anything.
    fn place(&self, from: Option<IpAddr>) -> Result<(), Denied> {
        let Some(ip) = from else {
            let is_anywhere = self.allow.is_none() && self.deny.is_empty();
            return if is_anywhere { Ok(()) } else { Err(Denied::NoPlace) };
        };
        if self.deny.contains(ip) {
            return Err(Denied::Place(ip));
        }
        match &self.allow {
            Some(allowed) if !allowed.contains(ip) => Err(Denied::OtherPlace(ip)),
            _ => Ok(()),
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

/// The authorization service decides about whom nothing here explains; not about a token of this
/// server's that is good for other things, which no other service need ever see. Nor is it asked
/// again by those who know the URL of a session: they were let in once, and must be able to end it
/// while the service does not answer.
fn or_service(denied: Denied, asker: &Asker) -> Result<Admitted, Denied> {
    let is_too_long = asker.token().is_some_and(|token| token.len() > MAX_TOKEN_BYTES);
    match denied {
        Denied::Missing | Denied::Wrong if is_too_long => Err(denied),
        Denied::Missing | Denied::Wrong if asker.is_late() => Ok(Admitted::freely()),
        Denied::Missing | Denied::Wrong => Err(Denied::Undecided),
        _ => Err(denied),
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
    use axum::http::Request;

    use super::*;

    fn asker(token: Option<&str>, host: &'static str, origin: Option<&'static str>) -> Asker {
        let mut request = Request::builder().uri("/").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Asker::of(&request.body(()).expect("a request"))
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

    #[test]
    fn the_service_has_the_word_about_whom_no_token_explains_and_only_about_those() {
        let rules = Rules::new(&Secrets {
            publish: secret("p"),
            admin: secret("a"),
            service: true,
            http_is_loopback: true,
            ..Secrets::default()
        });
        let ask = |action, token| rules.admit(action, None, &asker(token, "localhost", None)).err();
        assert_eq!(ask(Action::Publish, Some("p")), None, "it is not asked about our own");
        let endless = "x".repeat(MAX_TOKEN_BYTES + 1);
        for (token, expected) in [
            (None, Denied::Undecided),
            (Some("x"), Denied::Undecided),
            (Some("p"), Denied::Without("watch")),
            (Some("a"), Denied::Without("watch")),
            (Some(&*endless), Denied::Wrong),
        ] {
            assert_eq!(ask(Action::Watch, token), Some(expected), "{token:?}");
        }
        assert_eq!(ask(Action::Administer, Some("x")), Some(Denied::Wrong));
        assert!(!Denied::Undecided.asks_for_a_token(), "who forgets to ask it lets nobody in");
        let late = asker(None, "localhost", None).with_session();
        assert!(rules.admit(Action::Publish, Some("s"), &late).is_ok());
        let other = asker(Some("a"), "localhost", None).with_session();
        assert!(rules.admit(Action::Publish, Some("s"), &other).is_err());
    }

    #[test]
    fn from_where_comes_before_by_what_and_a_list_of_who_may_not_before_one_of_who_may() {
        let networks = |text: &str| text.split(',').map(|n| n.parse().expect("one")).collect();
        let rules = Rules::new(&Secrets {
            publish: secret("p"),
            allow: Some(networks("192.0.2.0/24,2001:db8::/32")),
            deny: networks("192.0.2.66/32"),
            ..Secrets::default()
        });
        let ask = |ip: &str| {
            let address = std::net::SocketAddr::new(ip.parse().expect("an address"), 1);
            let mut request = Request::builder().header("authorization", "Bearer p").body(());
            let request = request.as_mut().expect("a request");
            request.extensions_mut().insert(axum::extract::ConnectInfo(address));
            rules.admit(Action::Publish, None, &Asker::of(request)).err()
        };
        assert_eq!((ask("192.0.2.1"), ask("2001:db8::7")), (None, None));
        assert_eq!(ask("::ffff:192.0.2.1"), None, "a socket of both families shows it so");
        let ip = |text: &str| text.parse().expect("an address");
        assert_eq!(ask("192.0.2.66"), Some(Denied::Place(ip("192.0.2.66"))));
        assert_eq!(ask("::ffff:192.0.2.66"), Some(Denied::Place(ip("192.0.2.66"))));
        assert_eq!(ask("203.0.113.1"), Some(Denied::OtherPlace(ip("203.0.113.1"))));
        let nowhere = rules.admit(Action::Watch, None, &asker(None, "localhost", None));
        assert_eq!(nowhere.err(), Some(Denied::NoPlace), "it fails closed");
    }
}
