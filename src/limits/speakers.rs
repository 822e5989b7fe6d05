//! Who speaks: levels of sound (RFC 6464), in decibels below full scale.

use std::time::Duration;

/// Sound counts as speech from here on: voices that an automatic gain has brought to their level
/// lie between 15 and 35, rooms below 50.
pub const SPEECH_LEVEL: u8 = 40;

/// How a level follows one that is louder: a voice counts as speech after a fifth of a second, and
/// a knock does not.
pub const LEVEL_RISES: Duration = Duration::from_millis(100);

/// How it follows one that is quieter: the gap between two syllables is none.
pub const LEVEL_FALLS: Duration = Duration::from_millis(300);

/// One packet stands for so much sound at most: the longest that Opus has in browsers. A pause
/// before it (DTX) was silence.
pub const LEVEL_STEP: Duration = Duration::from_millis(60);

/// Nobody is said to have stopped speaking before so long a pause: that between two words.
pub const SPEECH_PAUSE: Duration = Duration::from_millis(500);

/// A level is none any more when no packet has come for so long; with DTX one comes each 400 ms.
pub const LEVEL_OLD: Duration = Duration::from_secs(1);

/// How often levels are looked at for those who listen to `speakers`.
pub const SPEAKERS_LOOK: Duration = Duration::from_millis(250);

/// A level that has changed by so much is told again.
pub const LEVEL_TOLD: u8 = 3;

/// Of those who speak so many are told, the loudest: more can't be told apart by ear, nor shown.
pub const MAX_SPEAKERS: usize = 16;

const _: () = assert!(
    SPEAKERS_LOOK.as_millis() <= SPEECH_PAUSE.as_millis(),
    "who says one word is seen to speak"
);
