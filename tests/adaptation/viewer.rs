//! A viewer at the end of a link: the server's part and the player's, in steps of a millisecond.

use std::collections::VecDeque;

use monoport::egress::Pace;
use monoport::track::choose::{self, Rung, Steps, Wanted};
use monoport::wire::rtcp::{Statuses, TransportReport};

use crate::link::{Link, Path, normal};

/// What the layers send, in bits a second.
pub const LAYERS: [f64; 4] = [150e3, 500e3, 1_200e3, 2_500e3];
pub const SECOND: u64 = 1_000_000;

/// What there must be room for, of what a layer sends: as in the server.
const SHARE: f64 = 1.05;
const STEP: u64 = 1_000;
const FRAME: u64 = 33_333;
/// A key frame is as large as so many others.
const KEYFRAME: f64 = 6.0;
/// Bytes of a packet's payload, and of its header, extensions and tag.
const PAYLOAD: f64 = 1_150.0;
const OVERHEAD: u32 = 36;
/// How often Chromium reports.
const FEEDBACK: u64 = 62_000;
const PADDING: u32 = 224 + OVERHEAD;

/// A packet on its way.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub number: u64,
    pub sent: u64,
    pub bytes: u32,
    pub probe: u8,
    pub arrived: Option<u64>,
}

/// What decides how much is sent.
pub trait Controller {
    /// These packets left together.
    fn sent(&mut self, now: u64, train: &[Packet]);
    /// A report came: as it is on the wire, from behind the SSRCs on, and what it is about.
    fn feedback(&mut self, now: u64, report: Statuses<'_>, packets: &[Packet]);
    fn tick(&mut self, now: u64);
    fn rate(&self) -> f64;
    /// How fast what waits may leave.
    fn pace(&self) -> f64;
    /// Whether a layer that does not fit is left at once.
    /// Nothing is to leave now.
    fn is_paused(&self, _now: u64) -> bool {
        false
    }
    fn overuse(&self) -> bool;
    fn wants(&mut self, now: u64, next_layer: f64);
    /// When the path was seen to have become wider.
    fn widened(&self) -> Option<u64> {
        None
    }
    /// The viewer goes over to another layer.
    fn switches(&mut self, now: u64);
    fn probe(&self, now: u64) -> u8;
    fn probe_bytes(&self, now: u64) -> u32;
    /// How often padding leaves.
    fn probe_tick(&self) -> u64;
}

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The layer, each 100 ms.
    pub layers: Vec<usize>,
    pub switches: usize,
    /// How long packets waited, in milliseconds, but for one in twenty.
    pub queue_p95: f64,
    /// Bytes of padding, of all.
    pub padding: f64,
    /// The rate, each second.
    pub rates: Vec<f64>,
}

/// What is measured of a layer: bytes of each of the last seconds.
#[derive(Default)]
struct Measured([f64; 5]);

impl Measured {
    fn rate(&self) -> f64 {
        let mut seconds = self.0;
        seconds.sort_by(f64::total_cmp);
        seconds[2] * 8.0
    }
}

/// What a publisher sends.
#[derive(Clone, Copy)]
pub struct Source {
    /// What its layers send, in bits a second, the smallest first.
    pub layers: &'static [f64],
    /// How far its key frames are apart at most, in microseconds; 0 for only when one is wanted.
    pub keyframes: u64,
}

/// Layers of [`LAYERS`], and key frames when they are wanted.
pub const SOURCE: Source = Source { layers: &LAYERS, keyframes: 0 };

struct World<'a> {
    source: Source,
    controller: &'a mut dyn Controller,
    link: Link,
    random: fastrand::Rng,
    pace: Pace,
    steps: Steps,
    layer: usize,
    /// The next frame is a key frame.
    key: bool,
    measured: Vec<Measured>,
    counting: Vec<f64>,
    /// Packets that wait to leave, and how many of them may leave at once.
    waiting: VecDeque<u32>,
    whole: usize,
    number: u64,
    /// Sent and not reported on.
    unreported: VecDeque<Packet>,
    reports: VecDeque<(u64, Vec<u8>, Vec<Packet>)>,
    report_number: u8,
    media_bytes: u64,
    padding_bytes: u64,
    run: Run,
}

/// A viewer's minute, or so many seconds.
pub fn run(
    controller: &mut dyn Controller,
    (source, path): (Source, Path),
    seed: u64,
    seconds: u64,
) -> Run {
    let mut world = World {
        source,
        controller,
        link: Link::new(path, seed ^ 0x5eed),
        random: fastrand::Rng::with_seed(seed),
        pace: Pace::new(0),
        steps: Steps::default(),
        layer: 0,
        key: true,
        measured: source.layers.iter().map(|rate| Measured([rate / 8.0; 5])).collect(),
        counting: vec![0.0; source.layers.len()],
        waiting: VecDeque::new(),
        whole: 0,
        number: 0,
        unreported: VecDeque::new(),
        reports: VecDeque::new(),
        report_number: 0,
        media_bytes: 0,
        padding_bytes: 0,
        run: Run::default(),
    };
    world.layer = world.rungs_that_fit().0;
    (0..seconds * SECOND / STEP).for_each(|step| world.step(step * STEP));
    world.finish()
}

impl World<'_> {
    fn step(&mut self, now: u64) {
        if now % FRAME < STEP {
            self.frame(now);
        }
        self.send_media(now);
        if now % self.controller.probe_tick() == 2_000 {
            self.send_padding(now);
        }
        if now % FEEDBACK < STEP {
            self.report(now);
        }
        while self.reports.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, report, packets) = self.reports.pop_front().expect("there is one");
            let statuses = Statuses::read(&report[12..]).expect("it is well-formed");
            self.controller.feedback(now, statuses, &packets);
            self.choose(now);
        }
        if now.is_multiple_of(25_000) {
            self.controller.tick(now);
            self.choose(now);
        }
        if now.is_multiple_of(SECOND / 10) {
            self.run.layers.push(self.layer);
        }
        if now.is_multiple_of(SECOND) {
            self.run.rates.push(self.controller.rate());
            for (measured, count) in self.measured.iter_mut().zip(&mut self.counting) {
                if now > 0 {
                    measured.0.rotate_left(1);
                    measured.0[4] = std::mem::take(count);
                }
            }
        }
    }

    /// Each layer sends a frame, of which one is the viewer's.
    fn frame(&mut self, now: u64) {
        self.key |= self.source.keyframes > 0 && now % self.source.keyframes < FRAME;
        for (layer, rate) in self.source.layers.iter().enumerate() {
            let mean = rate / 8.0 * FRAME as f64 / SECOND as f64;
            let mut bytes = mean * (1.0 + 0.3 * normal(&mut self.random)).clamp(0.3, 2.5);
            self.counting[layer] += bytes;
            if layer != self.layer {
                continue;
            }
            if std::mem::take(&mut self.key) {
                bytes = mean * KEYFRAME;
            }
            let packets = (bytes / PAYLOAD).ceil().max(1.0);
            let each = (bytes / packets) as u32 + OVERHEAD;
            let is_idle = self.waiting.is_empty();
            let is_paused = self.controller.is_paused(now);
            if self.pace.admits_whole(each * packets as u32) && is_idle && !is_paused {
                self.whole = packets as usize;
            }
            self.waiting.extend((0..packets as usize).map(|_| each));
        }
    }

    /// What may leave leaves as one train: a frame at once, what has waited every 10 ms.
    fn send_media(&mut self, now: u64) {
        self.pace.earn(now, self.controller.pace().max(1.2 * self.source.layers[self.layer]));
        let whole = std::mem::take(&mut self.whole);
        if whole == 0 && (!now.is_multiple_of(10_000) || self.controller.is_paused(now)) {
            return;
        }
        let mut train = Vec::new();
        while (train.len() < whole || self.pace.has_credit())
            && let Some(bytes) = self.waiting.pop_front()
        {
            self.pace.spend(bytes);
            self.media_bytes += u64::from(bytes);
            train.push(bytes);
        }
        self.send_train(now, &train);
    }

    fn send_padding(&mut self, now: u64) {
        let packets = self.controller.probe_bytes(now).div_ceil(PADDING);
        self.padding_bytes += u64::from(packets * PADDING);
        self.send_train(now, &vec![PADDING; packets as usize]);
    }

    fn send_train(&mut self, now: u64, train: &[u32]) {
        if train.is_empty() {
            return;
        }
        let probe = self.controller.probe(now);
        let first = self.number;
        self.number += train.len() as u64;
        let packet = |(number, bytes): (u64, &u32)| {
            let arrived = self.link.send(now, *bytes);
            Packet { number, sent: now, bytes: *bytes, probe, arrived }
        };
        let packets: Vec<_> = (first..).zip(train).map(packet).collect();
        self.controller.sent(now, &packets);
        self.unreported.extend(packets);
    }

    /// The player reports on what it has heard of: up to the newest that came.
    fn report(&mut self, now: u64) {
        let came = |packet: &Packet| packet.arrived.is_some_and(|at| at <= now);
        let Some(newest) = self.unreported.iter().rposition(came) else { return };
        let packets: Vec<_> = self.unreported.drain(..=newest).collect();
        // The player's clock is at the end of its 24 bits for half of the run.
        let clock = |at: u64| (at / 250) as u32;
        let clock = |at: u64| clock(at).wrapping_sub(30 * 4_000);
        let number = self.report_number;
        self.report_number = number.wrapping_add(1);
        let base = packets[0].number as u16;
        let report = TransportReport { sender_ssrc: 1, media_ssrc: 2, base, number };
        let mut bytes = vec![0; 2_000];
        let arrivals = packets.iter().map(|packet| packet.arrived.map(clock));
        let (length, count) = report.write(arrivals, &mut bytes).expect("some came");
        for packet in packets[count..].iter().rev() {
            self.unreported.push_front(*packet);
        }
        bytes.truncate(length);
        let packets = packets[..count].to_vec();
        self.reports.push_back((now + self.link.path.delay, bytes, packets));
    }

    fn choose(&mut self, now: u64) {
        let overuse = self.controller.overuse();
        let fits = self.rungs_that_fit();
        self.steps.forgive(self.controller.widened());
        let next = self.steps.next(now, self.layer, fits, overuse);
        if next != self.layer {
            (self.layer, self.key) = (next, true);
            self.run.switches += 1;
            self.controller.switches(now);
            // What waits of the old layer is left out but for the frame that has begun.
            self.waiting.truncate(2);
        }
        if let Some(better) = self.rungs().get(self.layer + 1) {
            self.controller.wants(now, choose::cost(*better));
        }
    }

    fn rungs(&self) -> Vec<Rung> {
        let rung = |layer: usize| Rung {
            layer: layer as u8,
            bits_per_s: SHARE * self.measured[layer].rate(),
        };
        (0..self.measured.len()).map(rung).collect()
    }

    fn rungs_that_fit(&self) -> (usize, usize) {
        let rungs = self.rungs();
        let usable = choose::usable(self.controller.rate());
        let fits = |usable| {
            let mut track = [Wanted { priority: 0, rungs: &rungs, rung: 0 }];
            choose::share(&mut track, usable);
            track[0].rung
        };
        (fits(usable), fits(choose::easily(usable)))
    }

    fn finish(mut self) -> Run {
        let waits = &mut self.link.waits;
        waits.sort_unstable();
        self.run.queue_p95 = waits[waits.len() * 95 / 100] as f64 / 1e3;
        let all = (self.media_bytes + self.padding_bytes) as f64;
        self.run.padding = self.padding_bytes as f64 / all;
        self.run
    }
}
