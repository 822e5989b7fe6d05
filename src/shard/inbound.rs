//! A datagram finds its session.
//!
//! A STUN request names its session in the ufrag and proves itself by MESSAGE-INTEGRITY; only then
//! does its 4-tuple become a *flow* of that session. Everything else is found by its flow alone.
//! What belongs to another shard is handed over; what belongs to nobody leaves nothing but a count.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::core::Core;
use super::sessions::Address;
use super::{HandedOver, Mail};
use crate::demux::FlowKey;
use crate::drop::DropReason;
use crate::id::{Transport, Via};
use crate::limits::MAX_FLOWS_PER_SESSION;
use crate::wire::dtls;
use crate::wire::kind::{self, Kind};
use crate::wire::stun::{self, Class};

/// A datagram with where it came from and where it arrived.
#[derive(Clone, Copy)]
pub(super) struct Inbound<'a> {
    /// What carried it.
    pub via: Via,
    /// Our address that was hit.
    pub local: IpAddr,
    /// The sender.
    pub remote: SocketAddr,
    pub bytes: &'a [u8],
    /// When the kernel had it.
    pub arrived: Instant,
    /// Another shard has already sent it here: it goes no further.
    pub handed_over: bool,
}

/// Whose a datagram is.
enum Owner {
    /// That of the session in this slot.
    Session(u32),
    /// Another shard's.
    Shard(u16),
}

impl Inbound<'_> {
    fn address(&self) -> Address {
        Address { via: self.via, local: self.local, remote: self.remote }
    }

    fn transport(&self) -> Transport {
        self.via.transport()
    }
}

/// What became of a datagram that was not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    /// A check, answered.
    Stun,
    /// Given to DTLS.
    Dtls,
    /// Decrypted.
    Rtp,
    /// Decrypted.
    Rtcp,
    /// On its way to the shard whose session it is for.
    HandedOver,
}

impl Core {
    /// Handles one datagram. Whatever happens to it is counted here, exactly once.
    pub fn on_datagram(&mut self, now: Instant, datagram: Inbound<'_>) {
        let outcome = match kind::of(datagram.bytes) {
            Some(Kind::Stun) => self.on_stun(now, datagram),
            Some(kind) => self.on_flow(now, kind, datagram),
            None if datagram.bytes.is_empty() => Err(DropReason::Empty),
            None => Err(DropReason::UnknownKind),
        };
        let counters = self.counters();
        match outcome {
            Ok(Handled::Stun) => counters.stun_requests.add(1),
            Ok(Handled::Dtls) => counters.dtls_in.add(1),
            Ok(Handled::Rtp) => counters.rtp_in.add(1),
            Ok(Handled::Rtcp) => counters.rtcp_in.add(1),
            Ok(Handled::HandedOver) => counters.handed_over.add(1),
            Err(reason) => counters.dropped(reason),
        }
    }

    fn on_stun(&mut self, now: Instant, datagram: Inbound<'_>) -> Result<Handled, DropReason> {
        let peek = stun::peek(datagram.bytes).map_err(|_malformed| DropReason::MalformedStun)?;
        if peek.class != Class::Request || !peek.binding {
            return Err(DropReason::UnsolicitedStun);
        }
        let ufrag = peek.local_ufrag.ok_or(DropReason::StunWithoutUsername)?;
        let key = self.wiring.ufrag_key.decode(ufrag).ok_or(DropReason::ForgedUfrag)?;
        if let Via::Udp(port) = datagram.via
            && self.ports.are_of_sessions()
            && (key.shard, key.slot) != (self.index, port)
        {
            // The port is given to one session and goes with it.
            return Err(DropReason::WrongPort);
        }
        if key.shard != self.index {
            return self.hand_over(key.shard, datagram);
        }
        if self.sessions.get(key).is_none() {
            // The answer that named the session may have overtaken the command that brings it. To
            // a browser this check is worth 50 ms.
            self.take_commands(now);
        }
        let entry = self.sessions.get(key).ok_or(DropReason::EndedSession)?;
        let transport = datagram.transport();
        let udp = self.ports.candidates(entry.port).ok_or(DropReason::PortClosed)?;
        let candidate = candidate(named(udp, &self.tcp_candidates, transport), datagram.local);
        entry
            .session
            .receive(now, transport, candidate, datagram.remote, datagram.bytes)
            .map_err(|_refused| DropReason::StunRejected)?;
        let answered = self.drain(now, key.slot, Some((&datagram, peek.transaction_id)));
        if !answered {
            if let Some(entry) = self.sessions.at(key.slot)
                && !std::mem::replace(&mut entry.refused, true)
            {
                self.show(key.slot);
            }
            return Err(DropReason::StunRejected);
        }
        self.prove(now, key.slot, datagram.address(), peek.use_candidate);
        Ok(Handled::Stun)
    }

    /// The session in `slot` has proved that `address` is its own: it becomes one of its flows, and
    /// where its datagrams go, if the peer chose it or there was none.
    fn prove(&mut self, now: Instant, slot: u32, address: Address, chosen: bool) {
        match address.via {
            Via::Udp(port) => self.prove_flow(now, slot, port, &address),
            Via::Tcp(connection) => self.prove_connection(now, slot, connection),
        }
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.heard = now;
        let lost = match entry.address.map(|address| address.via) {
            Some(Via::Tcp(connection)) => self.ways.tcp.get(connection).is_none(),
            Some(Via::Udp(_)) => false,
            None => true,
        };
        if lost || (chosen && entry.address != Some(address)) {
            self.move_to(now, slot, address);
            // DTLS may have waited for an address.
            self.drain(now, slot, None);
        }
        self.arm(slot);
    }

    fn prove_flow(&mut self, now: Instant, slot: u32, port: u32, address: &Address) {
        let Some(flow) = self.flow(port, address.local, address.remote) else { return };
        let previous = self.flows.insert(flow, slot);
        if previous != Some(slot) {
            if let Some(previous) = previous {
                self.part_with(now, previous, &flow);
            }
            self.claim(flow);
            let Some(entry) = self.sessions.at(slot) else { return };
            entry.flows.push(flow);
            if entry.flows.len() > MAX_FLOWS_PER_SESSION {
                let oldest = entry.flows.remove(0);
                if self.flows.remove(&oldest, slot) {
                    self.wiring.release(&oldest, self.index);
                }
            }
        } else if self.wiring.directory.find(&flow).is_some_and(|owner| owner != self.index) {
            // A session of another shard had proved it in between.
            self.claim(flow);
        }
    }

    /// Datagrams of the session in `slot` go to `address` from now on.
    fn move_to(&mut self, now: Instant, slot: u32, address: Address) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let moved = entry.address.replace(address).is_some();
        // A new path may take what the old one refused.
        entry.trains = self.trains;
        self.moved(now, slot, moved);
        self.viewer_moved(slot);
    }

    /// The flow between `remote` and our address `local` at the port in slot `port`,
    /// if that is open.
    fn flow(&self, port: u32, local: IpAddr, remote: SocketAddr) -> Option<FlowKey> {
        Some(FlowKey::new(SocketAddr::new(local, self.ports.number(port)?), remote))
    }

    /// `flow` is this shard's from now on. The shard that had it is told: the kernel's hash goes on
    /// bringing its datagrams there, and they must not be taken for the former session's. Should
    /// its ring be full, they are until that session ends.
    fn claim(&mut self, flow: FlowKey) {
        if self.ports.are_of_sessions() {
            // No other shard reads the port.
            return;
        }
        let before = self.wiring.directory.find(&flow);
        self.wiring.claim(&flow, self.index);
        if let Some(shard) = before.filter(|shard| *shard != self.index) {
            self.note(shard, Mail::FlowLost(flow));
        }
    }

    /// Another shard has claimed `flow`; unless it was claimed back since, it is forgotten.
    pub fn lose(&mut self, now: Instant, flow: &FlowKey) {
        if self.wiring.directory.find(flow) == Some(self.index) {
            return;
        }
        let Some(slot) = self.flows.get(flow) else { return };
        self.flows.remove(flow, slot);
        self.part_with(now, slot, flow);
    }

    /// `flow` is no longer the one of the session in `slot`. If that was where its datagrams went,
    /// they would reach another's client now.
    fn part_with(&mut self, now: Instant, slot: u32, flow: &FlowKey) {
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.flows.retain(|other| other != flow);
        let here = match entry.address {
            Some(Address { via: Via::Udp(port), local, remote }) => {
                self.flow(port, local, remote).as_ref() == Some(flow)
            }
            _ => false,
        };
        if here {
            self.fall_back(now, slot);
        }
    }

    /// The path that the datagrams of the session in `slot` took is lost: they take its newest
    /// other flow or, for want of one, its newest connection; where it has neither, they stay until
    /// its next check.
    pub fn fall_back(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let connection = entry.connections.last().copied();
        let address = match entry.flows.last() {
            Some(flow) => {
                let (local, remote) = (flow.local(), flow.remote());
                let own = self.ports.are_of_sessions().then_some(entry.port);
                let port = own.or_else(|| self.ports.slot_of(local.port()));
                port.map(|port| Address { via: Via::Udp(port), local: local.ip(), remote })
            }
            None => connection.and_then(|id| {
                let connection = self.ways.tcp.get(id)?;
                let (local, remote) = (connection.local, connection.remote);
                Some(Address { via: Via::Tcp(id), local, remote })
            }),
        };
        if let Some(address) = address {
            self.move_to(now, slot, address);
        }
    }

    /// The session whose path a datagram came by.
    fn owner(&mut self, datagram: &Inbound<'_>) -> Result<Owner, DropReason> {
        let port = match datagram.via {
            Via::Udp(port) => port,
            Via::Tcp(connection) => {
                let session =
                    self.ways.tcp.get(connection).and_then(|connection| connection.session);
                return session.map(Owner::Session).ok_or(DropReason::UnknownFlow);
            }
        };
        let flow = self.flow(port, datagram.local, datagram.remote);
        let flow = flow.ok_or(DropReason::PortClosed)?;
        match self.flows.get(&flow) {
            Some(slot) => Ok(Owner::Session(slot)),
            None if self.ports.are_of_sessions() => Err(DropReason::UnknownFlow),
            None => match self.wiring.directory.find(&flow) {
                Some(shard) if shard != self.index => Ok(Owner::Shard(shard)),
                _ if datagram.handed_over => Err(DropReason::StaleFlow),
                _ => Err(DropReason::UnknownFlow),
            },
        }
    }

    fn on_flow(
        &mut self,
        now: Instant,
        kind: Kind,
        datagram: Inbound<'_>,
    ) -> Result<Handled, DropReason> {
        let slot = match self.owner(&datagram)? {
            Owner::Session(slot) => slot,
            Owner::Shard(shard) => return self.hand_over(shard, datagram),
        };
        let entry = self.sessions.at(slot).ok_or(DropReason::StaleFlow)?;
        let transport = datagram.transport();
        let udp = self.ports.candidates(entry.port).ok_or(DropReason::PortClosed)?;
        let candidate = candidate(named(udp, &self.tcp_candidates, transport), datagram.local);
        match kind {
            Kind::Rtp if !entry.is_publisher => return Err(DropReason::ViewerRtp),
            Kind::Rtcp if !entry.is_publisher => {
                self.on_viewer_rtcp(now, slot, datagram.bytes)?;
                return Ok(Handled::Rtcp);
            }
            Kind::Rtp | Kind::Rtcp if !entry.connected => return Err(DropReason::BeforeKeys),
            Kind::Dtls if !entry.connected => {
                entry.flight = entry.flight.max(dtls::flight(datagram.bytes));
            }
            _ => {}
        }
        let Inbound { remote, bytes, .. } = datagram;
        let session = &mut entry.session;
        let outcome = match kind {
            Kind::Dtls => match session.receive(now, transport, candidate, remote, bytes) {
                Ok(()) => Ok(Handled::Dtls),
                Err(_refused) => Err(DropReason::DtlsRejected),
            },
            _ => {
                let handled = if kind == Kind::Rtp { Handled::Rtp } else { Handled::Rtcp };
                let received = session.receive_srtp(now, transport, candidate, remote, bytes);
                received.map(|()| handled)
            }
        };
        self.arriving = Some(datagram.arrived);
        self.drain(now, slot, None);
        self.arriving = None;
        if kind == Kind::Dtls {
            self.show(slot);
        }
        self.arm(slot);
        outcome
    }

    fn hand_over(&mut self, shard: u16, datagram: Inbound<'_>) -> Result<Handled, DropReason> {
        if datagram.handed_over {
            return Err(DropReason::StaleFlow);
        }
        // A connection stays where its first check led.
        let Via::Udp(port) = datagram.via else { return Err(DropReason::ForeignConnection) };
        if usize::from(shard) >= self.posted.len() {
            return Err(DropReason::ForgedUfrag);
        }
        let mail = Mail::Datagram(HandedOver {
            port,
            local: datagram.local,
            remote: datagram.remote,
            bytes: datagram.bytes.into(),
            arrived: datagram.arrived,
        });
        let posted = self.post(shard, mail);
        posted.map(|()| Handled::HandedOver).map_err(|_full| DropReason::RingFull)
    }
}

/// Those of a session's candidates that a datagram may have come to.
fn named<'a>(
    udp: &'a [SocketAddr],
    tcp: &'a [SocketAddr],
    transport: Transport,
) -> &'a [SocketAddr] {
    match transport {
        Transport::Udp => udp,
        Transport::Tcp => tcp,
    }
}

/// The candidate that str0m knows, of those in the session's answer, for a datagram that hit
/// `local`: the same address where it is announced, else (behind a 1:1 NAT) the first of the
/// family.
fn candidate(candidates: &[SocketAddr], local: IpAddr) -> SocketAddr {
    let same = candidates.iter().find(|candidate| candidate.ip() == local);
    let family = || candidates.iter().find(|c| c.is_ipv4() == local.is_ipv4());
    let any = || candidates.first();
    *same.or_else(family).or_else(any).expect("the node announces at least one address")
}
