//! A stretch of a viewer's packets from one layer, as a rule by which the viewer's numbers and
//! times follow from the layer's: no packet is remembered.

use crate::limits::{MAX_SQUEEZE, REPLAY_PACKETS, REPLAY_SQUEEZE};
use crate::media::{MediaPacket, Shift};

/// One stretch. Two of them and the rest of a lane are two cache lines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    /// The layer's number of the first packet; nothing before it was sent.
    pub first: u64,
    /// Added to the layer's number: the viewer's SRTP packet index (RFC 3711 §3.3.1).
    pub offset: u64,
    /// The layer's newest timestamp when the viewer came to it.
    live: u32,
    /// So many packets from the first on had passed when the viewer came.
    past: u16,
    /// By how much their time is squeezed.
    squeeze: u16,
    /// Added to the numbers in the payload and the dependency descriptor.
    pub shift: Shift,
    pub layer: u8,
    /// Whether a number that was left out has been used up: nothing may come late any more.
    pub sealed: bool,
}

const _: () = assert!(size_of::<Span>() == 32, "half a cache line");
const _: () = assert!(REPLAY_PACKETS <= u16::MAX as u64, "so many packets of the past are counted");

/// What a viewer goes on with.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The first packet of a key frame, or of another frame that can be gone on with.
    pub first: &'a MediaPacket,
    /// The number of the newest packet there is of the layer.
    pub last: u64,
    /// The newest packet's timestamp.
    pub live: u32,
    /// The newest packet the viewer was sent so far, where it is known.
    pub sent: Option<&'a MediaPacket>,
    /// Whether that is of the same encoding, which goes on: either leaves frames out.
    pub within: bool,
}

/// The viewer has been shown what is as new as the newest of the other layer: its next picture is
/// to be waited for, or time would step back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooEarly;

impl Span {
    /// A viewer comes to a layer for the first time, with nothing of the past.
    pub fn at(packet: &MediaPacket, next: u64) -> Span {
        let MediaPacket { sequence: first, layer, timestamp: live, .. } = *packet;
        let offset = next.wrapping_sub(first);
        Span { first, offset, live, squeeze: 1, layer, ..Span::default() }
    }

    /// The viewer goes on with `start`; `next` is its next number, `before` where it has been.
    pub fn begin(start: &Start<'_>, next: u64, before: Option<&Span>) -> Result<Span, TooEarly> {
        let Start { first, last, live, sent, within } = *start;
        let behind = live.wrapping_sub(first.timestamp).cast_signed().max(0).unsigned_abs();
        let before = before.zip(sent);
        let squeeze = match before {
            None => u32::from(REPLAY_SQUEEZE),
            Some((span, sent)) => {
                let shown = span.timestamp(sent);
                let ahead = live.wrapping_sub(shown).cast_signed();
                let ahead = u32::try_from(ahead).ok().filter(|ahead| *ahead > 0).ok_or(TooEarly)?;
                // What came before `shown` is squeezed into the time since.
                if behind < ahead { 1 } else { behind / ahead + 1 }
            }
        };
        let squeeze = u16::try_from(squeeze).ok().filter(|s| *s <= MAX_SQUEEZE).ok_or(TooEarly)?;
        let past = last.wrapping_add(1).saturating_sub(first.sequence);
        let past = u16::try_from(past).unwrap_or(u16::MAX);
        let go_on = if within { Shift::within } else { Shift::behind };
        let shift = before.map_or(Shift::NONE, |(span, sent)| go_on(sent, span.shift, first));
        Ok(Span { past, squeeze, shift, live, ..Span::at(first, next) })
    }

    /// The viewer's number of its first packet.
    pub fn start(&self) -> u64 {
        self.first.wrapping_add(self.offset)
    }

    /// The newest timestamp when the viewer came.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// The timestamp of a packet, a pure function of it, so that it is the same when the packet is
    /// sent again. What had passed when the viewer came is squeezed towards that moment.
    #[inline]
    pub fn timestamp(&self, packet: &MediaPacket) -> u32 {
        if packet.sequence.wrapping_sub(self.first) >= u64::from(self.past) {
            return packet.timestamp;
        }
        self.squeezed(packet.timestamp)
    }

    #[cold]
    fn squeezed(&self, timestamp: u32) -> u32 {
        match self.live.wrapping_sub(timestamp) {
            behind if behind.cast_signed() > 0 => {
                self.live.wrapping_sub(behind / u32::from(self.squeeze.max(1)))
            }
            _ => timestamp,
        }
    }
}
