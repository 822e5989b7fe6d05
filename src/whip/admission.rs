//! Who may go on with a request: the rules say so at once, or the authorization service is asked.

use std::sync::Arc;

use super::Problem;
use crate::access::{Access, Action, Admitted, Asker, Denied};
use crate::hooks::{Authority, Unauthorized};

/// Who is asked.
#[derive(Clone)]
pub struct Admission {
    /// The rules in force.
    pub access: Arc<Access>,
    /// The service that decides where they do not.
    pub authority: Arc<Authority>,
}

impl Admission {
    /// Lets a request go on, about `stream` or about whatever there is.
    pub(super) async fn admit(
        &self,
        action: Action,
        stream: Option<&str>,
        asker: &Asker,
    ) -> Result<Admitted, Problem> {
        match self.access.admit(action, stream, asker) {
            Err(Denied::Undecided) => {
                self.authority.ask(action, stream, asker).await?;
                Ok(Admitted::freely())
            }
            decided => Ok(decided?),
        }
    }
}

impl From<Unauthorized> for Problem {
    fn from(refused: Unauthorized) -> Problem {
        let words = refused.to_string();
        match refused {
            Unauthorized::Missing | Unauthorized::Wrong => Problem::unauthorized(words),
            Unauthorized::Refused(_) => Problem::forbidden(words),
            Unauthorized::Unanswered(_) => Problem::overloaded(words),
        }
    }
}
