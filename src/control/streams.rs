//! One stream as control knows it: who publishes it, who would, and who watches.
//!
//! A POST makes a **candidate**. It becomes the publisher when its shard reports that it is
//! connected and its first media is there; until then whoever published the stream before goes on,
//! and nobody is disturbed by one that never connects.

use std::collections::VecDeque;
use std::sync::Arc;

use super::links::KnownLink;
use super::viewers::Viewers;
use crate::id::{SessionKey, StreamKey};
use crate::limits::MAX_CANDIDATES_PER_STREAM;
use crate::session::StreamCodecs;
use crate::track::StreamShared;

/// A stream that somebody publishes, would publish or watches.
pub(super) struct Stream {
    pub shared: Arc<StreamShared>,
    /// What viewers are answered: the codecs of the publisher, or of the one that is expected.
    pub codecs: StreamCodecs,
    /// Who publishes it.
    publisher: Option<SessionKey>,
    /// The number that the shards gave the last publisher.
    number: u32,
    /// Those whose media has not come, the oldest first, with the codecs each was answered.
    candidates: VecDeque<(SessionKey, StreamCodecs)>,
    pub viewers: Viewers<SessionKey>,
    /// Set-ups under way: the stream must not go while one is.
    pub reserved: usize,
    /// Whether a later process, or another node, has its publisher from here on.
    pub moved_on: bool,
    /// The link that brings it from the node where it is published.
    pub brought: Option<KnownLink>,
    /// Links that take it to other nodes.
    pub taken: Vec<KnownLink>,
}

impl Stream {
    pub fn new(key: StreamKey) -> Stream {
        Stream {
            shared: Arc::new(StreamShared::new(key)),
            codecs: StreamCodecs::default(),
            publisher: None,
            number: 0,
            candidates: VecDeque::new(),
            viewers: Viewers::default(),
            reserved: 0,
            moved_on: false,
            brought: None,
            taken: Vec::new(),
        }
    }

    /// Whether somebody here waits for it, or another node that takes it from here, though nobody
    /// publishes it here, and no link brings it.
    pub fn is_awaited(&self) -> bool {
        let is_taken = !self.viewers.is_empty() || !self.taken.is_empty();
        let is_brought = self.brought.as_ref().is_some_and(KnownLink::is_alive);
        !is_brought && self.publisher().is_none() && is_taken
    }

    /// The shard from which it goes to other nodes: the publisher's, while that is the newest
    /// anywhere, or the one that a link brings it to, even while that does not.
    pub fn feeding_shard(&self) -> Option<u16> {
        let brought = self.brought.as_ref().map(|link| link.shard);
        self.publisher().filter(|_| !self.moved_on).map(|key| key.shard).or(brought)
    }

    /// Who publishes it; nobody while there are only candidates.
    pub fn publisher(&self) -> Option<SessionKey> {
        self.publisher
    }

    /// Who publishes it, or is expected to.
    pub fn expected(&self) -> Option<SessionKey> {
        self.publisher.or_else(|| self.candidates.front().map(|(key, _)| *key))
    }

    /// The shard that its packets come to first, or are expected to.
    pub fn home(&self) -> Option<u16> {
        let brought = self.brought.as_ref().filter(|link| !link.is_over()).map(|link| link.shard);
        self.expected().map(|key| key.shard).or(brought)
    }

    /// Those whose media has not come.
    pub fn candidates(&self) -> impl Iterator<Item = SessionKey> + '_ {
        self.candidates.iter().map(|(key, _)| *key)
    }

    /// Takes in a candidate that was answered `codecs`. Returns the oldest one when there are too
    /// many.
    pub fn apply(&mut self, key: SessionKey, codecs: StreamCodecs) -> Option<SessionKey> {
        self.candidates.push_back((key, codecs));
        let one_too_many = self.candidates.len() > MAX_CANDIDATES_PER_STREAM;
        let gone = one_too_many.then(|| self.candidates.pop_front()).flatten();
        self.expect();
        gone.map(|(key, _)| key)
    }

    /// The publisher `key`, which was answered `codecs`, is connected and its media is there.
    /// Returns whom it replaces; itself where one with a greater `number` was reported before it,
    /// by another shard.
    pub fn live(
        &mut self,
        key: SessionKey,
        number: u32,
        codecs: StreamCodecs,
    ) -> Option<SessionKey> {
        self.candidates.retain(|(candidate, _)| *candidate != key);
        if number.wrapping_sub(self.number) as i32 <= 0 {
            return Some(key);
        }
        self.number = number;
        self.codecs = codecs;
        self.moved_on = false;
        self.publisher.replace(key).filter(|former| *former != key)
    }

    /// The publisher or candidate `key` sends `codecs`, and not what was expected of it.
    pub fn switched(&mut self, key: SessionKey, codecs: StreamCodecs) {
        for (candidate, answered) in &mut self.candidates {
            if *candidate == key {
                *answered = codecs;
            }
        }
        if self.publisher == Some(key) {
            self.codecs = codecs;
        }
        self.expect();
    }

    /// The session `key` is no more.
    pub fn leave(&mut self, key: SessionKey) {
        if self.publisher == Some(key) {
            self.publisher = None;
        }
        self.candidates.retain(|(candidate, _)| *candidate != key);
        self.viewers.leave(key);
        self.expect();
    }

    /// Whether nothing would be missed without it.
    pub fn is_unused(&self) -> bool {
        let has_links = self.brought.is_some() || !self.taken.is_empty();
        self.expected().is_none() && self.viewers.is_empty() && self.reserved == 0 && !has_links
    }

    /// A viewer takes `codecs`. Where nobody has ever said what will come, a publisher that offers
    /// that is answered so.
    pub fn expect_what_is_taken(&mut self, codecs: StreamCodecs) {
        if self.expected().is_none() && self.codecs == StreamCodecs::default() {
            self.codecs = codecs;
        }
    }

    /// Without a publisher, viewers are answered for the one that comes next. Those of the last one
    /// stay where nobody is expected: viewers of it may wait for its return.
    fn expect(&mut self) {
        if self.publisher.is_none()
            && let Some((_, codecs)) = self.candidates.front()
        {
            self.codecs = *codecs;
        }
    }
}

#[cfg(test)]
mod tests {
    use str0m::format::{Codec, CodecSpec, FormatParams};

    use super::*;

    fn key(slot: u32) -> SessionKey {
        SessionKey { shard: 0, slot, generation: 0 }
    }

    fn codecs(codec: Codec) -> StreamCodecs {
        let spec = CodecSpec {
            codec,
            clock_rate: str0m::media::Frequency::NINETY_KHZ,
            channels: None,
            format: FormatParams::default(),
        };
        StreamCodecs { audio: None, video: Some(spec) }
    }

    fn stream() -> Stream {
        Stream::new(StreamKey { index: 0, generation: 0 })
    }

    #[test]
    fn a_candidate_changes_nothing_until_its_media_comes() {
        let (vp8, h264) = (codecs(Codec::Vp8), codecs(Codec::H264));
        let mut stream = stream();
        assert_eq!(stream.apply(key(1), vp8), None);
        assert_eq!((stream.publisher(), stream.expected()), (None, Some(key(1))));
        assert_eq!(stream.codecs, vp8, "viewers are answered for the one that is expected");
        assert_eq!(stream.live(key(1), 1, vp8), None);
        stream.apply(key(2), h264);
        assert_eq!((stream.publisher(), stream.codecs), (Some(key(1)), vp8));
        stream.moved_on = true;
        assert_eq!(stream.live(key(2), 2, h264), Some(key(1)));
        assert!(!stream.moved_on, "it has come back");
        stream.leave(key(1));
        assert_eq!((stream.publisher(), stream.codecs), (Some(key(2)), h264));
        stream.leave(key(2));
        assert!(stream.is_unused() && stream.codecs == h264);
    }

    #[test]
    fn of_two_that_went_live_at_once_the_later_one_stays_whoever_is_heard_of_first() {
        let mut stream = stream();
        stream.apply(key(1), codecs(Codec::Vp8));
        stream.apply(key(2), codecs(Codec::Vp8));
        assert_eq!(stream.live(key(2), 8, codecs(Codec::Vp8)), None);
        assert_eq!(stream.live(key(1), 7, codecs(Codec::Vp8)), Some(key(1)));
        assert_eq!(stream.publisher(), Some(key(2)));
    }

    #[test]
    fn the_oldest_of_too_many_candidates_gives_way() {
        let mut stream = stream();
        for number in 0..MAX_CANDIDATES_PER_STREAM as u32 {
            assert_eq!(stream.apply(key(number), codecs(Codec::Vp8)), None);
        }
        assert_eq!(stream.apply(key(99), codecs(Codec::Vp9)), Some(key(0)));
        assert_eq!(stream.candidates().count(), MAX_CANDIDATES_PER_STREAM);
        assert_eq!(stream.codecs, codecs(Codec::Vp8), "the next oldest is expected");
    }
}
