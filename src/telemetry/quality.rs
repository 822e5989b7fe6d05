//! How good one connection is, in one number: 0 to 100, per session and direction.
//!
//! Each window of a few seconds is judged by three scores, of which the worst counts:
//!
//! - **packets**: `100 − delay − loss`. The delay is half the round trip and twice the jitter; `d`
//!   milliseconds of it cost `d / 40` up to 160 and `(d − 120) / 10` beyond (the bend of ITU-T
//!   G.107's delay impairment). A per cent of loss costs 10 in video and 8 in audio; what a resend
//!   has repaired counts a quarter. In a thin stream one packet is many per cent: below the rate of
//!   a full stream (50 packets a second of audio, 30 of video) the weight falls with the square
//!   root of the rate, so that an Opus sender that pauses (DTX) is not called lost over one packet.
//! - **bitrate**: `100 − 20 · ln(expected / actual)`; getting more than expected is no merit.
//! - **layer**: `100 − 35` for each simulcast layer below the best there is.
//!
//! Windows are smoothed, faster down than up: of a fall 80 % counts after five seconds, of a rise
//! 40 %. Then **above 80 is excellent, above 40 good, above 20 poor, the rest lost**, and the mean
//! opinion score is that of G.107 for `R` = score, within 1 and 4.5.
//!
//! The method and its weights are those LiveKit publishes, with four differences: a window says
//! nothing when its source is silent or paused (neither 100 at once nor "dry": a viewer is not lost
//! because nobody speaks), silence of a peer that should be heard is the only way to "lost" without
//! packets, the rate of a full stream is a constant and no mode of what was seen, and directions
//! are never mixed: a publisher's score is of its way up, a viewer's of its way down.

/// What happened on one way in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// How long it was, in seconds.
    pub seconds: f32,
    /// Whether it was video, or had any, rather than audio alone.
    pub video: bool,
    /// Packets that should have arrived.
    pub packets: u32,
    /// Of these, packets that did not.
    pub lost: u32,
    /// Of the lost, packets that were sent again.
    pub repaired: u32,
    /// Interarrival jitter in microseconds (RFC 3550 §6.4.1).
    pub jitter_us: u32,
    /// Round trip in microseconds, where it is known.
    pub rtt_us: Option<u32>,
    /// Bits a second that were sent (down) or arrived (up).
    pub bits_per_s: u32,
    /// Bits a second there should have been; 0 where that is not known.
    pub expected_bits_per_s: u32,
    /// Simulcast layers below the best one, on average.
    pub layer_distance: f32,
    /// Whether anything was heard of the peer: media, a report, a check.
    pub heard: bool,
    /// Whether there was nothing to send: the source was silent or paused.
    pub silent: bool,
}

/// A score in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// At most 20.
    Lost,
    /// Above 20.
    Poor,
    /// Above 40.
    Good,
    /// Above 80.
    Excellent,
}

impl Level {
    /// All, worst first.
    pub const ALL: [Level; 4] = [Level::Lost, Level::Poor, Level::Good, Level::Excellent];

    /// The level of a score.
    #[must_use]
    pub fn of(score: f32) -> Level {
        match score {
            score if score > 80.0 => Level::Excellent,
            score if score > 40.0 => Level::Good,
            score if score > 20.0 => Level::Poor,
            _ => Level::Lost,
        }
    }

    /// The word of the API and the metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Level::Lost => "lost",
            Level::Poor => "poor",
            Level::Good => "good",
            Level::Excellent => "excellent",
        }
    }
}

/// The running score of one way of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality(Option<f32>);

/// What a silent peer's window scores: the upper end of [`Level::Lost`].
const UNHEARD: f32 = 20.0;

impl Quality {
    /// The score, 0 to 100; `None` before the first window that says anything.
    #[must_use]
    pub fn score(&self) -> Option<f32> {
        self.0
    }

    /// Takes a window in and returns the score after it.
    pub fn update(&mut self, window: &Window) -> Option<f32> {
        let Some(sample) = sample(window) else { return self.0 };
        let score = match self.0 {
            None => sample,
            Some(score) => {
                let of_five_seconds: f32 = if sample < score { 0.8 } else { 0.4 };
                let windows = (window.seconds / 5.0).clamp(0.0, 1.0);
                let factor = 1.0 - (1.0 - of_five_seconds).powf(windows);
                score + factor * (sample - score)
            }
        };
        self.0 = Some(score.clamp(0.0, 100.0));
        self.0
    }
}

/// The mean opinion score that belongs to a score (ITU-T G.107 annex B), 1 to 4.5.
#[must_use]
pub fn mos(score: f32) -> f32 {
    let mos = 1.0 + 0.035 * score + 7e-6 * score * (score - 60.0) * (100.0 - score);
    mos.clamp(1.0, 4.5)
}

/// The score of one window alone; `None` when it says nothing.
fn sample(window: &Window) -> Option<f32> {
    if !window.heard {
        return Some(UNHEARD);
    }
    if window.silent || window.packets == 0 {
        return None;
    }
    let scores = [packet_score(window), bitrate_score(window), layer_score(window)];
    Some(scores.into_iter().fold(100.0, f32::min).clamp(0.0, 100.0))
}

fn packet_score(window: &Window) -> f32 {
    let one_way_us = window.rtt_us.unwrap_or(0) as f32 / 2.0 + window.jitter_us as f32 * 2.0;
    let delay_ms = one_way_us / 1_000.0;
    let delay = if delay_ms > 160.0 { (delay_ms - 120.0) / 10.0 } else { delay_ms / 40.0 };
    let (weight, full_rate) = if window.video { (10.0, 30.0) } else { (8.0, 50.0) };
    let packets = window.packets as f32;
    let lost = window.lost.min(window.packets);
    let repaired = window.repaired.min(lost);
    let unrepaired = (lost - repaired) as f32 + repaired as f32 / 4.0;
    let rate = packets / window.seconds.max(0.1);
    let weight = if lost == window.packets {
        // Nothing came: however few they were, that is not chance.
        weight
    } else {
        weight * (rate / full_rate).min(1.0).sqrt()
    };
    100.0 - delay - unrepaired * 100.0 / packets * weight
}

fn bitrate_score(window: &Window) -> f32 {
    if window.expected_bits_per_s <= window.bits_per_s {
        return 100.0;
    }
    let expected = window.expected_bits_per_s as f32;
    100.0 - 20.0 * (expected / window.bits_per_s.max(1) as f32).ln()
}

fn layer_score(window: &Window) -> f32 {
    100.0 - 35.0 * window.layer_distance
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five seconds of flawless video.
    const GOOD: Window = Window {
        seconds: 5.0,
        video: true,
        packets: 500,
        lost: 0,
        repaired: 0,
        jitter_us: 0,
        rtt_us: Some(0),
        bits_per_s: 1_000_000,
        expected_bits_per_s: 1_000_000,
        layer_distance: 0.0,
        heard: true,
        silent: false,
    };

    fn level(window: Window) -> Level {
        Level::of(sample(&window).expect("it says something"))
    }

    #[test]
    fn loss_is_judged_as_published_for_video_and_audio() {
        assert_eq!(sample(&GOOD), Some(100.0));
        assert_eq!(level(Window { lost: 9, ..GOOD }), Level::Excellent, "1.8 % of video");
        assert_eq!(level(Window { lost: 10, ..GOOD }), Level::Good, "2 %");
        assert_eq!(level(Window { lost: 30, ..GOOD }), Level::Poor, "6 %");
        let audio = Window { video: false, packets: 250, ..GOOD };
        assert_eq!(level(Window { lost: 6, ..audio }), Level::Excellent, "2.4 % of audio");
        assert_eq!(level(Window { lost: 19, ..audio }), Level::Poor, "7.6 %");
        let repaired = Window { lost: 10, repaired: 10, ..GOOD };
        assert_eq!(sample(&repaired), Some(95.0), "a quarter, when repaired");
    }

    #[test]
    fn nothing_arriving_is_lost_and_nothing_sent_says_nothing() {
        assert_eq!(sample(&Window { lost: 500, ..GOOD }), Some(0.0));
        assert_eq!(sample(&Window { packets: 1, lost: 1, ..GOOD }), Some(0.0));
        assert_eq!(sample(&Window { packets: 3, lost: 9, ..GOOD }), Some(0.0), "more than all");
        assert_eq!(sample(&Window { packets: 0, ..GOOD }), None);
        assert_eq!(sample(&Window { silent: true, lost: 500, ..GOOD }), None);
        assert_eq!(level(Window { heard: false, silent: true, ..GOOD }), Level::Lost);
    }

    #[test]
    fn a_pausing_opus_sender_is_not_lost_over_one_packet() {
        // DTX sends one packet in 400 ms; one of twelve is 8 %.
        let dtx = Window { video: false, packets: 12, lost: 1, ..GOOD };
        assert_eq!(level(dtx), Level::Excellent);
        assert_eq!(level(Window { packets: 250, lost: 21, ..dtx }), Level::Poor, "8 % of speech");
    }

    #[test]
    fn delay_bitrate_and_layers_pull_down_and_the_worst_counts() {
        let slow = Window { rtt_us: Some(320_000), ..GOOD };
        assert_eq!(sample(&slow), Some(96.0), "160 ms one way");
        let jittery = Window { rtt_us: None, jitter_us: 110_000, ..GOOD };
        assert_eq!(sample(&jittery), Some(90.0), "220 ms, beyond the bend");
        let half = Window { bits_per_s: 500_000, ..GOOD };
        assert_eq!(sample(&half).map(f32::round), Some(86.0));
        assert_eq!(sample(&Window { bits_per_s: 0, ..GOOD }), Some(0.0));
        assert_eq!(sample(&Window { bits_per_s: 9_000_000, ..GOOD }), Some(100.0));
        let low = Window { layer_distance: 2.0, bits_per_s: 500_000, ..GOOD };
        assert_eq!(sample(&low), Some(30.0), "two layers down outweighs half the bits");
    }

    #[test]
    fn scores_fall_fast_rise_slowly_and_hold_while_the_source_is_silent() {
        let mut quality = Quality::default();
        assert_eq!(quality.update(&Window { silent: true, ..GOOD }), None);
        assert_eq!(quality.update(&GOOD), Some(100.0));
        let fallen = quality.update(&Window { lost: 500, ..GOOD }).expect("a score");
        assert!((fallen - 20.0).abs() < 0.01, "{fallen}");
        assert_eq!(quality.update(&Window { silent: true, ..GOOD }), Some(fallen));
        let risen = quality.update(&GOOD).expect("a score");
        assert!((risen - 52.0).abs() < 0.01, "{risen}");
        let mut halves = Quality(Some(100.0));
        let bad = Window { seconds: 2.5, packets: 250, lost: 250, ..GOOD };
        halves.update(&bad);
        let fallen = halves.update(&bad).expect("a score");
        assert!((fallen - 20.0).abs() < 0.01, "two halves make a whole: {fallen}");
    }

    #[test]
    fn opinion_scores_and_levels_have_the_published_ends() {
        assert_eq!((mos(0.0), mos(100.0)), (1.0, 4.5));
        assert!((mos(80.0) - 4.024).abs() < 0.001);
        let levels = [100.0, 80.1, 80.0, 40.1, 40.0, 20.1, 20.0, 0.0].map(Level::of);
        let [e, g, p, l] = [Level::Excellent, Level::Good, Level::Poor, Level::Lost];
        assert_eq!(levels, [e, e, g, g, p, p, l, l]);
    }
}
