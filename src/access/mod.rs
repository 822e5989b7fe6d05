//! Who may do what: decided from the action, the token that was shown, and where a request came
//! from. Nothing here waits, looks at a clock of its own or writes; HTTP asks, in `whip` and `api`.
//!
//! ```text
//! rules.rs   the secrets and what each opens      origin.rs  what speaks for a sender elsewhere
//! asker.rs   what a request shows                 secret.rs  compared in constant time
//! ```

mod asker;
mod origin;
mod rules;
mod secret;

pub use asker::Asker;
pub use rules::{Admitted, Denied, Rules, Secrets};

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
    const fn verb(self) -> &'static str {
        match self {
            Action::Publish => "publish",
            Action::Watch => "watch",
            Action::Administer => "use the API",
            Action::Measure => "read the metrics",
        }
    }
}
