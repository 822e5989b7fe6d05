//! Answers by template: what was answered to one client is answered to the next whose offer is the
//! same but for its names and keys.
//!
//! Reading an offer and writing its answer is most of what a set-up costs, and browsers of
//! one kind offer the same each time. So an answer is kept with holes for what is a session's own:
//! ICE credentials, SSRCs, the number of the SDP session. It is kept only once its session has
//! connected, so that nobody fills the place with offers that nothing comes of, and the one that
//! was used longest ago makes room.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use siphasher::sip128::{Hasher128, SipHasher24};
use str0m::format::CodecSpec;
use str0m::media::Mid;

use super::StreamCodecs;
use super::answering::{LocalIce, Terms};
use super::renegotiate::ViewerSection;
use super::sdp::Offered;
use crate::limits::{MAX_TEMPLATES, TEMPLATE_BYTES};
use crate::media::{PublisherTerms, ViewerTerms};

/// What an offer asks, whoever it is of: a keyed hash, so that nobody makes two alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(u128);

#[cfg(test)]
impl Digest {
    pub fn of_nothing() -> Digest {
        Digest(0)
    }
}

/// An answer that was given, and what of it the next one has, too.
#[derive(Clone, Debug)]
pub struct Template {
    pub(super) asked: Asked,
    pub(super) answer: Vec<Piece>,
    pub(super) takes: ViewerTerms,
    pub(super) sections: Vec<ViewerSection>,
    pub(super) terms: Terms,
    pub(super) mids: Vec<Mid>,
    pub(super) is_dtls_client: bool,
    pub(super) taken: StreamCodecs,
    /// Of a publisher.
    pub(super) publishes: Option<Published>,
}

/// What of a publisher's session the next one has, too.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// Without its sources.
    pub terms: PublisherTerms,
    pub payloads: Arc<[(u8, CodecSpec)]>,
}

/// All that an answer depends on but for its holes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub offer: Digest,
    /// What the stream carried before.
    pub carried: StreamCodecs,
    pub candidates: Box<[SocketAddr]>,
    pub tcp_candidates: Box<[SocketAddr]>,
}

impl Template {
    /// Bytes of memory that it takes, its codecs aside, which sessions share.
    fn bytes(&self) -> usize {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.capacity(),
            _ => 0,
        };
        let pieces = self.answer.capacity() * size_of::<Piece>();
        let tracks = size_of_val(&self.takes.tracks[..]) + size_of_val(&self.sections[..]);
        let answer = self.answer.iter().map(text).sum::<usize>();
        let answered = self.publishes.iter().flat_map(|published| &published.terms.tracks);
        let answered: usize =
            answered.map(|track| size_of_val(track) + size_of_val(&track.answered[..])).sum();
        size_of::<Template>() + answer + pieces + tracks + answered
    }
}

impl Asked {
    fn is(&self, offer: Digest, local: &LocalIce<'_>, carried: &StreamCodecs) -> bool {
        self.offer == offer
            && self.carried == *carried
            && *self.candidates == *local.candidates
            && *self.tcp_candidates == *local.tcp_candidates
    }
}

/// A part of an answer's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Ufrag,
    Password,
    /// The number of the SDP session (RFC 8866 §5.2).
    SessionId,
    /// One of the SSRCs of [`ssrcs`], by its place there.
    Ssrc(usize),
}

/// What fills the holes.
pub(super) struct Holes<'a> {
    pub ufrag: &'a str,
    pub password: &'a str,
    pub session_id: u64,
    pub ssrcs: &'a [u32],
}

/// The SSRCs of sections, in their order.
pub(super) fn ssrcs(sections: &[ViewerSection]) -> Vec<u32> {
    let of = |section: &ViewerSection| [Some(*section.ssrc), section.rtx_ssrc.map(|rtx| *rtx)];
    sections.iter().flat_map(of).flatten().collect()
}

/// Takes an answer apart that has these in it; `None` where it has an SSRC of nobody's.
pub(super) fn take_apart(answer: &str, holes: &Holes<'_>) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let place = |ssrc: &str| {
        let ssrc: u32 = ssrc.parse().ok()?;
        holes.ssrcs.iter().position(|known| *known == ssrc).map(Piece::Ssrc)
    };
    // Candidates say whose they are, too.
    let named = format!(" ufrag {}", holes.ufrag);
    for line in answer.lines() {
        if line.strip_prefix("a=ice-ufrag:") == Some(holes.ufrag) {
            write(&mut pieces, "a=ice-ufrag:");
            pieces.push(Piece::Ufrag);
        } else if line.strip_prefix("a=ice-pwd:") == Some(holes.password) {
            write(&mut pieces, "a=ice-pwd:");
            pieces.push(Piece::Password);
        } else if let Some(ssrcs) = line.strip_prefix("a=ssrc-group:FID ") {
            let (media, repair) = ssrcs.split_once(' ')?;
            write(&mut pieces, "a=ssrc-group:FID ");
            pieces.push(place(media)?);
            write(&mut pieces, " ");
            pieces.push(place(repair)?);
        } else if let Some(rest) = line.strip_prefix("a=ssrc:") {
            let (ssrc, attribute) = rest.split_once(' ')?;
            write(&mut pieces, "a=ssrc:");
            pieces.push(place(ssrc)?);
            write(&mut pieces, " ");
            write(&mut pieces, attribute);
        } else if let Some(candidate) = line.strip_suffix(&named) {
            write(&mut pieces, candidate);
            write(&mut pieces, " ufrag ");
            pieces.push(Piece::Ufrag);
        } else if line.starts_with("o=") {
            let mut words = line.splitn(3, ' ');
            let (name, _id, rest) = (words.next()?, words.next()?, words.next()?);
            write(&mut pieces, name);
            write(&mut pieces, " ");
            pieces.push(Piece::SessionId);
            write(&mut pieces, " ");
            write(&mut pieces, rest);
        } else {
            write(&mut pieces, line);
        }
        write(&mut pieces, "\r\n");
    }
    Some(pieces)
}

fn write(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// The answer with these in it.
pub(super) fn put_together(pieces: &[Piece], holes: &Holes<'_>) -> String {
    let mut answer = String::with_capacity(4_096);
    for piece in pieces {
        match piece {
            Piece::Text(text) => answer.push_str(text),
            Piece::Ufrag => answer.push_str(holes.ufrag),
            Piece::Password => answer.push_str(holes.password),
            Piece::SessionId => answer.push_str(&holes.session_id.to_string()),
            Piece::Ssrc(place) => answer.push_str(&holes.ssrcs[*place].to_string()),
        }
    }
    answer
}

/// The templates there are, the one used last at the end.
pub(super) struct Templates {
    key: [u8; 16],
    known: Mutex<VecDeque<Arc<Template>>>,
    used: AtomicU64,
    missed: AtomicU64,
}

impl Templates {
    /// None yet.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn new() -> Templates {
        let mut key = [0; 16];
        getrandom::fill(&mut key).expect("the operating system gives random bytes");
        let (used, missed) = Default::default();
        Templates { key, known: Mutex::default(), used, missed }
    }

    /// What an offer asks.
    pub fn digest(&self, offered: &Offered) -> Digest {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        offered.hash_without_its_own(&mut hasher);
        Digest(hasher.finish128().as_u128())
    }

    /// Whether such an offer was answered before, of whatever stream.
    pub fn know(&self, offer: Digest) -> bool {
        self.lock().iter().any(|template| template.asked.offer == offer)
    }

    /// What a publisher of such an offer was taken to send, where its stream carried `current`.
    pub fn taken(&self, offer: Digest, current: &StreamCodecs) -> Option<StreamCodecs> {
        let known = self.lock();
        let alike =
            |known: &&Arc<Template>| known.asked.offer == offer && known.asked.carried == *current;
        known.iter().find(alike).map(|template| template.taken)
    }

    pub fn find(
        &self,
        offer: Digest,
        local: &LocalIce<'_>,
        carried: &StreamCodecs,
    ) -> Option<Arc<Template>> {
        let mut known = self.lock();
        let place = known.iter().position(|known| known.asked.is(offer, local, carried))?;
        let found = known.remove(place)?;
        known.push_back(found.clone());
        Some(found)
    }

    /// A first offer was answered, by template or without one.
    pub fn count(&self, by_template: bool) {
        let counter = if by_template { &self.used } else { &self.missed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// First offers that were answered by template, and without one.
    pub fn counts(&self) -> (u64, u64) {
        (self.used.load(Ordering::Relaxed), self.missed.load(Ordering::Relaxed))
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self) -> usize {
        self.lock().iter().map(|template| template.bytes()).sum()
    }

    pub fn keep(&self, template: Template) {
        if template.bytes() > TEMPLATE_BYTES {
            return;
        }
        let mut known = self.lock();
        if known.iter().any(|other| other.asked == template.asked) {
            return;
        }
        if known.len() == MAX_TEMPLATES {
            known.pop_front();
        }
        known.push_back(Arc::new(template));
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Template>>> {
        // Nothing in here is left half done by a panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
