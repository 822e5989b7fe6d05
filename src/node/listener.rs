//! TCP connections that have not said yet which session they are for.
//!
//! ```text
//! listener ─ permit? ── first frame, in time ── a check? ── its ufrag: which shard ── Command
//!               └ no: closed    └ no: closed       └ no: closed   └ forged: closed
//! ```
//!
//! A stranger costs a descriptor and a small task for [`TCP_INTRODUCTION`] at most, and there are
//! never more than [`MAX_TCP_PENDING`]. Whether the check is genuine only the session can tell:
//! its shard closes what is not proved.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

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
pub(super) async fn accept(listener: TcpListener, wiring: Arc<Wiring>) {
    let pending = Arc::new(PendingConnections::default());
    let mut exhausted = false;
    loop {
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
        match pending.admit(remote.ip()) {
            Ok(permit) => {
                let wiring = wiring.clone();
                tokio::spawn(async move {
                    if let Err(reason) = identify(stream, remote, &wiring).await {
                        tracing::debug!("TCP from {remote} refused: {}", reason.label());
                        wiring.tcp_refusals.add(reason);
                    }
                    drop(permit);
                });
            }
            Err(reason) => wiring.tcp_refusals.add(reason),
        }
    }
}

/// Hears which session a connection is for and hands it to the session's shard.
async fn identify(
    stream: TcpStream,
    remote: SocketAddr,
    wiring: &Wiring,
) -> Result<(), TcpRefusal> {
    let mut received = Vec::with_capacity(framing::HEADER_BYTES + MAX_FIRST_FRAME);
    let first = tokio::time::timeout(TCP_INTRODUCTION, first_frame(&stream, &mut received));
    first.await.map_err(|_elapsed| TcpRefusal::Silent)??;
    let Front::Whole(check, _) = framing::front(&received, MAX_FIRST_FRAME) else {
        return Err(TcpRefusal::NotACheck);
    };
    let shard = shard_of(check, wiring)?;
    let local = stream.local_addr().map_err(|_error| TcpRefusal::Gone)?;
    let stream = stream.into_std().map_err(|_error| TcpRefusal::Gone)?;
    let connection = NewConnection {
        stream,
        local: local.ip().to_canonical(),
        remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
        received,
    };
    let mailbox = wiring.mailboxes.get(usize::from(shard)).ok_or(TcpRefusal::ForgedUfrag)?;
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

/// The shard of the session that a check names.
fn shard_of(check: &[u8], wiring: &Wiring) -> Result<u16, TcpRefusal> {
    if kind::of(check) != Some(Kind::Stun) {
        return Err(TcpRefusal::NotACheck);
    }
    let peek = stun::peek(check).map_err(|_malformed| TcpRefusal::NotACheck)?;
    let ufrag = match peek.local_ufrag {
        Some(ufrag) if peek.class == Class::Request && peek.binding => ufrag,
        _ => return Err(TcpRefusal::NotACheck),
    };
    wiring.ufrag_key.decode(ufrag).map(|key| key.shard).ok_or(TcpRefusal::ForgedUfrag)
}

/// How many there are, by source.
#[derive(Debug, Default)]
struct PendingConnections(Mutex<HashMap<u64, usize>>);

/// One connection's permit; given back when it is dropped.
#[derive(Debug)]
struct Permit {
    pending: Arc<PendingConnections>,
    source: u64,
}

impl PendingConnections {
    fn admit(self: &Arc<PendingConnections>, ip: IpAddr) -> Result<Permit, TcpRefusal> {
        let mut sources = self.lock();
        if sources.values().sum::<usize>() >= MAX_TCP_PENDING {
            return Err(TcpRefusal::TooManyNewcomers);
        }
        let source = source(ip);
        let count = sources.entry(source).or_default();
        if *count >= MAX_TCP_PENDING_PER_SOURCE {
            return Err(TcpRefusal::TooManyFromSource);
        }
        *count += 1;
        Ok(Permit { pending: self.clone(), source })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        // Nothing under the lock panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut sources = self.pending.lock();
        if let Some(count) = sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or the /64 that one IPv6 host may have all of.
fn source(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_leaves_room_for_others_and_all_together_have_a_bound() {
        let pending = Arc::new(PendingConnections::default());
        let mut permits = Vec::new();
        for host in 0.. {
            // Every host has a /64 of its own, and uses all of it.
            let ip = |low: u16| IpAddr::from([0x2001, 0xdb8, 0, host, 0, 0, 0, low]);
            for low in 0..MAX_TCP_PENDING_PER_SOURCE as u16 {
                permits.push(pending.admit(ip(low)).unwrap());
            }
            if permits.len() == MAX_TCP_PENDING {
                break;
            }
            let one_more = pending.admit(ip(u16::MAX)).expect_err("it has its share");
            assert_eq!(one_more, TcpRefusal::TooManyFromSource);
        }
        let stranger = IpAddr::from([192, 0, 2, 1]);
        let full = pending.admit(stranger).expect_err("there are too many");
        assert_eq!(full, TcpRefusal::TooManyNewcomers);
        permits.pop();
        drop(pending.admit(stranger).expect("one has gone"));
        permits.clear();
        assert!(pending.lock().is_empty(), "nobody is remembered");
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_self() {
        let plain = source(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(source("::ffff:192.0.2.1".parse().unwrap()), plain);
        assert_ne!(source(IpAddr::from([192, 0, 2, 2])), plain);
    }
}
