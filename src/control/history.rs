//! What a session was like lately: a point every five seconds for the last five minutes, and when
//! its address changed.

use std::collections::VecDeque;

use crate::limits::{MOVES_KEPT, SESSION_HISTORY_BYTES, SESSION_HISTORY_POINTS};
use crate::telemetry::SessionCard;

/// One session at one moment, small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Unix seconds.
    pub at: u32,
    /// Bits of payload a second.
    pub bits_per_s: u32,
    /// Share of packets lost, in 65,535ths.
    loss: u16,
    /// Round trip in milliseconds.
    rtt_ms: u16,
    /// Jitter in tenths of a millisecond.
    jitter: u16,
    /// Quality, 0 to 100.
    score: u8,
    /// Key frames asked for since the point before.
    pub keyframe_requests: u8,
}

const NO_SCORE: u8 = u8::MAX;
const NO_RTT: u16 = u16::MAX;

const _: () = assert!(
    size_of::<Point>() * SESSION_HISTORY_POINTS == SESSION_HISTORY_BYTES,
    "the memory of a history is what `limits` says"
);

impl Point {
    fn of(card: &SessionCard, at: f64, asked_before: u32) -> Point {
        let small = |value: u32, most: u16| value.min(u32::from(most)) as u16;
        Point {
            at: at as u32,
            bits_per_s: card.bits_per_s,
            loss: (card.loss_ratio.clamp(0.0, 1.0) * 65_535.0) as u16,
            rtt_ms: card.rtt_us.map_or(NO_RTT, |rtt| small(rtt / 1_000, NO_RTT - 1)),
            jitter: small(card.jitter_us / 100, u16::MAX),
            score: card.score.map_or(NO_SCORE, |score| score.clamp(0.0, 100.0) as u8),
            keyframe_requests: card.keyframe_requests.wrapping_sub(asked_before).min(255) as u8,
        }
    }

    /// Quality, 0 to 100.
    #[must_use]
    pub fn score(&self) -> Option<u8> {
        (self.score != NO_SCORE).then_some(self.score)
    }

    /// Share of packets lost, 0 to 1.
    #[must_use]
    pub fn loss_ratio(&self) -> f64 {
        f64::from(self.loss) / 65_535.0
    }

    /// Round trip in milliseconds.
    #[must_use]
    pub fn rtt_ms(&self) -> Option<u16> {
        (self.rtt_ms != NO_RTT).then_some(self.rtt_ms)
    }

    /// Jitter in milliseconds.
    #[must_use]
    pub fn jitter_ms(&self) -> f64 {
        f64::from(self.jitter) / 10.0
    }
}

/// The points of one session, and what was seen of it last.
#[derive(Default)]
pub struct History {
    /// The oldest first. Memory comes with the first one.
    pub points: VecDeque<Point>,
    /// When its address changed, in Unix seconds, to the second or, while nobody looks, to five.
    pub moved: Vec<f64>,
    /// Whether it was seen connected.
    pub connected: bool,
    moves: u32,
    asked: u32,
}

/// What has changed since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub connected: bool,
    pub moved: bool,
}

impl History {
    /// Compares `card` with what was seen before.
    pub(super) fn look(&mut self, card: &SessionCard, now: f64) -> Changes {
        let connected = card.stage.is_connected() && !self.connected;
        self.connected |= connected;
        let moved = card.moves != self.moves;
        if moved {
            self.moves = card.moves;
            if self.moved.len() == MOVES_KEPT {
                self.moved.remove(0);
            }
            self.moved.push(now);
        }
        Changes { connected, moved }
    }

    /// Takes a point in; the oldest gives way.
    pub(super) fn record(&mut self, card: &SessionCard, now: f64) {
        if self.points.capacity() == 0 {
            self.points.reserve_exact(SESSION_HISTORY_POINTS);
        }
        if self.points.len() == SESSION_HISTORY_POINTS {
            self.points.pop_front();
        }
        self.points.push_back(Point::of(card, now, self.asked));
        self.asked = card.keyframe_requests;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Stage;

    #[test]
    fn the_last_points_are_kept_and_say_what_the_card_said() {
        let mut history = History::default();
        for number in 0..SESSION_HISTORY_POINTS as u32 + 5 {
            let card = SessionCard {
                score: Some(73.4),
                loss_ratio: 0.25,
                rtt_us: Some(42_000),
                jitter_us: 1_250,
                bits_per_s: 1_000_000 + number,
                keyframe_requests: number * 2,
                ..SessionCard::default()
            };
            history.record(&card, f64::from(number) * 5.0);
        }
        assert_eq!(history.points.len(), SESSION_HISTORY_POINTS);
        assert!(history.points.capacity() < 2 * SESSION_HISTORY_POINTS);
        let (first, last) = (history.points[0], history.points[SESSION_HISTORY_POINTS - 1]);
        assert_eq!((first.at, first.bits_per_s), (25, 1_000_005));
        assert_eq!((last.score(), last.rtt_ms(), last.jitter_ms()), (Some(73), Some(42), 1.2));
        assert!((last.loss_ratio() - 0.25).abs() < 0.0001);
        assert_eq!(last.keyframe_requests, 2);
        history.record(&SessionCard::default(), 0.0);
        let empty = history.points.back().expect("it was recorded");
        assert_eq!((empty.score(), empty.rtt_ms()), (None, None));
    }

    #[test]
    fn connecting_and_moving_are_seen_once_each() {
        let mut history = History::default();
        let mut card = SessionCard::default();
        assert_eq!(history.look(&card, 1.0), Changes::default());
        card.stage = Stage::Connected;
        assert_eq!(history.look(&card, 2.0), Changes { connected: true, moved: false });
        for moves in 1..=MOVES_KEPT as u32 + 1 {
            card.moves = moves;
            let seen = history.look(&card, f64::from(moves));
            assert_eq!(seen, Changes { connected: false, moved: true });
            assert_eq!(history.look(&card, 99.0), Changes::default());
        }
        assert_eq!((history.moved.len(), history.moved[0]), (MOVES_KEPT, 2.0));
    }
}
