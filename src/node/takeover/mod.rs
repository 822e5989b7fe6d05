//! A new process takes the place of the running one, and no session ends for it.
//!
//! ```text
//!            clients
//!               │ one set of sockets, open in both processes
//!   ┌───────────┴───────────┐   packet sockets, in the kernel    ┌──────────────────────┐
//!   │ the later process     │── strays: datagrams not its own ──▶│ the earlier process  │
//!   │ reads every socket,   │── requests about its sessions ────▶│ reads what it is     │
//!   │ takes new sessions    │── TCP connections to them ────────▶│ handed, sends by the │
//!   │                       │◀── how many sessions it has left ──│ same sockets         │
//!   └───────────────────────┘                                    └──────────────────────┘
//! ```
//!
//! **One process reads at any time.** The sockets are passed on by `SCM_RIGHTS`, and a socket that
//! two processes have is one socket with one queue: so nothing is bound anew, no datagram changes
//! queues, nothing has to be read out before the earlier process ends, and should the later one be
//! killed, the earlier one reads on where that stopped. The price is a hop through the kernel for
//! what the earlier process's clients send: little from viewers, and what publishers send.
//!
//! **Whose a datagram is** the later process says ([`crate::paths::Whose::Earlier`]): a check by
//! its ufrag, since it knows the keys of both, anything else by its flow, which is the earlier
//! process's if it is not its own. Steering programs stay on the sockets, and both processes claim
//! flows in the one map.
//!
//! **A stream stays where its publisher is**: its new viewers are set up by the earlier process,
//! whom the later one takes their requests to, because that costs nothing per packet and needs no
//! relay that would have to end. When somebody publishes it in the later process, the earlier one
//! ends its publisher, and its viewers are told to reconnect.
//!
//! Takeovers may follow one another while sessions last: each process knows the one before it and
//! the one behind it, and passes on what is meant for those farther away.
//!
//! ```text
//! letters.rs   what is said, and in which versions
//! given.rs     the earlier process gives, serves what is left, and takes back
//! taken.rs     the later process takes
//! forward.rs   requests that are the earlier process's to answer
//! renewal.rs   SIGUSR2: the later process is started by the earlier one
//! ```

mod forward;
mod given;
mod letters;
mod renewal;
mod taken;

pub(super) use forward::{Forwarding, forward};
pub use letters::understood_letter;

pub(super) use given::{Given, Giver, Standing, not_listening};
pub(super) use renewal::Renewal;
pub(super) use taken::{EarlierDoor, Taking};

use std::io;
use std::path::PathBuf;

/// Why a process does not take over, in words for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// There is no default place for it.
    #[error(
        "there is no folder for the socket of takeovers: pass --takeover-socket PATH, as the \
         running server was given"
    )]
    NoPath,
    /// Nobody listens.
    #[error("no server to take over at {}: {error}; start without --takeover", path.display())]
    Nobody {
        /// Where it was looked for.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The running server refuses.
    #[error("the running server does not give its place: {0}")]
    Refused(String),
    /// What can't be changed on the way.
    #[error(
        "{option} {ours}: the running server has {theirs}, and a takeover keeps that; start with \
         the same, or stop the running server first"
    )]
    Differs {
        /// The option.
        option: &'static str,
        /// What this process was asked for.
        ours: String,
        /// What there is.
        theirs: String,
    },
    /// The conversation broke off.
    #[error("the running server and this one do not understand each other: {0}")]
    Broken(String),
    /// A system call failed, or nothing came in time.
    #[error("the running server does not answer: {0}")]
    Io(#[from] io::Error),
}
