//! Who may do what: decided from the action, the stream, the token that was shown, and where a
//! request came from. Nothing here waits or writes; HTTP asks, in `whip` and `api`.
//!
//! ```text
//! rules.rs   the secrets and what each opens      origin.rs   what speaks for a sender elsewhere
//! asker.rs   what a request shows                 secret.rs   compared in constant time
//! jwt.rs     tokens that say what they open       pattern.rs  names with `*`
//! networks.rs  from which addresses               forwarded.rs  whose address it is
//! shares.rs  how much of something at a time     rates.rs  how often
//! roots.rs   whose signature counts for services that are asked
//! ```

mod asker;
mod forwarded;
mod jwt;
mod networks;
mod origin;
mod pattern;
mod rates;
mod roots;
mod rules;
mod secret;
mod shares;

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use axum::http::HeaderMap;

pub use asker::Asker;
pub use forwarded::TwoClients;
pub use jwt::{JwtKeys, KeyError};
pub use networks::Networks;
pub use rates::Rates;
pub use roots::Roots;
pub use rules::{Admitted, Denied, Rules, Secrets};
pub use shares::{Full, Share, Shares};

/// The rules in force; they change when the server reads its secrets again.
pub struct Access(RwLock<Rules>);

impl Access {
    /// Begins with `rules`.
    #[must_use]
    pub fn new(rules: Rules) -> Access {
        Access(RwLock::new(rules))
    }

    /// Lets a request go on; see [`Rules::admit`].
    ///
    /// # Errors
    /// Why it may not.
    pub fn admit(
        &self,
        action: Action,
        stream: Option<&str>,
        asker: &Asker,
    ) -> Result<Admitted, Denied> {
        // Rules are put in as a whole: nothing is half done after a panic.
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rules.admit(action, stream, asker)
    }

    /// The address of who sends a request with these headers by way of `peer`.
    ///
    /// # Errors
    /// Proxies say two things about it.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, TwoClients> {
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner);
        forwarded::client(peer, headers, rules.trusted_proxies())
    }

    /// Goes on with `rules`.
    pub fn replace(&self, rules: Rules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }
}

/// What somebody asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a stream.
    Publish,
    /// Take a stream, or see what there is to take.
    Watch,
    /// Read the API, or change things by it.
    Administer,
    /// Read the metrics.
    Measure,
}

impl Action {
    /// The action after "may".
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Action::Publish => "publish",
            Action::Watch => "watch",
            Action::Administer => "use the API",
            Action::Measure => "read the metrics",
        }
    }
}
