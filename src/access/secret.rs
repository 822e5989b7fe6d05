//! One secret.

use subtle::{Choice, ConstantTimeEq};

/// A token that clients must show. It is not printed.
#[derive(Clone)]
pub(super) struct Secret(Box<str>);

impl Secret {
    pub fn new(secret: &str) -> Secret {
        Secret(secret.into())
    }

    /// Whether it is `shown`; takes the same time wherever the first difference is.
    pub fn is(&self, shown: &str) -> Choice {
        self.0.as_bytes().ct_eq(shown.as_bytes())
    }
}
