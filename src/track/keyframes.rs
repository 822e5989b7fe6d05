//! When a publisher is asked for a key frame of a layer: until one comes, and never too often.

use std::time::Instant;

use crate::limits::{
    KEYFRAME_ANSWER, KEYFRAME_INTERVAL, KEYFRAME_INTERVAL_ABOVE, KEYFRAME_RETRY, KEYFRAME_TRIES,
};

/// What is known of the key frame somebody waits for.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Nobody waits.
    #[default]
    Idle,
    /// Somebody waits, and nobody was asked yet.
    Wanted,
    /// The publisher was asked, `tries` times by now, and has not answered.
    Asked { tries: u32 },
}

/// Asks for a key frame once per interval at most, and again until one has come: a request is a
/// datagram and may be lost.
#[derive(Debug, Default)]
pub struct KeyframeRequests {
    state: State,
    asked_at: Option<Instant>,
    /// Those who wait have just come: what came since the last key frame does as well as a new one.
    past_will_do: bool,
    /// It is of a layer above another one.
    is_above: bool,
    /// It has not answered [`KEYFRAME_TRIES`] requests, and none since.
    deaf: bool,
}

impl KeyframeRequests {
    /// Notes that somebody who has just come needs a key frame, be it one that has passed.
    pub fn request_past(&mut self) {
        self.past_will_do |= !self.is_wanted();
        self.state = match self.state {
            State::Idle => State::Wanted,
            state => state,
        };
    }

    /// Whether one that has passed would do for all who wait.
    #[must_use]
    pub fn past_will_do(&self) -> bool {
        self.past_will_do
    }

    /// Notes that somebody needs a key frame.
    pub fn request(&mut self) {
        self.past_will_do = false;
        if let State::Idle = self.state {
            self.state = State::Wanted;
        }
    }

    /// A key frame has come `at` that time.
    pub fn come(&mut self, at: Instant) {
        let asked = self.asked_at.filter(|_| matches!(self.state, State::Asked { .. }));
        let answers = |asked| at.saturating_duration_since(asked) <= KEYFRAME_ANSWER;
        self.deaf &= !asked.is_some_and(answers);
        self.satisfied();
    }

    /// Nobody waits any more.
    pub fn satisfied(&mut self) {
        (self.state, self.past_will_do) = (State::Idle, false);
    }

    /// Whether the layer stands above another one of its track.
    pub(super) fn set_above(&mut self, is_above: bool) {
        self.is_above = is_above;
    }

    /// Whether it does not answer: what comes of it is a matter of when its publisher makes a key
    /// frame by itself.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Whether those who wait can't count on an answer.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        match self.state {
            State::Asked { tries } => self.deaf || tries > 1,
            State::Wanted => self.deaf,
            State::Idle => false,
        }
    }

    /// There is somebody new to ask, who was not asked yet.
    pub fn start_over(&mut self) {
        (self.asked_at, self.deaf) = (None, false);
        if let State::Asked { .. } = self.state {
            self.state = State::Wanted;
        }
    }

    /// Whether to ask now; true notes that it was done.
    pub fn due(&mut self, now: Instant) -> bool {
        let tries = match self.state {
            State::Idle => return false,
            State::Wanted => 0,
            State::Asked { tries } => tries,
        };
        let due = self.deadline().is_none_or(|deadline| deadline <= now);
        if due {
            self.deaf |= tries >= KEYFRAME_TRIES;
            self.asked_at = Some(now);
            self.state = State::Asked { tries: tries.saturating_add(1) };
        }
        due
    }

    /// When to ask next. `None` when nobody waits, or nobody was asked yet: that is due at once.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let pause = match self.state {
            State::Idle => return None,
            State::Wanted if self.is_above => KEYFRAME_INTERVAL_ABOVE,
            State::Wanted => KEYFRAME_INTERVAL,
            State::Asked { tries } if tries > KEYFRAME_TRIES => KEYFRAME_RETRY,
            State::Asked { .. } => KEYFRAME_ANSWER,
        };
        self.asked_at.map(|at| at + pause)
    }

    /// Whether somebody waits, and nobody was asked yet.
    #[must_use]
    pub fn is_due_at_once(&self) -> bool {
        matches!(self.state, State::Wanted) && self.asked_at.is_none()
    }

    /// Whether somebody waits.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !matches!(self.state, State::Idle)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_within_the_interval_become_one() {
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        assert!(!requests.due(start), "nobody asked");
        requests.request();
        assert!(requests.due(start));
        requests.satisfied();
        requests.request();
        requests.request();
        assert!(!requests.due(start + KEYFRAME_INTERVAL / 2));
        assert_eq!(requests.deadline(), Some(start + KEYFRAME_INTERVAL));
        assert!(requests.due(start + KEYFRAME_INTERVAL), "the early request was not lost");
        requests.satisfied();
        assert!(!requests.due(start + KEYFRAME_INTERVAL * 9));
        assert_eq!(requests.deadline(), None);
    }

    #[test]
    fn a_request_that_is_lost_is_repeated_until_a_key_frame_comes() {
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        requests.request();
        assert!(requests.due(start));
        let mut at = start;
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let next = requests.deadline().expect("somebody waits");
            assert!(!requests.due(next - Duration::from_millis(1)));
            assert!(requests.due(next), "asked again");
            pauses.push(next - at);
            at = next;
        }
        assert_eq!(pauses[..3], [KEYFRAME_ANSWER; 3]);
        assert_eq!(pauses[3..], [KEYFRAME_RETRY; 2], "for ever, and not ever more rarely");
        requests.satisfied();
        assert!(!requests.due(at + KEYFRAME_RETRY * 2));
    }

    #[test]
    fn a_layer_above_others_is_asked_half_as_often() {
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        requests.set_above(true);
        requests.request();
        assert!(requests.due(start));
        requests.come(start + Duration::from_millis(50));
        requests.request();
        assert!(!requests.due(start + KEYFRAME_INTERVAL));
        assert!(requests.due(start + KEYFRAME_INTERVAL_ABOVE));
    }

    #[test]
    fn who_leaves_three_requests_unanswered_is_deaf_until_one_is_answered() {
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        requests.request();
        let mut now = start;
        for tries in 0..3 {
            assert!(requests.due(now) && !requests.is_deaf());
            assert_eq!(requests.is_overdue(), tries > 0, "it may be on its way");
            now += KEYFRAME_ANSWER;
        }
        assert!(requests.due(now) && requests.is_deaf() && requests.is_overdue());
        // Its own key frame, when its time has come.
        requests.come(now + KEYFRAME_ANSWER * 2);
        assert!(requests.is_deaf() && !requests.is_wanted() && !requests.is_overdue());
        requests.request();
        assert!(requests.is_overdue(), "nobody need wait to see");
        now += KEYFRAME_ANSWER * 3;
        assert!(requests.due(now));
        requests.come(now + Duration::from_millis(200));
        assert!(!requests.is_deaf());
        requests.request();
        assert!(!requests.is_overdue());
    }

    #[test]
    fn a_new_publisher_is_asked_at_once() {
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        requests.request();
        assert!(requests.due(start) && !requests.due(start));
        requests.start_over();
        assert!(requests.is_wanted() && requests.due(start));
    }
}
