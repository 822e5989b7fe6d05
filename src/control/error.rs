//! Why control does not do what it is asked to.

use super::HttpAt;
use crate::id::SessionKey;
use crate::session::OfferError;
use crate::telemetry::FailureReason;

/// Why a verb is refused, each with words for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The offer can't be answered.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// Nobody publishes the stream of this name.
    #[error("nobody publishes `{0}` at the moment")]
    NoPublisher(String),
    /// The stream is published on another node, which this one takes nothing from.
    #[error("`{stream}` is published on the node `{node}`, whose HTTP is at {http}")]
    Elsewhere {
        /// The stream.
        stream: String,
        /// The node.
        node: Box<str>,
        /// Where its HTTP is.
        http: HttpAt,
    },
    /// Nobody publishes the stream here, and other nodes can't be asked.
    #[error(
        "nobody publishes `{0}` on this node, and the directory that knows of the others does not \
         answer at the moment"
    )]
    Unknown(String),
    /// It contradicts how things stand.
    #[error("{0}")]
    Conflict(String),
    /// Nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// The session was there, and the server has ended it.
    #[error("{words}")]
    Gone {
        /// Why, as the API has it.
        reason: &'static str,
        /// Why, in words.
        words: String,
        /// The session that has taken its place, where it was replaced.
        successor: Option<SessionKey>,
    },
    /// There is no room for a session: later there may be.
    #[error("{0}")]
    NoRoom(String),
    /// Too many sessions of this client's address have not connected.
    #[error("{0}")]
    TooManyOfSource(String),
    /// Too many sessions have not connected.
    #[error("{0}")]
    TooManyConnecting(String),
    /// A part of the server has too much to do: later it may not.
    #[error("{0}")]
    Overloaded(String),
}

impl ControlError {
    pub(super) fn no_publisher(stream: &str) -> ControlError {
        ControlError::NoPublisher(stream.to_owned())
    }

    pub(super) fn conflict(words: impl Into<String>) -> ControlError {
        ControlError::Conflict(words.into())
    }

    pub(super) fn not_found(words: impl Into<String>) -> ControlError {
        ControlError::NotFound(words.into())
    }

    pub(super) fn no_room(words: impl Into<String>) -> ControlError {
        ControlError::NoRoom(words.into())
    }

    pub(super) fn overloaded(words: impl Into<String>) -> ControlError {
        ControlError::Overloaded(words.into())
    }

    /// What it is counted as, when it keeps a session from being set up.
    #[must_use]
    pub const fn failure(&self) -> Option<FailureReason> {
        match self {
            ControlError::Offer(OfferError::NoCommonCodec { .. }) => {
                Some(FailureReason::NoCommonCodec)
            }
            ControlError::Offer(_) => Some(FailureReason::BadOffer),
            ControlError::NoRoom(_) => Some(FailureReason::NoRoom),
            ControlError::NoPublisher(_)
            | ControlError::Elsewhere { .. }
            | ControlError::Unknown(_)
            | ControlError::Conflict(_)
            | ControlError::NotFound(_)
            | ControlError::Gone { .. }
            | ControlError::TooManyOfSource(_)
            | ControlError::TooManyConnecting(_)
            | ControlError::Overloaded(_) => None,
        }
    }
}
