//! A viewer's numbers: no SRTP index stands for two texts, every packet has one index, and where an
//! index was left out, the packet never came.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::arrivals::Outcome;
use crate::client::Received;
use crate::media::{Left, Source, Tag};
use crate::network::{Kind, kind, rtp_name};
use crate::outgoing::{Line, Ssrcs, Viewer};

/// The longest a packet waits for the rest of its frame, and some.
const WAITS: Duration = Duration::from_millis(10);

/// What publishers sent and what became of it, and what viewers were sent.
#[derive(Default)]
pub struct Numbering {
    /// By publisher and wire name, what was in a datagram.
    left: HashMap<(usize, u32, u16), Tag>,
    /// When the server took a packet.
    taken: HashMap<Tag, Instant>,
    /// The highest number of each source that has come, whatever became of it.
    come: HashMap<Source, u32>,
    /// Which stream a publisher is of, and when the first of its packets was taken.
    began: HashMap<u16, (usize, Instant)>,
    viewers: BTreeMap<usize, Viewer>,
}

impl Numbering {
    /// A publisher has sent a packet.
    pub fn left(&mut self, peer: usize, packet: Left) {
        self.left.insert((peer, packet.ssrc, packet.sequence), packet.tag);
    }

    /// A datagram of a client's has reached the server; returns what media was taken, if any.
    pub fn reached(
        &mut self,
        now: Instant,
        (peer, stream): (usize, usize),
        datagram: &[u8],
        outcome: Outcome,
    ) -> Option<Tag> {
        if kind(datagram) != Kind::Rtp {
            return None;
        }
        let (ssrc, sequence) = rtp_name(datagram);
        let tag = *self.left.get(&(peer, ssrc, sequence))?;
        if !matches!(outcome, Outcome::Rtp | Outcome::HandedOver) {
            return None;
        }
        self.began.entry(tag.source.publisher).or_insert((stream, now));
        let come = self.come.entry(tag.source).or_default();
        *come = tag.number.max(*come);
        // What became of it on another shard is not looked at.
        if outcome == Outcome::HandedOver {
            return None;
        }
        self.taken.entry(tag).or_insert(now);
        Some(tag)
    }

    /// A viewer comes, with the SSRCs its answer names.
    pub fn viewer_comes(&mut self, peer: usize, ssrcs: Ssrcs) {
        self.viewers.insert(peer, Viewer::new(ssrcs));
    }

    /// Its DTLS is done.
    pub fn viewer(&mut self, peer: usize) -> Option<&mut Viewer> {
        self.viewers.get_mut(&peer)
    }

    /// A viewer has got a packet: as it was sent.
    pub fn received(&self, peer: usize, packet: &Received) -> Result<(), String> {
        let Received { index, ssrc, tag } = *packet;
        let Some(viewer) = self.viewers.get(&peer) else { return Ok(()) };
        match viewer.line(ssrc).and_then(|line| line.sent.get(&index)) {
            Some(sent) if *sent == tag => Ok(()),
            sent => Err(format!("peer {peer} got {tag:?} as {index}, and was sent {sent:?}")),
        }
    }

    /// Looks at the holes in what each viewer was sent.
    pub fn check(&self) -> Result<(), String> {
        for (peer, viewer) in &self.viewers {
            for line in [&viewer.audio, &viewer.video] {
                self.holes(line).map_err(|why| format!("peer {peer}: {why}"))?;
            }
        }
        Ok(())
    }

    fn holes(&self, line: &Line) -> Result<(), String> {
        for (before, after) in line.sent.iter().zip(line.sent.iter().skip(1)) {
            for index in before.0 + 1..*after.0 {
                let number = before.1.number + (index - before.0) as u32;
                let goes_on = before.1.source == after.1.source;
                if !goes_on && !self.has_come_to(before.1.source, number) {
                    return Err(format!("numbers are left out between {before:?} and {after:?}"));
                }
                let is_sealed = || line.is_sealed_around(*before.0, before.1.source);
                if self.was_to_be_sent(line, before.1.source, number) && !is_sealed() {
                    return Err(format!(
                        "nothing was sent as {index}, between {before:?} and {after:?}, though it \
                         had come"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether this number of a source came, or a later one.
    fn has_come_to(&self, source: Source, number: u32) -> bool {
        self.come.get(&source).is_some_and(|come| *come >= number)
    }

    /// Whether a packet came in time to be sent.
    fn was_to_be_sent(&self, line: &Line, source: Source, number: u32) -> bool {
        let Some((stream, began)) = self.began.get(&source.publisher) else { return false };
        let newer = self.began.values().filter(|(other, at)| other == stream && at > began);
        let replaced = newer.map(|(_, at)| *at).min();
        // The last may wait for their frames' ends when the viewer goes.
        let end = replaced.into_iter().chain(line.last.map(|last| last - WAITS)).min();
        // What overtook the packet that a viewer begins with was nobody's yet.
        let before = line.keyframes.iter().filter(|(tag, _)| tag.source == source);
        let keyframes = before.filter(|(tag, _)| tag.number < number).map(|(_, at)| *at);
        let begins = keyframes.chain(line.first).max();
        [false, true].into_iter().any(|keyframe| {
            let taken = self.taken.get(&Tag { source, number, keyframe });
            let in_time = |at: &Instant| {
                end.is_none_or(|end| *at < end) && begins.is_none_or(|begins| *at > begins)
            };
            taken.is_some_and(in_time)
        })
    }
}
