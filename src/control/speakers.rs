//! Who speaks, in all streams or in one.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use super::{Control, ControlError};
use crate::limits::{LEVEL_TOLD, MAX_SPEAKERS, SESSIONS_PER_LOOK};
use crate::track::StreamShared;

/// An audio track in which somebody speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// Its stream.
    pub stream: Arc<str>,
    /// Its number among the stream's audio tracks.
    pub track: u8,
    /// In decibels relative to full scale.
    pub level: i8,
}

/// Who speaks at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speakers {
    /// The loudest first; [`MAX_SPEAKERS`] at most.
    pub loudest: Vec<Speaker>,
    /// How many there are.
    pub count: usize,
}

/// The sound of a stream, to be looked at without a lock.
pub struct Sound {
    stream: Arc<str>,
    shared: Arc<StreamShared>,
}

impl Sound {
    /// Who speaks.
    #[must_use]
    pub fn speakers(&self, now: Instant) -> Speakers {
        let mut speakers = Speakers::default();
        speakers.add(now, &self.stream, &self.shared);
        speakers
    }
}

impl Speakers {
    fn add(&mut self, now: Instant, stream: &Arc<str>, shared: &StreamShared) {
        let speaking = shared.loudness(now).filter(|(_, loudness)| loudness.speaks);
        for (track, loudness) in speaking {
            self.count += 1;
            let level = loudness.level;
            let place = self.loudest.partition_point(|louder| louder.level >= level);
            if place < MAX_SPEAKERS {
                self.loudest.truncate(MAX_SPEAKERS - 1);
                self.loudest.insert(place, Speaker { stream: stream.clone(), track, level });
            }
        }
    }

    /// Whether who was told of `before` is to be told of these: others speak, or somebody by some
    /// decibels louder or less loud.
    #[must_use]
    pub fn differ(&self, before: &Speakers) -> bool {
        let near = |speaker: &Speaker| {
            let same =
                |told: &&Speaker| (&told.stream, told.track) == (&speaker.stream, speaker.track);
            let told = before.loudest.iter().find(same);
            told.is_some_and(|told| told.level.abs_diff(speaker.level) < LEVEL_TOLD)
        };
        self.count != before.count
            || self.loudest.len() != before.loudest.len()
            || !self.loudest.iter().all(near)
    }
}

impl Control {
    /// Who speaks in any stream. Streams are looked at in steps, so that nobody waits long for the
    /// lock.
    #[must_use]
    pub fn speakers(&self, now: Instant) -> Speakers {
        let mut speakers = Speakers::default();
        let mut after: Option<Arc<str>> = None;
        loop {
            let registry = self.lock();
            let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let behind = registry.streams.range::<str, _>((start, Bound::Unbounded));
            let (mut looked, mut last) = (0, None);
            for (name, stream) in behind.take(SESSIONS_PER_LOOK) {
                speakers.add(now, name, &stream.shared);
                (looked, last) = (looked + 1, Some(name));
            }
            if looked < SESSIONS_PER_LOOK {
                return speakers;
            }
            let last = last.cloned();
            drop(registry);
            after = last;
        }
    }

    /// The sound of the stream of the session with this id.
    ///
    /// # Errors
    /// 404 or 410 when there is no such session.
    pub fn sound_of(&self, id: &str) -> Result<Sound, ControlError> {
        let registry = self.lock();
        let live = registry.sessions.get(id).and_then(|key| registry.live.get(key));
        let stream = live.and_then(|live| registry.streams.get_key_value(&live.stream));
        let (name, stream) = stream.ok_or_else(|| registry.ended.gone(id))?;
        Ok(Sound { stream: name.clone(), shared: stream.shared.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;
    use crate::id::{StreamKey, TrackId, TrackKind};

    fn speaker(name: &str, level: i8) -> Speaker {
        Speaker { stream: name.into(), track: 0, level }
    }

    fn speakers(loudest: Vec<Speaker>) -> Speakers {
        Speakers { count: loudest.len(), loudest }
    }

    #[test]
    fn the_loudest_are_told_first_and_only_so_many() {
        let now = Instant::now();
        let mut all = Speakers::default();
        for number in 0..MAX_SPEAKERS as u8 + 5 {
            let shared = StreamShared::new(StreamKey { index: number.into(), generation: 0 });
            let track = TrackId { kind: TrackKind::Audio, number: 1 };
            // Two out of order, and all of them long enough.
            let level = 10 + (number ^ 1);
            let at = |packet: u64| now + std::time::Duration::from_millis(20 * packet);
            (0..200).for_each(|packet| shared.hear(track, at(packet), level));
            all.add(at(200), &format!("s{number}").into(), &shared);
        }
        assert_eq!((all.count, all.loudest.len()), (MAX_SPEAKERS + 5, MAX_SPEAKERS));
        assert_eq!(all.loudest[0], Speaker { track: 1, ..speaker("s1", -10) });
        assert!(all.loudest.is_sorted_by_key(|speaker| Reverse(speaker.level)), "{all:?}");
    }

    #[test]
    fn what_has_hardly_changed_is_not_told_again() {
        let before = speakers(vec![speaker("a", -20), speaker("b", -30)]);
        let told = |loudest: Vec<Speaker>| speakers(loudest).differ(&before);
        assert!(!told(vec![speaker("a", -22), speaker("b", -28)]));
        assert!(told(vec![speaker("a", -23), speaker("b", -30)]));
        assert!(told(vec![speaker("a", -20)]) && told(vec![]));
        assert!(told(vec![speaker("a", -20), speaker("c", -30)]));
        assert!(!speakers(vec![]).differ(&Speakers::default()));
    }
}
