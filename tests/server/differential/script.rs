//! What is published, and in which order it goes on the wire: the same for the same seed.

use std::collections::BTreeSet;

use super::Seen;

/// Video packets of the script.
const VIDEO_PACKETS: u64 = 300;

/// Frames and audio packets, step by step.
pub struct Script {
    pub steps: Vec<Step>,
}

/// A frame and the audio packet beside it.
pub struct Step {
    /// New packets, in the order of their numbers.
    pub packets: Vec<Seen>,
    /// What is sent: packets of this step or of the one before, by track and number.
    pub wire: Vec<(bool, u64)>,
}

impl Script {
    pub fn new(seed: u64) -> Script {
        let mut dice = Dice(seed);
        let mut steps = Vec::new();
        let mut video = 0;
        let mut late = Vec::new();
        while video < VIDEO_PACKETS {
            let frame = steps.len() as u64;
            let count = (1 + dice.below(12)).min(VIDEO_PACKETS - video);
            let mut packets = video_frame(&mut dice, frame, video, count);
            video += count;
            let length = 20 + dice.below(140) as usize;
            packets.push(packet(&mut dice, (true, frame), frame as u32 * 960, true, length));
            let wire = packets.iter().map(|packet| (packet.audio, packet.number)).collect();
            // Viewers begin with the first packet that comes, so the first step is in order.
            let wire = if frame == 0 { wire } else { disturbed(&mut dice, wire, &mut late) };
            steps.push(Step { packets, wire });
        }
        // Nothing is kept back for ever.
        if let Some(last) = steps.last_mut() {
            last.wire.append(&mut late);
        }
        Script { steps }
    }

    /// Every packet of the script.
    pub fn packets(&self) -> BTreeSet<Seen> {
        self.steps.iter().flat_map(|step| step.packets.iter().cloned()).collect()
    }
}

/// Packets of one size, but for the last, which is shorter and has the marker: as packetisers
/// make them, give or take a byte.
fn video_frame(dice: &mut Dice, frame: u64, first: u64, count: u64) -> Vec<Seen> {
    let size = 100 + dice.below(1_050) as usize;
    let timestamp = frame as u32 * 3_000;
    let keyframe = frame.is_multiple_of(20);
    let one = |index: u64| {
        let marker = index + 1 == count;
        let shorter = if marker { dice.below(90) } else { dice.below(8) / 7 };
        let length = size - shorter as usize;
        let mut packet = packet(dice, (false, first + index), timestamp, marker, length);
        // A VP8 payload descriptor that begins a partition or not, and a frame's head.
        let descriptor = if index == 0 { 0x10 } else { 0x00 };
        packet.payload[..2].copy_from_slice(&[descriptor, u8::from(!keyframe)]);
        packet
    };
    (0..count).map(one).collect()
}

fn packet(
    dice: &mut Dice,
    (audio, number): (bool, u64),
    timestamp: u32,
    marker: bool,
    length: usize,
) -> Seen {
    let mut payload: Vec<u8> = (0..length).map(|_| dice.below(256) as u8).collect();
    // What the clients tell audio by.
    payload[..2].copy_from_slice(&[0xfc, 0xff]);
    Seen { audio, number, timestamp, marker, payload }
}

/// What the network may do to a step: neighbours change places, one comes with the next step, one
/// comes twice, at once or with the next step.
fn disturbed(
    dice: &mut Dice,
    mut wire: Vec<(bool, u64)>,
    late: &mut Vec<(bool, u64)>,
) -> Vec<(bool, u64)> {
    let before = std::mem::take(late);
    let some = |dice: &mut Dice, wire: &[(bool, u64)]| dice.below(wire.len() as u64) as usize;
    if wire.len() > 1 && dice.below(3) == 0 {
        let at = dice.below(wire.len() as u64 - 1) as usize;
        wire.swap(at, at + 1);
    }
    if dice.below(6) == 0 {
        late.push(wire.remove(some(dice, &wire)));
    }
    if !wire.is_empty() && dice.below(4) == 0 {
        let at = some(dice, &wire);
        let twice = wire[at];
        match dice.below(2) {
            0 => wire.insert(at + 1, twice),
            _ => late.push(twice),
        }
    }
    // Those of the step before come in the middle of this one.
    let middle = wire.len() / 2;
    wire.splice(middle..middle, before);
    wire
}

/// xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}
