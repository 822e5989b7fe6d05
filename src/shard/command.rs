//! What control threads ask of a shard, and what it answers.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use crate::id::SessionKey;
use crate::session::Session;
use crate::stream::StreamShared;

/// A request of a control thread.
pub enum Command {
    /// Take over a session that was negotiated for this shard.
    Add {
        /// Its name: the shard's own index, and a slot that is free.
        key: SessionKey,
        /// The mux port its answer named, as an index.
        port: usize,
        /// The session.
        session: Box<Session>,
        /// The stream it publishes or watches.
        stream: Arc<StreamShared>,
    },
    /// Take over a TCP connection whose first frame is a check for a session of this shard.
    Connect(Box<Arrival>),
    /// End a session; unknown keys are ignored, since sessions also end by themselves.
    End(SessionKey, EndReason),
    /// End every session and leave the loop.
    Stop,
}

/// A TCP connection on its way to the shard of the session it is for.
#[derive(Debug)]
pub struct Arrival {
    /// The connection.
    pub stream: TcpStream,
    /// Our address on it.
    pub local: IpAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// What has been read of it: one frame at least.
    pub received: Vec<u8>,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client deleted its session.
    Deleted,
    /// Another publisher took the stream over.
    Replaced,
    /// The stream came back with a codec this viewer has not negotiated.
    CodecChanged,
    /// The client closed the connection.
    ClosedByPeer,
    /// The client's checks and media stopped.
    Vanished,
    /// No connectivity check has come: nothing from the client reaches the announced addresses.
    Unheard,
    /// Connectivity checks have come, and none had the right password.
    WrongPassword,
    /// A check has come, but ICE and DTLS did not finish in time.
    NeverConnected,
    /// The protocol machine gave up.
    Failed,
    /// The server is stopping.
    Stopping,
}

impl EndReason {
    /// In words, for logs and pages.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            EndReason::Deleted => "deleted by the client",
            EndReason::Replaced => "replaced by another publisher",
            EndReason::CodecChanged => "the stream changed to a codec the viewer lacks",
            EndReason::ClosedByPeer => "closed by the peer",
            EndReason::Vanished => "the peer vanished",
            EndReason::Unheard => "no STUN came from it",
            EndReason::WrongPassword => "its STUN came with bad credentials only",
            EndReason::NeverConnected => "STUN came, but DTLS did not finish",
            EndReason::Failed => "failed",
            EndReason::Stopping => "the server stops",
        }
    }
}

/// A session has ended and its slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub key: SessionKey,
    /// Why.
    pub reason: EndReason,
}
