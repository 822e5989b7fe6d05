//! A publisher with a bad line, by seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::oracle::Oracle;
use crate::wire::rtp::HeaderWriter;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    One,
    Three,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    pub loss_percent: u32,
    pub reorders: bool,
    pub layers: Layers,
    /// Video goes on under another SSRC halfway.
    pub changes_ssrc: bool,
    /// Padding on the RTX SSRC, before there is media and between.
    pub probes: bool,
}

impl Default for Script {
    fn default() -> Script {
        let layers = Layers::One;
        Script { loss_percent: 0, reorders: false, layers, changes_ssrc: false, probes: false }
    }
}

/// xorshift64.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32 % sides
    }
}

struct Sender {
    track: usize,
    rid: Option<&'static str>,
    ssrc: u32,
    rtx_ssrc: u32,
    index: u64,
    rtx_index: u64,
    timestamp: u32,
    /// Whether MID and RID still ride along.
    named: u32,
}

/// A datagram on its way: when it comes, in steps, and whose it is.
type Flight = (u32, Vec<u8>, Option<&'static str>, u64);

struct Run<'a> {
    oracle: &'a mut Oracle,
    dice: Dice,
    script: Script,
    transport: u64,
    flying: Vec<Flight>,
    told: BTreeMap<u64, Instant>,
}

const STEP: Duration = Duration::from_micros(5_130);
const STEPS: u32 = 600;

/// Plays the script to the end; returns when each packet that came did so, by its transport-wide
/// number.
pub fn run(seed: u64, script: &Script, oracle: &mut Oracle) -> BTreeMap<u64, Instant> {
    let dice = Dice(seed | 1);
    let (flying, told) = (Vec::new(), BTreeMap::new());
    let mut run = Run { oracle, dice, script: *script, transport: 65_400, flying, told };
    let names: &[Option<&str>] = match script.layers {
        Layers::One => &[None],
        Layers::Three => &[Some("a"), Some("b"), Some("c")],
    };
    let mut senders = vec![sender(0, None, 1_000, 60_000)];
    let video = names.iter().zip(0u32..);
    senders.extend(video.map(|(rid, n)| sender(1, *rid, 2_000 + 10 * n, 65_300)));
    if script.probes {
        for sender in senders.iter_mut().filter(|sender| sender.track == 1) {
            (0..5).for_each(|_| run.pad(sender, 0));
        }
    }
    for step in 0..STEPS {
        if script.changes_ssrc && step == STEPS / 2 {
            // What still flies of the former is late for both, though not in the same way.
            for sender in senders.iter_mut().filter(|sender| sender.track == 1) {
                *sender = Sender { ssrc: sender.ssrc + 5, rtx_ssrc: sender.ssrc + 6, ..*sender };
                (sender.index, sender.rtx_index, sender.named) = (100, 200, 0);
            }
        }
        let quiet = script.changes_ssrc && (STEPS / 2 - 100..STEPS / 2).contains(&step);
        for sender in &mut senders {
            if !quiet && (sender.track == 1 || step % 4 == 0) {
                run.send(sender, step);
            }
            if !quiet && script.probes && sender.track == 1 && step > 100 && step % 50 == 0 {
                run.pad(sender, step);
            }
        }
        run.land(step);
        run.oracle.advance(STEP);
    }
    for step in STEPS..STEPS + 1_400 {
        run.land(step);
        run.oracle.advance(STEP);
    }
    run.told
}

fn sender(track: usize, rid: Option<&'static str>, ssrc: u32, index: u64) -> Sender {
    let (rtx_ssrc, rtx_index, timestamp, named) = (ssrc + 1, 65_500, 1_000, 0);
    Sender { track, rid, ssrc, rtx_ssrc, index, rtx_index, timestamp, named }
}

impl Run<'_> {
    /// A packet of media, which may be lost; what is lost is sent again as RTX, or it is not.
    fn send(&mut self, sender: &mut Sender, step: u32) {
        let index = sender.index;
        sender.index += 1;
        let ends_frame = self.dice.throw(3) == 0;
        let payload = vec![index as u8; 20 + self.dice.throw(900) as usize];
        let datagram = self.packet(sender, (sender.ssrc, index), &payload, false, ends_frame);
        let timestamp = sender.timestamp;
        if ends_frame {
            sender.timestamp = sender.timestamp.wrapping_add(3_000);
        }
        // The first ones arrive, so that what follows is known to both.
        let is_lost = sender.named > 20 && self.dice.throw(100) < self.script.loss_percent;
        sender.named += 1;
        if !is_lost {
            self.fly(datagram, sender, step);
        }
        // str0m takes what it has already for a measure of jitter; so none where that is compared.
        let needlessly = self.script.loss_percent > 0 && self.dice.throw(40) == 0;
        let again = is_lost && self.dice.throw(4) > 0 || needlessly;
        if again && sender.track == 1 && sender.named > 20 {
            let mut body = (index as u16).to_be_bytes().to_vec();
            body.extend(payload);
            let rtx = Sender { timestamp, ..*sender };
            let rtx_index = sender.rtx_index;
            sender.rtx_index += 1;
            let place = (sender.rtx_ssrc, rtx_index);
            let datagram = self.packet(&rtx, place, &body, false, ends_frame);
            self.fly(datagram, sender, step + 12);
        }
    }

    /// Padding on the RTX SSRC.
    fn pad(&mut self, sender: &mut Sender, step: u32) {
        let mut padding = vec![0; 200];
        padding[199] = 200;
        let rtx_index = sender.rtx_index;
        sender.rtx_index += 1;
        let datagram = self.packet(sender, (sender.rtx_ssrc, rtx_index), &padding, true, false);
        self.fly(datagram, sender, step);
    }

    fn packet(
        &mut self,
        sender: &Sender,
        (ssrc, index): (u32, u64),
        body: &[u8],
        padding: bool,
        marker: bool,
    ) -> (Vec<u8>, u64) {
        let track = &self.oracle.tracks[sender.track];
        let is_rtx = ssrc == sender.rtx_ssrc;
        let payload_type =
            if is_rtx { track.rtx_payload_type.unwrap() } else { track.payload_type };
        let timestamp = sender.timestamp;
        let sequence = index as u16;
        let header = HeaderWriter { marker, padding, payload_type, sequence, timestamp, ssrc };
        let number = self.transport;
        self.transport += 1;
        let (mid, number_bytes) = (track.mid.to_string(), (number as u16).to_be_bytes());
        let ids = &self.oracle.ids;
        let mut elements: Vec<(u8, &[u8])> = vec![(ids["twcc"], &number_bytes)];
        if sender.named < 30 || is_rtx {
            elements.push((ids["mid"], mid.as_bytes()));
            if let Some(rid) = sender.rid {
                elements.push((ids[if is_rtx { "rrid" } else { "rid" }], rid.as_bytes()));
            }
        }
        let mut packet = vec![0; 2_000];
        let start = header.write(&elements, &mut packet).unwrap();
        packet[start..start + body.len()].copy_from_slice(body);
        let length = start + body.len();
        let sealed = self.oracle.sealer.seal(&mut packet, start, length, ssrc, index);
        packet.truncate(sealed);
        (packet, number)
    }

    fn fly(&mut self, (datagram, number): (Vec<u8>, u64), sender: &Sender, step: u32) {
        let late = sender.named > 20 && self.script.reorders && self.dice.throw(5) == 0;
        let delay = if late { 1 + self.dice.throw(4) } else { 0 };
        self.flying.push((step + delay, datagram, sender.rid, number));
    }

    fn land(&mut self, step: u32) {
        let (landing, flying) =
            std::mem::take(&mut self.flying).into_iter().partition(|(at, ..)| *at <= step);
        self.flying = flying;
        let landing: Vec<Flight> = landing;
        for (_, datagram, rid, number) in landing {
            self.told.insert(number % (1 << 16), self.oracle.now);
            self.oracle.receive(&datagram, rid);
        }
    }
}
