//! Packets of one layer that wait for the rest of their frame, so that they leave as one train.

use std::time::{Duration, Instant};

use crate::limits::MAX_PENDING_PACKETS;
use crate::media::MediaPacket;

/// Those of one layer.
#[derive(Debug, Default)]
pub(super) struct Pending {
    packets: Vec<MediaPacket>,
    /// When the oldest must leave, marker or not.
    deadline: Option<Instant>,
    complete: bool,
}

impl Pending {
    /// One more, which may wait as long as `hold`; `ends` where nothing of its frame is to come.
    pub fn push(&mut self, packet: MediaPacket, hold: Duration, ends: bool) {
        self.complete |= ends || self.packets.len() + 1 >= MAX_PENDING_PACKETS;
        self.deadline.get_or_insert(packet.received + hold);
        self.packets.push(packet);
    }

    /// Those that wait.
    pub fn packets(&self) -> &[MediaPacket] {
        &self.packets
    }

    /// When they must leave, if there are any.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether their frame is complete, or their time has come.
    pub fn is_due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| self.complete || deadline <= now)
    }

    /// Makes them equally long, where little is missing.
    pub fn equalise(&mut self) {
        equalise(&mut self.packets);
    }

    /// The timestamps of all were wrong by so much.
    pub fn put_time_right(&mut self, by: u32) {
        for packet in &mut self.packets {
            packet.timestamp = packet.timestamp.wrapping_add(by);
        }
    }

    /// They leave.
    pub fn empty(&mut self, into: &mut Vec<MediaPacket>) {
        into.append(&mut self.packets);
        (self.deadline, self.complete) = (None, false);
    }
}

/// Pads packets that fall short of the longest by a few bytes, so that all of them make one train.
///
/// Packetisers split a frame into sizes that differ by a byte, the short ones first, which is the
/// one order a train can't have. Only where the bytes added stay under 2 % of all; what is shorter
/// by more (parameter sets, the frame's last packet) is left as it is and opens or ends a train.
fn equalise(packets: &mut [MediaPacket]) {
    let Some(longest) = packets.iter().map(|packet| packet.payload.len()).max() else { return };
    let near = |packet: &MediaPacket| {
        let short = longest - packet.payload.len();
        if short <= usize::from(u8::MAX) { short } else { 0 }
    };
    let total: usize = packets.iter().map(|packet| packet.payload.len()).sum();
    let added: usize = packets.iter().map(near).sum();
    // Over the budget: pad only those that fall short by a byte or two.
    let limit = if added * 50 <= total { usize::from(u8::MAX) } else { longest / 50 };
    for packet in packets.iter_mut().filter(|packet| !packet.payload.is_empty()) {
        let short = near(packet);
        packet.padding = if short <= limit { short as u8 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::layers::tests::packet;

    #[test]
    fn packets_of_a_frame_are_made_equally_long_when_little_is_missing() {
        let sized = |size: usize| {
            let payload = vec![0; size].into();
            MediaPacket { payload, ..packet(1, 1, 0, Instant::now()) }
        };
        let paddings = |sizes: &[usize]| {
            let mut packets: Vec<_> = sizes.iter().map(|size| sized(*size)).collect();
            equalise(&mut packets);
            packets.iter().map(|packet| packet.padding).collect::<Vec<_>>()
        };
        assert_eq!(paddings(&[1_025, 1_025, 1_026]), [1, 1, 0]);
        assert_eq!(paddings(&[24, 1_100, 1_096]), [0, 0, 4], "parameter sets are not blown up");
        assert_eq!(paddings(&[800, 1_000, 1_000]), [0, 0, 0], "two hundred bytes are too many");
        assert_eq!(paddings(&[]), [0; 0]);
    }
}
