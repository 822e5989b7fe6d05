//! TCP connections that have not said yet which session they are for.
//!
//! ```text
//! listener ── first frame, in time ── a check? ── its ufrag: which shard ── Command
//!                └ no: closed            └ no: closed   └ forged: closed
//! ```
//!
//! A stranger costs a descriptor and a small task for [`TCP_INTRODUCTION`] at most, and there are
//! never more than [`MAX_TCP_PENDING`]: who has most makes room for the next. Whether the check is
//! genuine only the session can tell: its shard closes what is not proved.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::pending::Pending;
use super::takeover::EarlierDoor;
use crate::limits::{
    MAX_FIRST_FRAME, MAX_TCP_PENDING, MAX_TCP_PENDING_PER_SOURCE, TCP_INTRODUCTION,
};
use crate::paths::NewConnection;
use crate::shard::{Command, Wiring};
use crate::telemetry::TcpRefusal;
use crate::wire::framing::{self, Front};
use crate::wire::kind::{self, Kind};
use crate::wire::stun::{self, Class};

/// How long accepting pauses when the kernel has no descriptor or memory left: what is freed
/// meanwhile serves those that wait.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for as long as the server runs.
pub(super) async fn accept(
    listener: TcpListener,
    wiring: Arc<Wiring>,
    earlier: Option<Arc<EarlierDoor>>,
) {
    let pending = Pending::new(MAX_TCP_PENDING, MAX_TCP_PENDING_PER_SOURCE);
    let mut exhausted = false;
    for number in 0.. {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The peer has changed its mind (accept(2)).
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                wiring.tcp_refusals.add(TcpRefusal::NoDescriptor);
                // Said once, until it has passed and comes again.
                if !std::mem::replace(&mut exhausted, true) {
                    tracing::warn!("no TCP connection can be accepted: {error}; see `ulimit -n`");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        exhausted = false;
        let mut place = pending.admit(number, remote.ip());
        let (wiring, earlier) = (wiring.clone(), earlier.clone());
        tokio::spawn(async move {
            let refused = tokio::select! {
                heard = identify(stream, remote, &wiring, earlier.as_deref()) => heard.err(),
                why = &mut place.must_leave => why.ok(),
            };
            if let Some(reason) = refused {
                tracing::debug!("TCP from {remote} refused: {}", reason.label());
                wiring.tcp_refusals.add(reason);
            }
        });
    }
}

/// Hears which session a connection is for and hands it to the session's shard.
async fn identify(
    stream: TcpStream,
    remote: SocketAddr,
    wiring: &Wiring,
    earlier: Option<&EarlierDoor>,
) -> Result<(), TcpRefusal> {
    let mut received = Vec::with_capacity(framing::HEADER_BYTES + MAX_FIRST_FRAME);
    let first = tokio::time::timeout(TCP_INTRODUCTION, first_frame(&stream, &mut received));
    first.await.map_err(|_elapsed| TcpRefusal::Silent)??;
    let local = stream.local_addr().map_err(|_error| TcpRefusal::Gone)?;
    let stream = stream.into_std().map_err(|_error| TcpRefusal::Gone)?;
    let connection = NewConnection {
        stream,
        local: local.ip().to_canonical(),
        remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
        received,
    };
    hand_over(connection, wiring, earlier)
}

/// Hands a connection to the shard of the session that its first frame names, or to the process
/// that this one has taken over from.
pub(super) fn hand_over(
    connection: NewConnection,
    wiring: &Wiring,
    earlier: Option<&EarlierDoor>,
) -> Result<(), TcpRefusal> {
    let Front::Whole(check, _) = framing::front(&connection.received, MAX_FIRST_FRAME) else {
        return Err(TcpRefusal::NotACheck);
    };
    let ufrag = ufrag_of(check)?;
    let Some(session) = wiring.ufrag_key.decode(ufrag) else {
        let theirs = |earlier: &&EarlierDoor| earlier.keys().any(|key| key.decode(ufrag).is_some());
        let earlier = earlier.filter(theirs).ok_or(TcpRefusal::ForgedUfrag)?;
        return earlier.connect(connection).map_err(|_error| TcpRefusal::ShardBusy);
    };
    let mailbox = wiring.mailboxes.get(usize::from(session.shard));
    let mailbox = mailbox.ok_or(TcpRefusal::ForgedUfrag)?;
    mailbox
        .command(Command::Connect(Box::new(connection)))
        .map_err(|_command| TcpRefusal::ShardBusy)
}

/// Reads until the first frame is whole, and not a byte more than the longest one has.
async fn first_frame(stream: &TcpStream, received: &mut Vec<u8>) -> Result<(), TcpRefusal> {
    let mut buffer = [0; framing::HEADER_BYTES + MAX_FIRST_FRAME];
    loop {
        match framing::front(received, MAX_FIRST_FRAME) {
            Front::Whole(..) => return Ok(()),
            // A web browser, a scanner: known by their first two bytes.
            Front::TooLong(_) => return Err(TcpRefusal::NotACheck),
            Front::Part => {}
        }
        stream.readable().await.map_err(|_error| TcpRefusal::Gone)?;
        let room = buffer.len() - received.len();
        match stream.try_read(&mut buffer[..room]) {
            Ok(0) => return Err(TcpRefusal::Gone),
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_error) => return Err(TcpRefusal::Gone),
        }
    }
}

/// What names the session that a check is for.
fn ufrag_of(check: &[u8]) -> Result<&[u8], TcpRefusal> {
    if kind::of(check) != Some(Kind::Stun) {
        return Err(TcpRefusal::NotACheck);
    }
    let peek = stun::peek(check).map_err(|_malformed| TcpRefusal::NotACheck)?;
    let is_check = peek.class == Class::Request && peek.binding;
    peek.local_ufrag.filter(|_| is_check).ok_or(TcpRefusal::NotACheck)
}
