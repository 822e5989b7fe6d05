//! What control threads ask of a shard, and what it answers.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use str0m::IceCreds;
use tokio::sync::oneshot;

use super::links::LinkSetup;
use super::subscribe::NotSubscribed;
use super::takeover::TakeoverStep;
use super::viewers::NotWished;
use crate::id::{SessionKey, StreamKey};
use crate::media::ViewerTerms;
use crate::net::UdpSocket;
use crate::paths::NewConnection;
use crate::session::{HandshakeFault, Session};
use crate::telemetry::{FailureReason, SessionCard};
use crate::track::{StreamShared, Wish};
use crate::wire::dtls::{Flight, alert_name};

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
    /// Take over a TCP connection whose first frame is a check for a session of this shard.
    Connect(Box<NewConnection>),
    /// End a session; unknown keys are ignored, since sessions also end by themselves.
    End(SessionKey, EndReason),
    /// Give a viewer's session the tracks of one more stream.
    Subscribe {
        /// The session.
        key: SessionKey,
        /// The stream.
        stream: Arc<StreamShared>,
        /// Its tracks, as they were answered ([`crate::session::Renegotiated`]).
        terms: ViewerTerms,
        /// Told whether it is done, and if not, why.
        done: oneshot::Sender<Result<(), NotSubscribed>>,
    },
    /// Give a session nothing of a stream any more; where it gets nothing, nothing happens.
    Unsubscribe {
        /// The session.
        key: SessionKey,
        /// The stream.
        stream: StreamKey,
    },
    /// Give a session's ICE other credentials on both sides.
    RestartIce {
        /// The session.
        key: SessionKey,
        /// Ours.
        local: IceCreds,
        /// Its peer's.
        remote: IceCreds,
        /// Told when it is done; dropped when the session has ended.
        done: oneshot::Sender<()>,
    },
    /// Give a session the layer of a video track that its client wants.
    Wish {
        /// The session.
        key: SessionKey,
        /// The section that the track comes in, as its client's offer named it; without one the
        /// first of video.
        mid: Option<String>,
        /// The layer.
        wish: Wish,
        /// Told whether it is noted, and if not, why.
        done: oneshot::Sender<Result<(), NotWished>>,
    },
    /// Open a link with another node.
    OpenLink(Box<LinkSetup>),
    /// Close a link, by its name; one that is unknown has ended.
    CloseLink(u32),
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
    /// Do a step of a takeover by another process.
    Takeover(TakeoverStep),
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
    /// An administrator ended it.
    Kicked,
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
    /// No right check had come, and others needed the room.
    GaveWay,
    /// Connectivity checks have come, and none had the right password.
    WrongPassword,
    /// A check has come, but DTLS did not finish in time: the client's last flight, if any came.
    DtlsTimeout(Option<Flight>),
    /// The protocol machine gave up, or the peer's certificate will not do.
    Failed(Option<HandshakeFault>),
    /// The server's own code panicked in it.
    Panicked,
    /// Its port was closed while the server runs.
    PortClosed,
    /// The server is stopping.
    Stopping,
}

impl EndReason {
    /// The reason's public name, as the API has it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            EndReason::Deleted => "deleted",
            EndReason::Kicked => "kicked",
            EndReason::Replaced => "replaced",
            EndReason::CodecChanged => "codec_changed",
            EndReason::ClosedByPeer => "closed_by_peer",
            EndReason::Vanished => "vanished",
            EndReason::Unheard => "unheard",
            EndReason::GaveWay => "gave_way",
            EndReason::WrongPassword => "wrong_password",
            EndReason::DtlsTimeout(_) => "dtls_timeout",
            EndReason::Failed(_) => "failed",
            EndReason::Panicked => "panicked",
            EndReason::PortClosed => "port_closed",
            EndReason::Stopping => "stopping",
        }
    }

    /// The failure it is, where it is one: not what a client, a successor or the server wanted.
    #[must_use]
    pub const fn failure(self) -> Option<FailureReason> {
        match self {
            EndReason::Vanished => Some(FailureReason::Vanished),
            EndReason::Unheard | EndReason::GaveWay => Some(FailureReason::Unheard),
            EndReason::WrongPassword => Some(FailureReason::WrongPassword),
            EndReason::DtlsTimeout(_) => Some(FailureReason::DtlsTimeout),
            EndReason::Failed(_) => Some(FailureReason::Failed),
            EndReason::Panicked => Some(FailureReason::Panicked),
            EndReason::Deleted
            | EndReason::Kicked
            | EndReason::Replaced
            | EndReason::CodecChanged
            | EndReason::ClosedByPeer
            | EndReason::PortClosed
            | EndReason::Stopping => None,
        }
    }

    /// In words, for logs and pages.
    #[must_use]
    pub fn describe(self) -> Cow<'static, str> {
        let words = match self {
            EndReason::Deleted => "deleted by the client",
            EndReason::Kicked => "ended by an administrator",
            EndReason::Replaced => "replaced by another publisher",
            EndReason::CodecChanged => "the stream changed to a codec the viewer lacks",
            EndReason::ClosedByPeer => "closed by the peer",
            EndReason::Vanished => "the peer vanished",
            EndReason::Unheard => "no STUN came from it",
            EndReason::GaveWay => "no right STUN came from it, and others needed the room",
            EndReason::WrongPassword => "its STUN came with bad credentials only",
            EndReason::DtlsTimeout(flight) => return dtls_timeout(flight),
            EndReason::Failed(Some(fault)) => return Cow::Owned(fault.words()),
            EndReason::Failed(None) => "its DTLS or SRTP failed for good",
            EndReason::Panicked => "a fault of the server's own ended it; see the log",
            EndReason::PortClosed => "its UDP port was closed",
            EndReason::Stopping => "the server stops",
        };
        Cow::Borrowed(words)
    }
}

/// At which flight a handshake stopped, and what that speaks for.
fn dtls_timeout(flight: Option<Flight>) -> Cow<'static, str> {
    let words = match flight {
        None => "STUN came, but DTLS did not finish: its ClientHello never came",
        Some(Flight::Hello) => {
            "STUN came, but DTLS did not finish: its hello came and was answered, and no key of \
             its own came back: answers do not reach it, or it does not take our certificate"
        }
        Some(Flight::Keys) => {
            "STUN came, but DTLS did not finish: its hello and its keys came, and no Finished"
        }
        Some(Flight::Sealed) => {
            "STUN came, but DTLS did not finish: its last flight came in parts only, or is not \
             what the handshake before it promised"
        }
        Some(Flight::Alert(description)) => {
            return Cow::Owned(format!(
                "STUN came, but DTLS did not finish: it gave up with alert {description} {}",
                alert_name(description)
            ));
        }
    };
    Cow::Borrowed(words)
}

/// What a shard tells the control threads.
#[derive(Debug)]
pub enum Report {
    /// A publisher sends another payload type of its answer than its first one, or than before.
    Switched {
        /// Which.
        key: SessionKey,
        /// What its packets have now.
        payload_type: u8,
    },
    /// A session is connected: ICE and DTLS are done. Once, before all else that is told of it.
    Connected(SessionKey),
    /// A publisher has taken its stream over: it is connected, and its first media is there, or
    /// nobody publishes the stream. At most once for each session, before its end.
    Live {
        /// Which.
        key: SessionKey,
        /// Its number among the stream's publishers: the greatest is the publisher.
        number: u32,
    },
    /// A session has ended.
    Ended(Ended),
}

/// A session has ended and its slot is free.
#[derive(Debug)]
pub struct Ended {
    /// Which.
    pub key: SessionKey,
    /// Why.
    pub reason: EndReason,
    /// What it was like at last.
    pub card: Option<Box<SessionCard>>,
}
