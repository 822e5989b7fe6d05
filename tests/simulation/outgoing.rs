//! What the server sends a viewer, opened with the viewer's keys before the network can lose it.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use monoport::srtp::RtpOpener;
use monoport::wire::rtp;

use crate::dtls::Keys;
use crate::media::{Source, Tag};
use crate::network::rtp_name;

/// Numbers go on by no more: the longest cut of a leg is shorter than this many packets.
const JUMP: u16 = 1_000;

/// SSRCs of a viewer's session.
pub struct Ssrcs {
    pub audio: u32,
    pub video: u32,
    pub repair: Option<u32>,
}

/// One SSRC on its way to a viewer.
#[derive(Default)]
pub struct Line {
    newest: Option<u64>,
    /// By SRTP index.
    pub sent: BTreeMap<u64, Tag>,
    /// When each key frame was sent first.
    pub keyframes: HashMap<Tag, Instant>,
    /// When the first datagram was sent, and the last.
    pub first: Option<Instant>,
    pub last: Option<Instant>,
    by_tag: HashMap<Tag, u64>,
    /// The datagrams themselves, to see whether one is another.
    texts: HashMap<u64, Vec<u8>>,
}

/// One viewer.
pub struct Viewer {
    ssrcs: Ssrcs,
    opener: Option<RtpOpener>,
    /// Sent before this end knew its keys.
    early: Vec<(Instant, Vec<u8>)>,
    pub audio: Line,
    pub video: Line,
    repair: Line,
}

impl Line {
    /// The SRTP index of the packet numbered `sequence`: the one closest to the newest.
    fn index(&self, sequence: u16) -> Result<u64, String> {
        let Some(newest) = self.newest else { return Ok(u64::from(sequence)) };
        let ahead = sequence.wrapping_sub(newest as u16).cast_signed();
        let index = newest.checked_add_signed(i64::from(ahead));
        index
            .filter(|_| ahead.unsigned_abs() <= JUMP)
            .ok_or_else(|| format!("the numbers jump by {ahead} from {newest}"))
    }

    /// Whether a number of the stretch of one source around `index` was filled with padding: from
    /// then on nothing of it comes late, or a number would have two texts.
    pub fn is_sealed_around(&self, index: u64, source: Source) -> bool {
        let is_of_it = |(_, tag): &(&u64, &Tag)| tag.source == source;
        let first = self.sent.range(..=index).rev().take_while(is_of_it).last();
        let last = self.sent.range(index..).take_while(is_of_it).last();
        let (Some((first, _)), Some((last, _))) = (first, last) else { return false };
        let mut texts = self.texts.keys().filter(|at| (first..=last).contains(at));
        texts.any(|at| !self.sent.contains_key(at))
    }

    fn add(&mut self, index: u64, datagram: &[u8]) -> Result<(), String> {
        self.newest = self.newest.max(Some(index));
        match self.texts.insert(index, datagram.to_vec()) {
            Some(other) if other != datagram => Err(format!("index {index} seals two texts")),
            _ => Ok(()),
        }
    }

    fn name(&mut self, now: Instant, index: u64, tag: Tag) -> Result<(), String> {
        self.first.get_or_insert(now);
        self.last = Some(now);
        if tag.keyframe {
            self.keyframes.entry(tag).or_insert(now);
        }
        let other = self.by_tag.insert(tag, index).filter(|other| *other != index);
        // Who comes back to a layer may begin with what it had of it before.
        let has_left = |other: u64| {
            let mut between = self.sent.range(other.min(index)..=other.max(index));
            between.any(|(_, between)| between.source.layer != tag.source.layer)
        };
        if let Some(other) = other.filter(|other| !has_left(*other)) {
            return Err(format!("{tag:?} is sent as {other} and as {index}"));
        }
        self.sent.insert(index, tag);
        Ok(())
    }
}

impl Viewer {
    pub fn new(ssrcs: Ssrcs) -> Viewer {
        let (audio, video, repair) = <(Line, Line, Line)>::default();
        Viewer { ssrcs, opener: None, early: Vec::new(), audio, video, repair }
    }

    /// Its DTLS is done: what came before can be looked at.
    pub fn has_keys(&mut self, keys: &Keys) -> Result<(), String> {
        if self.opener.is_some() {
            return Ok(());
        }
        self.opener = Some(RtpOpener::new(keys.profile, &keys.remote));
        let early = std::mem::take(&mut self.early);
        early.iter().try_for_each(|(at, datagram)| self.sent(*at, datagram))
    }

    /// Whether an SSRC is one of its own.
    pub fn has(&self, ssrc: u32) -> bool {
        ssrc == self.ssrcs.audio || ssrc == self.ssrcs.video || Some(ssrc) == self.ssrcs.repair
    }

    /// The line with this SSRC, if it carries media.
    pub fn line(&self, ssrc: u32) -> Option<&Line> {
        if ssrc == self.ssrcs.audio {
            Some(&self.audio)
        } else {
            Some(&self.video).filter(|_| ssrc == self.ssrcs.video)
        }
    }

    /// Whether a datagram to it is video.
    pub fn is_video(&self, datagram: &[u8]) -> bool {
        rtp_name(datagram).0 == self.ssrcs.video
    }

    /// The server sends it an RTP datagram.
    pub fn sent(&mut self, now: Instant, datagram: &[u8]) -> Result<(), String> {
        if self.opener.is_none() {
            self.early.push((now, datagram.to_vec()));
            return Ok(());
        }
        let (ssrc, sequence) = rtp_name(datagram);
        if Some(ssrc) == self.ssrcs.repair {
            return self.sent_again(now, sequence, datagram);
        }
        let is_audio = ssrc == self.ssrcs.audio;
        let line = if is_audio { &self.audio } else { &self.video };
        let index = line.index(sequence)?;
        let payload = self.open(datagram, ssrc, index)?;
        if payload.is_empty() {
            return self.filled(index, datagram);
        }
        if !is_audio && self.ssrcs.repair.is_some() && line.texts.contains_key(&index) {
            return Err(format!("{index} is sent again, and not as RTX"));
        }
        let tag = Tag::read(&payload).ok_or_else(|| format!("{index} is no packet of ours"))?;
        let line = if is_audio { &mut self.audio } else { &mut self.video };
        line.add(index, datagram)?;
        line.name(now, index, tag)
    }

    /// A number of a layer that the viewer has left, under which nothing was ever sent, is padding
    /// from now on.
    fn filled(&mut self, index: u64, datagram: &[u8]) -> Result<(), String> {
        match self.video.newest.filter(|newest| index < *newest) {
            Some(_) if !self.video.sent.contains_key(&index) => self.video.add(index, datagram),
            _ => Err(format!("{index} is padding, and was something else, or may yet be")),
        }
    }

    /// A packet as RTX (RFC 4588): it must be what was sent under its original number, or padding.
    fn sent_again(&mut self, now: Instant, sequence: u16, datagram: &[u8]) -> Result<(), String> {
        let index = self.repair.index(sequence)?;
        if self.repair.texts.contains_key(&index) {
            return Err(format!("{index} of RTX is sent again"));
        }
        let payload = self.open(datagram, rtp_name(datagram).0, index)?;
        self.repair.add(index, datagram)?;
        // Padding, by which it is found out what the path carries.
        if payload.is_empty() {
            return Ok(());
        }
        let (original, payload) = payload.split_first_chunk::<2>().ok_or("RTX without a number")?;
        let original = self.video.index(u16::from_be_bytes(*original))?;
        let tag = Tag::read(payload).ok_or("RTX of no packet of ours")?;
        match self.video.sent.get(&original) {
            Some(sent) if *sent == tag => Ok(()),
            // It overtook the key frame that the viewer began with, and was not for it then.
            None if self.video.sent.keys().next().is_some_and(|first| *first < original) => {
                self.video.name(now, original, tag)
            }
            sent => Err(format!("{original} was {sent:?}, and is {tag:?} as RTX")),
        }
    }

    /// The payload of a datagram, without its padding.
    fn open(&self, datagram: &[u8], ssrc: u32, index: u64) -> Result<Vec<u8>, String> {
        let opener = self.opener.as_ref().ok_or("it has no keys")?;
        let mut packet = datagram.to_vec();
        let start = rtp::parse(datagram).map_err(|_why| "it is no RTP")?.header_len;
        let end = opener
            .open(&mut packet, start, ssrc, index)
            .map_err(|why| format!("{index} of {ssrc:x} does not open: {why:?}"))?;
        let is_padded = datagram[0] & 0x20 != 0;
        let padding = if is_padded { usize::from(packet[end - 1]) } else { 0 };
        Ok(packet[start..end - padding].to_vec())
    }
}
