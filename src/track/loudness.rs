//! How loud the tracks of a stream are, as the publisher says with each packet (RFC 6464).
//!
//! The shard that its packets come to first keeps a level of each track, with a load and a store a
//! packet and no state of its own. Whoever looks reads that, and pays for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::limits::{
    LEVEL_FALLS, LEVEL_OLD, LEVEL_RISES, LEVEL_STEP, MAX_TRACKS_OF_A_KIND, SPEECH_LEVEL,
    SPEECH_PAUSE,
};

/// Decibels below full scale of what is not heard at all.
const SILENCE: u8 = 127;

/// Parts of a decibel that a level is kept in.
const PARTS: i64 = 256;

/// How loud a track is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loudness {
    /// In decibels relative to full scale: 0 is the loudest there is, −127 silence.
    pub level: i8,
    /// Whether somebody speaks, or did half a second ago.
    pub speaks: bool,
}

/// The levels of a stream's audio tracks. They lie apart from what is read with each packet.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Levels {
    since: Instant,
    tracks: [Level; MAX_TRACKS_OF_A_KIND],
}

#[derive(Debug, Default)]
struct Level {
    /// When the last packet came, and the level then: see [`Heard`]. 0 before the first.
    heard: AtomicU64,
    /// The last millisecond that was as loud as speech.
    loud: AtomicU64,
}

/// A word: milliseconds from 1 on, and behind them 16 bits of the level.
#[derive(Clone, Copy)]
struct Heard {
    at: u64,
    level: i64,
}

impl Heard {
    fn to_word(self) -> u64 {
        self.at << 16 | self.level as u64
    }

    /// `None` before the first packet.
    fn from_word(word: u64) -> Option<Heard> {
        let heard = Heard { at: word >> 16, level: (word & 0xffff) as i64 };
        Some(heard).filter(|heard| heard.at > 0)
    }
}

const fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl Levels {
    /// Of a stream that was made `since`.
    pub fn new(since: Instant) -> Levels {
        Levels { since, tracks: Default::default() }
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.since);
        since.as_secs() * 1_000 + u64::from(since.subsec_millis()) + 1
    }

    /// A packet of an audio track has come that says this (RFC 6464 §3): the voice bit, which
    /// senders set as they like, and the level.
    #[inline]
    pub fn hear(&self, track: u8, now: Instant, said: u8) {
        let Some(Level { heard, loud }) = self.tracks.get(usize::from(track)) else { return };
        let (at, said) = (self.millis(now), i64::from(said & SILENCE) * PARTS);
        let silence = Heard { at: 0, level: i64::from(SILENCE) * PARTS };
        let before = Heard::from_word(heard.load(Ordering::Relaxed)).unwrap_or(silence);
        let passed = at.saturating_sub(before.at).min(millis(LEVEL_STEP)) as i64;
        let follows = if said < before.level { LEVEL_RISES } else { LEVEL_FALLS };
        let step = (said - before.level) * passed / (passed + millis(follows) as i64);
        let level = before.level + step;
        heard.store(Heard { at: at.max(before.at), level }.to_word(), Ordering::Relaxed);
        if level <= i64::from(SPEECH_LEVEL) * PARTS {
            loud.store(at, Ordering::Relaxed);
        }
    }

    /// How loud a track is; `None` where its publisher has never said so, or nothing comes.
    pub fn loudness(&self, track: u8, now: Instant) -> Option<Loudness> {
        let Level { heard, loud } = self.tracks.get(usize::from(track))?;
        let at = self.millis(now);
        let heard = Heard::from_word(heard.load(Ordering::Relaxed))?;
        let loud = Some(loud.load(Ordering::Relaxed)).filter(|loud| *loud > 0);
        let is_within = |past: u64, limit| at.saturating_sub(past) < millis(limit);
        is_within(heard.at, LEVEL_OLD).then(|| Loudness {
            level: -((heard.level + PARTS / 2) / PARTS) as i8,
            speaks: loud.is_some_and(|loud| is_within(loud, SPEECH_PAUSE)),
        })
    }

    /// Nobody sends anything any more.
    pub fn hush(&self) {
        for Level { heard, loud } in &self.tracks {
            heard.store(0, Ordering::Relaxed);
            loud.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said packet by packet, each `apart` milliseconds: what is heard after each.
    struct Talk {
        levels: Levels,
        now: Instant,
    }

    impl Talk {
        fn new() -> Talk {
            let now = Instant::now();
            Talk { levels: Levels::new(now), now }
        }

        fn say(&mut self, packets: usize, apart: u64, level: u8) -> Vec<Loudness> {
            let each = (0..packets).map(|_| {
                self.now += Duration::from_millis(apart);
                self.levels.hear(0, self.now, 0x80 | level);
                self.levels.loudness(0, self.now).expect("it was said just now")
            });
            each.collect()
        }

        fn pause(&mut self, time: u64) -> Option<Loudness> {
            self.now += Duration::from_millis(time);
            self.levels.loudness(0, self.now)
        }
    }

    fn first(heard: &[Loudness], speaks: bool) -> usize {
        heard.iter().position(|heard| heard.speaks == speaks).expect("it comes to that")
    }

    #[test]
    fn a_voice_is_heard_after_a_fifth_of_a_second_and_a_knock_is_none() {
        for (packets, apart) in [(50, 20), (100, 10), (17, 60)] {
            let mut talk = Talk::new();
            assert!(talk.say(packets, apart, 60).iter().all(|heard| !heard.speaks), "a room");
            let begins = (first(&talk.say(packets, apart, 25), true) as u64 + 1) * apart;
            assert!((60..=200).contains(&begins), "packets of {apart} ms: {begins}");
        }
        let mut talk = Talk::new();
        talk.say(50, 20, 60);
        assert!(talk.say(1, 20, 0).iter().all(|heard| !heard.speaks), "a knock");
        assert!(talk.say(50, 20, 60).iter().all(|heard| !heard.speaks));
    }

    #[test]
    fn words_are_one_speech_and_its_end_is_told_after_the_pause() {
        let mut talk = Talk::new();
        talk.say(50, 20, 25);
        for _ in 0..5 {
            assert!(talk.say(20, 20, 70).iter().all(|heard| heard.speaks), "between two words");
            talk.say(20, 20, 25);
        }
        let ends = (first(&talk.say(100, 20, 127), false) + 1) * 20;
        assert!((500..=700).contains(&ends), "{ends}");
        let quiet = talk.say(200, 20, 127);
        assert!(quiet.last().is_some_and(|heard| heard.level <= -120), "{:?}", quiet.last());
    }

    #[test]
    fn who_pauses_by_sending_less_or_nothing_is_silent() {
        let mut talk = Talk::new();
        talk.say(50, 20, 25);
        let dtx = talk.say(5, 400, 127);
        assert_eq!(first(&dtx, false), 1, "{dtx:?}");
        assert!(talk.say(1, 400, 20).iter().all(|heard| !heard.speaks), "one packet is a knock");
        talk.say(50, 20, 25);
        assert!(talk.pause(499).is_some_and(|heard| heard.speaks));
        assert!(talk.pause(1).is_some_and(|heard| !heard.speaks));
        assert_eq!(talk.pause(500), None, "nothing comes");
    }

    #[test]
    fn what_was_never_said_or_is_over_is_no_level() {
        let mut talk = Talk::new();
        assert_eq!(talk.pause(0), None);
        talk.say(20, 20, 10);
        assert_eq!(talk.levels.loudness(1, talk.now), None, "another track");
        talk.levels.hear(200, talk.now, 10);
        assert_eq!(talk.levels.loudness(200, talk.now), None, "there is none such");
        talk.levels.hush();
        assert_eq!(talk.pause(0), None, "its publisher has left");
    }
}
