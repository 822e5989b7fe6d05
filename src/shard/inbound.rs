//! A datagram reaches its session, or another shard.

use std::time::Instant;

use super::core::{Core, send};
use super::outputs::Outlets;
use super::panics::AtHand;
use super::publish::{hear_publisher, hear_reports};
use super::viewers::hear_viewer;
use super::{HandedOver, Mail};
use crate::drop::DropReason;
use crate::id::Via;
use crate::net::Stray;
use crate::paths::{Check, FlowKey, Heard, Inbound, Path, Whose};
use crate::session::CheckAnswer;
use crate::wire::dtls;
use crate::wire::kind::{self, Kind};

/// What became of a datagram that was not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    /// A check, answered.
    Stun,
    /// The answer to a check of ours.
    StunAnswer,
    /// Given to DTLS, or waits to be.
    Dtls,
    /// Decrypted.
    Rtp,
    /// Decrypted.
    Rtcp,
    /// Another node's, opened.
    Link,
    /// On its way to the shard whose session it is for.
    HandedOver,
    /// On its way to the process that was taken over: counted when that has it.
    ToEarlier,
}

impl Core {
    /// Handles one datagram. Whatever happens to it is counted here, exactly once.
    pub fn on_datagram(&mut self, now: Instant, datagram: Inbound<'_>) {
        self.at_hand = AtHand { slot: None, datagram: true };
        let outcome = match kind::of(datagram.bytes) {
            Some(kind) => self.on_kind(now, kind, datagram),
            None if datagram.bytes.is_empty() => Err(DropReason::Empty),
            None => Err(DropReason::UnknownKind),
        };
        let counters = self.post.counters();
        match outcome {
            Ok(Handled::Stun) => counters.stun_requests.add(1),
            Ok(Handled::StunAnswer) => counters.stun_answers.add(1),
            Ok(Handled::Dtls) => counters.dtls_in.add(1),
            Ok(Handled::Rtp) => counters.rtp_in.add(1),
            Ok(Handled::Rtcp) => counters.rtcp_in.add(1),
            Ok(Handled::Link) => counters.link_in.add(1),
            Ok(Handled::HandedOver) => counters.handed_over.add(1),
            Ok(Handled::ToEarlier) => {}
            Err(reason) => counters.dropped(reason),
        }
        self.at_hand.datagram = false;
    }

    fn on_kind(
        &mut self,
        now: Instant,
        kind: Kind,
        datagram: Inbound<'_>,
    ) -> Result<Handled, DropReason> {
        match self.paths.whose(kind, &datagram)? {
            Whose::Session(slot) => {
                self.take_in_hand(slot);
                self.on_session(now, slot, kind, datagram)
            }
            Whose::Check(check) => self.on_check(now, check, datagram),
            Whose::Link(id) => self.on_link(now, id, datagram).map(|()| Handled::Link),
            Whose::Shard(shard) => self.hand_over(shard, datagram),
            Whose::Earlier => self.hand_to_earlier(now, datagram),
        }
    }

    fn on_check(
        &mut self,
        now: Instant,
        check: Check,
        datagram: Inbound<'_>,
    ) -> Result<Handled, DropReason> {
        let key = check.session;
        // The answer that named the session may have overtaken the command that brings it. To a
        // browser this check is worth 50 ms. What is carried out here is of the turn's share.
        while self.sessions.get(key).is_none() && self.take_command(now) {}
        if self.sessions.get(key).is_none() {
            return Err(DropReason::EndedSession);
        }
        self.take_in_hand(key.slot);
        self.paths.admits(now, key.slot, &datagram.path()).map_err(|unwelcome| {
            if let Some((shard, flow)) = unwelcome.asked {
                self.post.note(shard, Mail::FlowWanted(flow));
            }
            unwelcome.reason
        })?;
        let entry = self.sessions.get(key).ok_or(DropReason::EndedSession)?;
        if self.paths.ports.number(entry.port).is_none() {
            return Err(DropReason::PortClosed);
        }
        let answer = entry.session.check(datagram.remote, datagram.bytes, check.transaction_id);
        let (bytes, succeeds) = match &answer {
            CheckAnswer::Success(bytes) => (bytes, true),
            CheckAnswer::Error(bytes) => (bytes, false),
            CheckAnswer::Nothing => {
                if self.paths.refuse(now, key.slot, &datagram.path()) {
                    self.show(key.slot);
                }
                return Err(DropReason::StunRejected);
            }
        };
        send(&mut self.paths, &self.post, datagram.path().destination(false), bytes);
        self.post.counters().stun_responses_out.add(1);
        if succeeds {
            self.prove(now, key.slot, datagram.path(), check.chosen);
        }
        Ok(Handled::Stun)
    }

    /// The session in `slot` has proved that `path` is its own.
    fn prove(&mut self, now: Instant, slot: u32, path: Path, chosen: bool) {
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.heard = now;
        let counters = self.post.counters();
        let proved = self.paths.prove(now, slot, path, chosen, counters);
        if let Some((shard, flow)) = proved.taken_from {
            self.post.note(shard, Mail::FlowLost(flow));
        }
        if let Some(displaced) = proved.displaced {
            self.follow(now, displaced);
        }
        if let Some(moved) = proved.moved {
            self.follow(now, moved);
        }
        if let Some(entry) = self.sessions.at(slot).filter(|entry| !entry.connected) {
            // DTLS has waited for an address.
            entry.session.begin(now);
            self.drain(now, slot);
        }
        self.arm(slot);
    }

    /// Another shard's session has proved that `flow` is its own.
    pub fn lose(&mut self, now: Instant, flow: &FlowKey) {
        if let Some(moved) = self.paths.lose(flow) {
            self.follow(now, moved);
        }
    }

    /// Another shard's session would prove that `flow` is its own.
    pub fn give_up(&mut self, now: Instant, flow: &FlowKey) {
        if let Some(moved) = self.paths.give_up(now, flow) {
            self.follow(now, moved);
        }
    }

    pub fn on_session(
        &mut self,
        now: Instant,
        slot: u32,
        kind: Kind,
        datagram: Inbound<'_>,
    ) -> Result<Handled, DropReason> {
        match kind {
            Kind::Rtp => self.on_rtp(now, slot, datagram),
            Kind::Rtcp => self.on_rtcp(now, slot, datagram),
            Kind::Link => Err(DropReason::UnknownLink),
            Kind::Dtls => self.on_dtls(now, slot, datagram),
            Kind::Stun => {
                let answers = self.takes_answer(now, slot, &datagram.path(), datagram.bytes);
                answers.then_some(Handled::StunAnswer).ok_or(DropReason::UnsolicitedStun)
            }
        }
    }

    fn on_rtp(
        &mut self,
        now: Instant,
        slot: u32,
        datagram: Inbound<'_>,
    ) -> Result<Handled, DropReason> {
        let Core { sessions, streams, paths, post, timers, setup_timeout, .. } = self;
        let entry = sessions.at(slot).ok_or(DropReason::StaleFlow)?;
        let (times, outlets) = ((now, datagram.arrived), Outlets { streams, paths, post });
        hear_publisher(times, entry, datagram.bytes, outlets)?;
        timers.schedule(slot, entry.deadline(*setup_timeout));
        if entry.watch.first_media.is_none() {
            self.first_media(now, slot);
        }
        self.hear(now, slot, &datagram.path());
        Ok(Handled::Rtp)
    }

    /// RTCP is of the session: what it says of what it publishes, and of what it takes.
    fn on_rtcp(
        &mut self,
        now: Instant,
        slot: u32,
        datagram: Inbound<'_>,
    ) -> Result<Handled, DropReason> {
        let Core { sessions, streams, paths, post, scratch, .. } = self;
        let entry = sessions.at(slot).ok_or(DropReason::StaleFlow)?;
        let keys = entry.keys.as_mut().ok_or(DropReason::BeforeKeys)?;
        let length = keys.open(datagram.bytes)?;
        let compound = &datagram.bytes[..length];
        let mut taken = Err(DropReason::StaleFlow);
        if let Some(publishing) = &mut entry.publishes {
            taken = hear_reports(now, publishing, compound, streams, post);
        }
        if !entry.takes.is_empty() {
            let outlets = Outlets { streams, paths, post };
            taken = hear_viewer(now, entry, compound, &mut scratch.feedback, outlets).or(taken);
        }
        taken?;
        entry.heard = now;
        self.hear(now, slot, &datagram.path());
        Ok(Handled::Rtcp)
    }

    /// Gives a record of DTLS to the session in `slot`: now, or later where it connects and others
    /// are before it.
    fn on_dtls(
        &mut self,
        now: Instant,
        slot: u32,
        datagram: Inbound<'_>,
    ) -> Result<Handled, DropReason> {
        let entry = self.sessions.at(slot).ok_or(DropReason::StaleFlow)?;
        if !entry.connected {
            if !self.handshakes.is_next() {
                return self.handshakes.wait(slot, &datagram);
            }
            entry.flight = entry.flight.max(dtls::flight(datagram.bytes));
        }
        let received = entry.session.receive(now, datagram.bytes);
        self.drain(now, slot);
        self.arm(slot);
        self.shook_hands(now, slot, &datagram.path());
        received.map(|()| Handled::Dtls).map_err(|_refused| DropReason::DtlsRejected)
    }

    /// Media or a report of the session in `slot` has come by `path` and authenticated.
    fn hear(&mut self, now: Instant, slot: u32, path: &Path) {
        let heard = self.paths.heard(now, slot, path);
        if heard != Heard::default() {
            self.on_heard(now, slot, path, heard);
        }
    }

    /// A DTLS record has come by `path`. If it was the last one needed, the peer has received ours
    /// where all of them went.
    fn shook_hands(&mut self, now: Instant, slot: u32, path: &Path) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let stayed = entry.connected && entry.watch.has_stayed();
        if stayed && self.paths.path(slot) == Some(*path) && !self.paths.is_verified(slot, path) {
            self.paths.verify(slot, path);
            self.verified(now, slot, path);
        }
        self.show(slot);
    }

    /// Puts a datagram among those that leave for the earlier process at the end of the turn.
    fn hand_to_earlier(
        &mut self,
        now: Instant,
        datagram: Inbound<'_>,
    ) -> Result<Handled, DropReason> {
        let Inbound { via, local, remote, bytes, arrived, .. } = datagram;
        let Via::Udp(slot) = via else { return Err(DropReason::ForeignConnection) };
        let port = self.paths.ports.number(slot).ok_or(DropReason::PortClosed)?;
        let strays = self.earlier.as_mut().ok_or(DropReason::UnknownFlow)?;
        let time = now.saturating_duration_since(arrived).as_micros() as u64;
        strays.push(&Stray { time, port, local, remote, bytes });
        Ok(Handled::ToEarlier)
    }

    fn hand_over(&mut self, shard: u16, datagram: Inbound<'_>) -> Result<Handled, DropReason> {
        let Via::Udp(port) = datagram.via else { return Err(DropReason::ForeignConnection) };
        if !self.post.knows(shard) {
            // A ufrag of an earlier run with more shards; its key would have to be the same.
            return Err(DropReason::ForgedUfrag);
        }
        let mail = Mail::Datagram(HandedOver {
            port,
            local: datagram.local,
            remote: datagram.remote,
            bytes: datagram.bytes.into(),
            arrived: datagram.arrived,
        });
        let posted = self.post.mail(shard, mail);
        posted.map(|()| Handled::HandedOver).map_err(|_full| DropReason::RingFull)
    }
}
