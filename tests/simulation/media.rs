//! What publishers send: every packet says whose it is and which.

use std::time::{Duration, Instant};

use crate::client::{Client, Outgoing};
use crate::random::Random;

/// Where a media packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    pub publisher: u16,
    /// The layer of video; audio is [`AUDIO`].
    pub layer: u8,
    /// How often its numbers have begun anew.
    pub start: u8,
}

pub const AUDIO: u8 = 0xff;

/// An encoder that was late sends what it should have, back to that far.
const MADE_UP_FOR: Duration = Duration::from_millis(500);

/// Which media packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    pub source: Source,
    pub number: u32,
    /// Begins a key frame.
    pub keyframe: bool,
}

const MARK: [u8; 4] = *b"mono";

impl Tag {
    /// A frame of a publisher's only layer.
    pub fn video(publisher: u16, number: u32, keyframe: bool) -> Tag {
        Tag { source: Source { publisher, layer: 0, start: 0 }, number, keyframe }
    }

    /// A payload of VP8, or of Opus, with the tag at its end.
    pub fn payload(&self, first_of_frame: bool, length: usize) -> Vec<u8> {
        let mut payload = match (self.source.layer, first_of_frame, self.keyframe) {
            (AUDIO, ..) => vec![0xfc, 0xff],
            (_, true, true) => vec![0x10, 0x00],
            (_, true, false) => vec![0x10, 0x01],
            (_, false, _) => vec![0x00, 0x55],
        };
        payload.resize(payload.len() + length, 0x5a);
        payload.extend(self.source.publisher.to_be_bytes());
        payload.extend([self.source.layer, self.source.start, u8::from(self.keyframe)]);
        payload.extend(self.number.to_be_bytes());
        payload.extend(MARK);
        payload
    }

    /// The tag of a payload.
    pub fn read(payload: &[u8]) -> Option<Tag> {
        let tail: &[u8; 13] = payload.last_chunk()?;
        let [p0, p1, layer, start, keyframe, n0, n1, n2, n3, mark @ ..] = *tail;
        let source = Source { publisher: u16::from_be_bytes([p0, p1]), layer, start };
        let number = u32::from_be_bytes([n0, n1, n2, n3]);
        (mark == MARK).then_some(Tag { source, number, keyframe: keyframe == 1 })
    }
}

/// One track or layer on its way out.
struct Encoder {
    /// The layer of video; none is audio.
    layer: Option<usize>,
    source: Source,
    number: u32,
    /// RTP number and time of packet 0.
    first_sequence: u64,
    first_timestamp: u32,
    began: Instant,
    interval: Duration,
    next: Instant,
    wants_keyframe: bool,
    silent_until: Option<Instant>,
    packets_per_frame: u64,
    bytes: usize,
}

/// All of a publisher.
pub struct Encoders {
    all: Vec<Encoder>,
    /// Requests for key frames that it will not hear.
    pub ignores: u32,
}

/// A packet that has left: its tag, and how the wire names it.
pub struct Left {
    pub tag: Tag,
    pub ssrc: u32,
    pub sequence: u16,
}

impl Encoders {
    pub fn new(random: &mut Random, now: Instant, publisher: u16, layers: usize) -> Encoders {
        let mut all = vec![Encoder::new(random, now, publisher, None)];
        for layer in 0..layers {
            all.push(Encoder::new(random, now, publisher, Some(layer)));
        }
        Encoders { all, ignores: 0 }
    }

    /// When the next frame is due.
    pub fn next(&self) -> Option<Instant> {
        self.all.iter().map(|encoder| encoder.next).min()
    }

    /// Video has a hundred packets a second from here on, of so many bytes.
    pub fn enlarge(&mut self, bytes: usize) {
        for encoder in self.all.iter_mut().filter(|encoder| encoder.layer.is_some()) {
            (encoder.packets_per_frame, encoder.bytes) = (4, bytes);
            encoder.interval = Duration::from_millis(40);
        }
    }

    /// Somebody asks for a key frame of a layer.
    pub fn asked(&mut self, layer: usize) {
        if self.ignores > 0 {
            self.ignores -= 1;
            return;
        }
        for encoder in self.all.iter_mut().filter(|encoder| encoder.layer == Some(layer)) {
            encoder.wants_keyframe = true;
        }
    }

    /// A layer sends nothing until then.
    pub fn silence(&mut self, layer: usize, until: Instant) {
        for encoder in self.all.iter_mut().filter(|encoder| encoder.layer == Some(layer)) {
            encoder.silent_until = Some(until);
            encoder.wants_keyframe = true;
        }
    }

    /// How many tracks and layers there are, audio first.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The numbers of one of them begin anew under another SSRC.
    pub fn restart(
        &mut self,
        which: usize,
        random: &mut Random,
        now: Instant,
        client: &mut Client,
    ) {
        let encoder = &mut self.all[which];
        client.change_ssrc(encoder.layer);
        encoder.source.start += 1;
        encoder.begin(random, now);
        encoder.wants_keyframe = true;
    }

    /// Sends what is due. What was while it was not connected yet is not made up for: a thousand
    /// packets at a time, in any order, are what no encoder sends.
    pub fn send_due(
        &mut self,
        now: Instant,
        random: &mut Random,
        client: &mut Client,
    ) -> Vec<Left> {
        let mut left = Vec::new();
        for encoder in &mut self.all {
            if now.saturating_duration_since(encoder.next) > MADE_UP_FOR {
                encoder.next = now;
            }
            while encoder.next <= now {
                encoder.send_frame(now, random, client, &mut left);
                encoder.next += encoder.interval;
            }
        }
        left
    }
}

impl Encoder {
    fn new(random: &mut Random, now: Instant, publisher: u16, layer: Option<usize>) -> Encoder {
        let (interval, bytes) = match layer {
            None => (40_000, 20),
            Some(layer) => (random.one_of(&[40_000, 66_000]), 120 >> layer),
        };
        let mut encoder = Encoder {
            layer,
            source: Source { publisher, layer: layer.map_or(AUDIO, |layer| layer as u8), start: 0 },
            number: 0,
            first_sequence: 0,
            first_timestamp: 0,
            began: now,
            interval: Duration::from_micros(interval),
            next: now,
            wants_keyframe: true,
            silent_until: None,
            packets_per_frame: if layer.is_some() { random.within(1..4) } else { 1 },
            bytes,
        };
        encoder.begin(random, now);
        encoder
    }

    fn begin(&mut self, random: &mut Random, now: Instant) {
        // In the first half, as browsers do: who loses the first packets of a count that wraps
        // never guesses the rollover counter (RFC 3711 section 3.3.1).
        self.first_sequence = random.within(0..0x8000);
        self.first_timestamp = random.next() as u32;
        self.number = 0;
        self.began = now;
    }

    fn send_frame(
        &mut self,
        now: Instant,
        random: &mut Random,
        client: &mut Client,
        left: &mut Vec<Left>,
    ) {
        if self.silent_until.is_some_and(|until| now < until) {
            return;
        }
        let keyframe = self.layer.is_some() && std::mem::take(&mut self.wants_keyframe);
        let packets = self.packets_per_frame + if keyframe { 2 } else { 0 };
        let rate = if self.layer.is_some() { 90 } else { 48 };
        let elapsed = now.saturating_duration_since(self.began).as_millis() as u32 * rate;
        for index in 0..packets {
            let tag =
                Tag { source: self.source, number: self.number, keyframe: keyframe && index == 0 };
            let sequence = self.first_sequence + u64::from(self.number);
            self.number += 1;
            let length = self.bytes + random.index(5);
            let packet = Outgoing {
                layer: self.layer,
                sequence,
                timestamp: self.first_timestamp.wrapping_add(elapsed),
                marker: index + 1 == packets,
                payload: tag.payload(index == 0, length),
            };
            client.send(now, &packet);
            if let Some(ssrc) = client.sending_ssrc(self.layer) {
                left.push(Left { tag, ssrc, sequence: sequence as u16 });
            }
        }
    }
}
