//! What control threads ask of a shard, and what it answers.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::id::SessionKey;
use crate::net::UdpSocket;
use crate::session::Session;
use crate::stream::StreamShared;

/// A request of a control thread.
pub enum Command {
    /// Take over a session that was negotiated for this shard.
    Add {
        /// Its name: the shard's own index, and a slot that is free.
        key: SessionKey,
        /// The port its answer named.
        port: SessionPort,
        /// The session.
        session: Box<Session>,
        /// The stream it publishes or watches.
        stream: Arc<StreamShared>,
    },
    /// End a session; unknown keys are ignored, since sessions also end by themselves.
    End(SessionKey, EndReason),
    /// Serve one more mux port, in a slot that is free.
    OpenPort {
        /// The slot: the same on every shard.
        slot: usize,
        /// This shard's socket.
        port: BoundPort,
        /// Told when it is served, or why it is not, in words.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Serve a mux port no longer: its sessions are ended as [`EndReason::PortClosed`].
    ClosePort {
        /// Its slot; one that is empty is closed already.
        slot: usize,
        /// Told when the socket is closed.
        done: oneshot::Sender<()>,
    },
    /// End every session and leave the loop.
    Stop,
}

/// A bound socket, and what answers name for it.
#[derive(Debug)]
pub struct BoundPort {
    /// The socket.
    pub socket: UdpSocket,
    /// Addresses clients are given, in their order; at least one.
    pub candidates: Vec<SocketAddr>,
}

/// The port of one session.
#[derive(Debug)]
pub enum SessionPort {
    /// A mux port, by its slot.
    Mux(usize),
    /// One of its own (`--port-range`), which the shard owns from here on.
    Own(BoundPort),
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
    /// Its port was closed while the server runs.
    PortClosed,
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
            EndReason::PortClosed => "its UDP port was closed",
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
