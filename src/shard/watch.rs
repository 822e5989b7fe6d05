//! How a session fares: its phases, its quality, and the card that shows both to others.
//!
//! Nothing here is done per packet. A viewer is judged when it is sent a report, a publisher as
//! often, and a card is written then and when something changes.

use std::time::{Duration, Instant};

use super::core::Core;
use super::sessions::{Entry, Ready, Taking};
use crate::egress::estimate::{Estimate, Reason, State};
use crate::egress::{Lane, Reception};
use crate::id::{TrackKind, Via};
use crate::ingest::Uplink;
use crate::limits::{REPORT_INTERVAL, UNHEARD_AFTER};
use crate::paths::Paths;
use crate::srtp::Profile;
use crate::telemetry::quality::Window;
use crate::telemetry::{
    CardRole, LayerGot, PathShown, PathState, Quality, RateReason, SessionCard, Stage,
};
use crate::track::{Carried, Stream, Streams, Viewer};
use crate::wire::dtls::Flight;

/// What is noted of one session, beyond what it needs to run.
pub(super) struct Watch {
    /// When its answer was ready: phases count from here.
    answered: Instant,
    /// The same by the time of day, in milliseconds of Unix time.
    created_ms: u64,
    first_stun: Option<Instant>,
    dtls: Option<Instant>,
    pub first_media: Option<Instant>,
    moves: u32,
    pub nacked: u32,
    pub repaired: u32,
    pub keyframe_requests: u32,
    /// Whether it has published a packet that no datagram to a viewer has room for.
    pub oversized: bool,
    quality: Quality,
    /// When its window ends (publishers; viewers have the time of their report).
    pub next: Instant,
    window_began: Instant,
    totals: Totals,
    /// A viewer's lanes at the last look.
    lanes: Vec<LaneSeen>,
    /// The last window, as the card shows it.
    last: Shown,
    /// What is thought of a viewer's path, where that decides something.
    path: Option<PathShown>,
    /// The layer a viewer gets, where there are several.
    layer: Option<LayerGot>,
}

/// Sums since the start, of which windows are the differences.
#[derive(Clone, Copy, Default)]
struct Totals {
    packets: u64,
    bytes: u64,
    lost: u64,
    repaired: u32,
    /// Packets that should have arrived, by what the receiving end says.
    expected_packets: u64,
    /// What the tracks carried, for viewers; else nothing.
    carried: Carried,
}

/// A lane at some look.
#[derive(Clone, Copy, Default)]
struct LaneSeen {
    /// Its counters, which wrap.
    sent: (u32, u32),
    /// The layer it had, and what that had carried.
    layer: Option<u8>,
    carried: Carried,
}

/// What a card says of a window.
#[derive(Clone, Copy, Default)]
struct Shown {
    loss_ratio: f32,
    jitter_us: u32,
    rtt_us: Option<u32>,
    bits_per_s: u32,
    expected_bits_per_s: u32,
}

impl LaneSeen {
    fn of(stream: &Stream, lane: &Lane) -> LaneSeen {
        let track = stream.track(lane.id());
        let carried = track.map(|track| track.carried(lane.layer())).unwrap_or_default();
        LaneSeen { sent: lane.sent(), layer: lane.layer(), carried }
    }

    fn sent_since(&self, before: &LaneSeen) -> Carried {
        let since = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
        let (packets, bytes) = self.sent;
        Carried { packets: since(packets, before.sent.0), bytes: since(bytes, before.sent.1) }
    }

    /// What its layer has carried, from the best one's beginning where it had none; `None` where it
    /// had another before.
    fn carried_since(&self, before: &LaneSeen) -> Option<Carried> {
        let is_same = before.layer.is_none() || self.layer == before.layer;
        is_same.then(|| Carried {
            packets: self.carried.packets.saturating_sub(before.carried.packets),
            bytes: self.carried.bytes.saturating_sub(before.carried.bytes),
        })
    }
}

impl Watch {
    pub fn new(now: Instant, answered: Instant, created_ms: u64) -> Watch {
        Watch {
            answered,
            created_ms,
            first_stun: None,
            dtls: None,
            first_media: None,
            moves: 0,
            nacked: 0,
            repaired: 0,
            keyframe_requests: 0,
            oversized: false,
            quality: Quality::default(),
            next: now,
            window_began: now,
            totals: Totals::default(),
            lanes: Vec::new(),
            last: Shown::default(),
            path: None,
            layer: None,
        }
    }

    /// Whether its datagrams have taken one path from the start.
    pub fn has_stayed(&self) -> bool {
        self.moves == 0
    }

    /// Our clock at `now`, as an NTP timestamp (RFC 5905 §6).
    pub fn ntp_at(&self, now: Instant) -> u64 {
        /// From 1900 to 1970.
        const UNIX_EPOCH_S: u64 = 2_208_988_800;
        let since = Duration::from_millis(self.created_ms) + self.phase(now);
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        (since.as_secs() + UNIX_EPOCH_S) << 32 | fraction
    }

    /// From the answer to `at`.
    fn phase(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.answered)
    }

    /// The sums of a viewer now, over all that it takes.
    fn viewer_totals(&mut self, takes: &[Taking], streams: &Streams) -> Totals {
        let (lost, expected_packets) = (0, 0);
        let mut totals = Totals { repaired: self.repaired, lost, expected_packets, ..self.totals };
        let mut number = 0;
        for (stream, viewer, reception) in playing(takes, streams) {
            for (lane, heard) in viewer.egress.lanes().iter().zip(&reception.heard) {
                if self.lanes.len() == number {
                    self.lanes.push(LaneSeen::of(stream, lane));
                    self.lanes[number].sent = (0, 0);
                }
                let seen = LaneSeen::of(stream, lane);
                let before = std::mem::replace(&mut self.lanes[number], seen);
                number += 1;
                let sent = seen.sent_since(&before);
                totals.packets += sent.packets;
                totals.bytes += sent.bytes;
                totals.carried = totals.carried + seen.carried_since(&before).unwrap_or(sent);
                if heard.reports > 0 {
                    let behind_newest = u64::from(heard.highest_sequence) + 1;
                    totals.expected_packets += behind_newest.saturating_sub(lane.first_index());
                    totals.lost += u64::try_from(heard.lost).unwrap_or(0);
                }
            }
        }
        totals
    }

    /// Ends the window: what happened in it, by the sums at its end.
    fn close(&mut self, now: Instant, totals: Totals, heard: Shown, video: bool) -> Window {
        let before = std::mem::replace(&mut self.totals, totals);
        let seconds = now.saturating_duration_since(self.window_began).as_secs_f32().max(0.001);
        self.window_began = now;
        let rate = |bytes: u64| (bytes as f32 * 8.0 / seconds) as u32;
        let packets = totals.expected_packets.saturating_sub(before.expected_packets) as u32;
        let lost = totals.lost.saturating_sub(before.lost) as u32;
        let bits_per_s = rate(totals.bytes.saturating_sub(before.bytes));
        let carried = totals.carried.bytes.saturating_sub(before.carried.bytes);
        let expected_bits_per_s = rate(carried);
        let loss_ratio = if packets == 0 { 0.0 } else { lost.min(packets) as f32 / packets as f32 };
        self.last = Shown { loss_ratio, bits_per_s, expected_bits_per_s, ..heard };
        Window {
            seconds,
            video,
            packets,
            lost,
            repaired: totals.repaired.saturating_sub(before.repaired),
            jitter_us: heard.jitter_us,
            rtt_us: heard.rtt_us,
            bits_per_s,
            expected_bits_per_s,
            // Every viewer gets the layer the stream carries, which is the best that arrives.
            layer_distance: 0.0,
            heard: true,
            silent: packets == 0,
        }
    }
}

impl Core {
    /// The session in `slot` has an address, or a new one.
    pub fn moved(&mut self, now: Instant, slot: u32, had_one: bool) {
        self.post.counters().flow_moves.add(u64::from(had_one));
        let histogram = &self.post.meters().histograms.setup_first_stun;
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.watch.moves += u32::from(had_one);
        if entry.watch.first_stun.is_none() {
            entry.watch.first_stun = Some(now);
            histogram.record(entry.watch.phase(now).as_micros() as u64);
        }
        for Taking { stream, ready, .. } in &entry.takes {
            let Some(Ready { position, .. }) = ready.as_ref().filter(|_| had_one) else { continue };
            let viewer = self.streams.get_mut(*stream).and_then(|s| s.viewer_mut(*position));
            if let Some(viewer) = viewer {
                viewer.egress.forget_path(now);
            }
        }
        self.show(slot);
    }

    /// ICE and DTLS of the session in `slot` are done.
    pub fn connected(&mut self, now: Instant, slot: u32) {
        let histogram = &self.post.meters().histograms.setup_dtls;
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.watch.dtls = Some(now);
        entry.watch.next = now + REPORT_INTERVAL;
        entry.watch.window_began = now;
        histogram.record(entry.watch.phase(now).as_micros() as u64);
        self.show(slot);
    }

    /// The first media packet has come from, or gone to, the session in `slot`.
    pub fn first_media(&mut self, now: Instant, slot: u32) {
        let histogram = &self.post.meters().histograms.setup_first_media;
        let Core { sessions, streams, .. } = self;
        let Some(entry) = sessions.at(slot) else { return };
        entry.watch.first_media = Some(now);
        entry.watch.window_began = now;
        histogram.record(entry.watch.phase(now).as_micros() as u64);
        // What the tracks carried before is not owed to it.
        let playing = playing(&entry.takes, streams);
        entry.watch.lanes = playing
            .flat_map(|(stream, viewer, _)| {
                let lanes = viewer.egress.lanes().iter();
                lanes.map(|lane| LaneSeen { sent: (0, 0), ..LaneSeen::of(stream, lane) })
            })
            .collect();
        self.show(slot);
    }

    /// Judges the last window of the viewer in `slot`.
    pub fn judge_viewer(&mut self, now: Instant, slot: u32) {
        let histogram = &self.post.meters().histograms.quality_down;
        let Core { sessions, streams, .. } = self;
        let Some(entry) = sessions.at(slot) else { return };
        // A card shows one way: of a session that publishes, that up.
        if entry.first_ready().is_none() || entry.publishes.is_some() {
            return;
        }
        let watch = &mut entry.watch;
        let totals = watch.viewer_totals(&entry.takes, streams);
        let (mut video, mut is_playing, mut shown) = (false, false, Shown::default());
        (watch.path, watch.layer) = (None, None);
        for (stream, viewer, reception) in playing(&entry.takes, streams) {
            is_playing |= viewer.started;
            watch.path = viewer.egress.estimate().map(path_shown).or(watch.path);
            watch.layer = stream.layer_got(viewer).or(watch.layer);
            for (lane, heard) in viewer.egress.lanes().iter().zip(&reception.heard) {
                video |= lane.id().kind == TrackKind::Video && heard.reports > 0;
                shown.jitter_us = shown.jitter_us.max(micros(heard.jitter));
                shown.rtt_us = heard.rtt.map(micros).or(shown.rtt_us);
            }
        }
        let heard = shown;
        let carried_before = watch.totals.carried.packets;
        let mut window = watch.close(now, totals, heard, video);
        window.heard = now.saturating_duration_since(entry.heard) < UNHEARD_AFTER;
        // A viewer is not lost because nobody publishes, nor while it waits for a key frame.
        window.silent = !is_playing || totals.carried.packets == carried_before;
        if let Some(score) = watch.quality.update(&window).filter(|_| !window.silent) {
            histogram.record(score.round() as u64);
        }
        self.show(slot);
    }

    /// Judges the last window of the publisher in `slot`, if it is over.
    pub fn judge_publisher(&mut self, now: Instant, slot: u32) {
        let histogram = &self.post.meters().histograms.quality_up;
        let Some(entry) = self.sessions.at(slot) else { return };
        if !entry.connected || entry.publishes.is_none() || now < entry.watch.next {
            return;
        }
        let ingest = entry.publishes.as_ref().and_then(|publishing| publishing.ingest.as_ref());
        let Some(ingest) = ingest else { return };
        let Uplink { packets, bytes, lost, nacks, keyframe_requests, jitter, rtt, video } =
            ingest.uplink();
        let watch = &mut entry.watch;
        watch.next = now + REPORT_INTERVAL;
        watch.nacked = nacks as u32;
        watch.keyframe_requests = keyframe_requests as u32;
        let totals =
            Totals { packets, bytes, lost, expected_packets: packets + lost, ..watch.totals };
        let heard =
            Shown { jitter_us: micros(jitter), rtt_us: rtt.map(micros), ..Shown::default() };
        let mut window = watch.close(now, totals, heard, video);
        window.heard = now.saturating_duration_since(entry.heard) < UNHEARD_AFTER;
        if let Some(score) = watch.quality.update(&window).filter(|_| !window.silent) {
            histogram.record(score.round() as u64);
        }
        self.show(slot);
    }

    /// Writes the card of the session in `slot`.
    pub fn show(&mut self, slot: u32) {
        let index = usize::from(self.post.index);
        let Some(entry) = self.sessions.at(slot) else { return };
        let card = card(entry, &self.paths);
        self.post.wiring.meters[index].cards.write(slot, entry.key.generation, &card);
    }
}

fn card(entry: &Entry, paths: &Paths) -> SessionCard {
    let (path, refused) = (paths.path(entry.key.slot), paths.was_refused(entry.key.slot));
    let Watch { totals, last, .. } = &entry.watch;
    let millis = |at: Option<Instant>| {
        at.map(|at| u32::try_from(entry.watch.phase(at).as_millis()).unwrap_or(u32::MAX))
    };
    SessionCard {
        stage: match (entry.connected, entry.flight, path, refused) {
            (true, ..) => Stage::Connected,
            (false, Some(_), ..) => Stage::Handshake,
            (false, None, Some(_), _) => Stage::Checked,
            (false, None, None, true) => Stage::Refused,
            (false, None, None, false) => Stage::Waiting,
        },
        role: if entry.publishes.is_some() { CardRole::Publisher } else { CardRole::Viewer },
        profile: match entry.session.profile {
            None => 0,
            Some(Profile::Aes128CmSha1_80) => 1,
            Some(Profile::AeadAes128Gcm) => 2,
            Some(Profile::AeadAes256Gcm) => 3,
        },
        dtls_flight: match entry.flight {
            _ if entry.connected => 5,
            None => 0,
            Some(Flight::Hello) => 1,
            Some(Flight::Keys | Flight::Sealed | Flight::Alert(_)) => 5,
        },
        score: entry.watch.quality.score(),
        created_ms: entry.watch.created_ms,
        first_stun_ms: millis(entry.watch.first_stun),
        dtls_ms: millis(entry.watch.dtls),
        first_media_ms: millis(entry.watch.first_media),
        moves: entry.watch.moves,
        remote: path.map(|path| path.remote),
        local: paths.local(entry.key.slot),
        over_tcp: path.is_some_and(|path| matches!(path.via, Via::Tcp(_))),
        packets: totals.packets,
        bytes: totals.bytes,
        lost: totals.lost as u32,
        nacked: entry.watch.nacked,
        repaired: entry.watch.repaired,
        keyframe_requests: entry.watch.keyframe_requests,
        loss_ratio: last.loss_ratio,
        jitter_us: last.jitter_us,
        rtt_us: last.rtt_us,
        bits_per_s: last.bits_per_s,
        expected_bits_per_s: last.expected_bits_per_s,
        layer: entry.watch.layer,
        oversized: entry.watch.oversized,
        path: entry.watch.path,
    }
}

/// What is thought of a viewer's path, as its card shows it.
fn path_shown(estimate: Estimate) -> PathShown {
    let Estimate { bits_per_s, ceiling_bits_per_s, queue_ms, state, rival, reason, .. } = estimate;
    PathShown {
        bits_per_s: bits_per_s as u32,
        ceiling_bits_per_s: ceiling_bits_per_s.map(|ceiling| ceiling as u32),
        queue_ms: queue_ms as u16,
        state: match (rival, state) {
            (true, _) => PathState::Occupied,
            (false, State::Overuse) => PathState::Filling,
            (false, State::Underuse) => PathState::Draining,
            (false, State::Normal) => PathState::Steady,
            (false, State::Quiet) => PathState::Quiet,
            (false, State::Unknown) => PathState::Unknown,
        },
        reason: match reason {
            Reason::Start => RateReason::Start,
            Reason::FirstTrains => RateReason::FirstTrains,
            Reason::Delay => RateReason::Delay,
            Reason::Queue => RateReason::Queue,
            Reason::Loss => RateReason::Loss,
            Reason::Probe => RateReason::Probe,
            Reason::Rival => RateReason::Rival,
            Reason::Told => RateReason::Told,
        },
    }
}

/// The streams that a session is ready for, with what it gets there and says of it.
fn playing<'a>(
    takes: &'a [Taking],
    streams: &'a Streams,
) -> impl Iterator<Item = (&'a Stream, &'a Viewer, &'a Reception)> {
    takes.iter().filter_map(|taking| {
        let Ready { position, reception } = taking.ready.as_ref()?;
        let stream = streams.get(taking.stream)?;
        Some((stream, stream.viewer(*position)?, reception))
    })
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
