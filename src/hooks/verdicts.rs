//! What the authorization service said lately, by question.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use aws_lc_rs::hmac;

use crate::limits::{MAX_VERDICTS, VERDICT_KEPT};

/// A question as it is remembered: a keyed hash of all there is in it, so that no token lies in
/// memory for longer than its request.
pub(super) type Fingerprint = [u8; 32];

/// What it says to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    /// With this status.
    Refused(u16),
}

/// The last answers. Those that are too old count no longer, and the oldest gives way.
pub(super) struct Verdicts {
    key: hmac::Key,
    known: HashMap<Fingerprint, (Verdict, Instant)>,
    /// In the order in which they came.
    order: VecDeque<(Fingerprint, Instant)>,
}

impl Verdicts {
    pub fn new() -> Verdicts {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the operating system gives random bytes");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Verdicts { key, known: HashMap::new(), order: VecDeque::new() }
    }

    /// The fingerprint of a question of these parts.
    pub fn fingerprint(&self, parts: &[&str]) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            // With its length, or what ends one part might as well begin the next.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    pub fn get(&self, question: &Fingerprint, now: Instant) -> Option<Verdict> {
        let (verdict, until) = self.known.get(question)?;
        (now < *until).then_some(*verdict)
    }

    pub fn keep(&mut self, question: Fingerprint, verdict: Verdict, now: Instant) {
        while let Some((oldest, until)) = self.order.front()
            && (*until <= now || self.order.len() >= MAX_VERDICTS)
        {
            // One that was given anew since is kept for the newer one's time.
            if self.known.get(oldest).is_some_and(|(_, known)| known == until) {
                self.known.remove(oldest);
            }
            self.order.pop_front();
        }
        let until = now + VERDICT_KEPT;
        self.known.insert(question, (verdict, until));
        self.order.push_back((question, until));
    }

    /// Forgets all: the rules are others now.
    pub fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_verdict_counts_for_its_question_and_its_time_alone() {
        let mut verdicts = Verdicts::new();
        let start = Instant::now();
        let question = verdicts.fingerprint(&["publish", "s", "token"]);
        for other in [&["publish", "st", "oken"][..], &["publish", "s"], &["", "publish", "s"]] {
            assert_ne!(verdicts.fingerprint(other), question, "{other:?}");
        }
        verdicts.keep(question, Verdict::Refused(403), start);
        let late = start + VERDICT_KEPT;
        assert_eq!(verdicts.get(&question, start), Some(Verdict::Refused(403)));
        assert!(verdicts.get(&question, late - Duration::from_millis(1)).is_some());
        assert_eq!(verdicts.get(&question, late), None);
        verdicts.keep(question, Verdict::Allowed, late);
        assert_eq!(verdicts.get(&question, late), Some(Verdict::Allowed));
    }

    #[test]
    fn however_many_questions_there_are_so_many_are_remembered() {
        let mut verdicts = Verdicts::new();
        let now = Instant::now();
        for number in 0..3 * MAX_VERDICTS {
            let question = verdicts.fingerprint(&[&number.to_string()]);
            verdicts.keep(question, Verdict::Refused(401), now);
        }
        assert!(verdicts.known.len() <= MAX_VERDICTS && verdicts.order.len() <= MAX_VERDICTS);
        let last = verdicts.fingerprint(&[&(3 * MAX_VERDICTS - 1).to_string()]);
        assert!(verdicts.get(&last, now).is_some(), "the newest stay");
        let first = verdicts.fingerprint(&["0"]);
        assert_eq!(verdicts.get(&first, now), None);
    }
}
