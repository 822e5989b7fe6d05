//! What is thought of a viewer's path, in words.

/// The estimate of a viewer's path at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathShown {
    /// What may be sent, in bits a second.
    pub bits_per_s: u32,
    /// What the path could carry at most, where that is known.
    pub ceiling_bits_per_s: Option<u32>,
    /// How long packets wait on the path, in milliseconds.
    pub queue_ms: u16,
    /// What the queue does.
    pub state: PathState,
    /// What changed the rate last.
    pub reason: RateReason,
}

/// Declares an enum with what each of its variants is in words.
macro_rules! in_words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $words:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$of])* $variant,)* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// In words.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $($name::$variant => $words,)* }
            }
        }
    };
}

pub(super) use in_words;

in_words! {
    /// What the queue on a path does.
    PathState {
        /// It is as it was.
        Steady = "packets come as they are sent",
        /// It grows, or is long.
        Filling = "packets wait on the path",
        /// It becomes shorter.
        Draining = "the queue on the path becomes shorter",
        /// It is another's.
        Occupied = "somebody else fills the queue on the path",
        /// It is sampled now and then.
        Quiet = "the path carries everything, and is looked at now and then",
        /// Nothing is known of it.
        Unknown = "the viewer does not say when packets come",
    }
}

in_words! {
    /// What changed a rate last, other than by growing.
    RateReason {
        /// It is the one a viewer begins with.
        Start = "every viewer begins with it",
        /// The first trains came fast.
        FirstTrains = "the first packets came fast",
        /// Delays grew.
        Delay = "packets came later and later",
        /// The queue was long.
        Queue = "packets waited long",
        /// Packets were lost.
        Loss = "packets were lost",
        /// A probe came through.
        Probe = "packets sent to try it came through",
        /// The queue turned out to be another's.
        Rival = "the queue is somebody else's and stays whatever is sent",
        /// The viewer said so.
        Told = "the viewer told an estimate of its own",
    }
}

/// Bits of the numbers below.
const RATE_BITS: u32 = 16;
const CEILING_BITS: u32 = 12;
const QUEUE_BITS: u32 = 10;
const STATE_BITS: u32 = 3;
const REASON_BITS: u32 = 3;

/// Bits a second of a step of the rate and of the ceiling.
const RATE_STEP: u32 = 10_000;
const CEILING_STEP: u32 = 100_000;

/// Bits that [`PathShown::pack`] takes.
pub(super) const PATH_BITS: u32 = RATE_BITS + CEILING_BITS + QUEUE_BITS + STATE_BITS + REASON_BITS;

impl PathShown {
    /// As a number of [`PATH_BITS`] bits; 0 is none.
    pub(super) fn pack(shown: Option<PathShown>) -> u64 {
        let Some(shown) = shown else { return 0 };
        let most = |bits: u32| (1 << bits) - 1;
        let rate = (shown.bits_per_s / RATE_STEP).clamp(1, most(RATE_BITS));
        let ceiling = shown.ceiling_bits_per_s.map_or(0, |c| (c / CEILING_STEP).max(1));
        let fields = [
            (rate, RATE_BITS),
            (ceiling.min(most(CEILING_BITS)), CEILING_BITS),
            (u32::from(shown.queue_ms).min(most(QUEUE_BITS)), QUEUE_BITS),
            (shown.state as u32, STATE_BITS),
            (shown.reason as u32, REASON_BITS),
        ];
        fields.iter().rev().fold(0, |word, (value, bits)| word << bits | u64::from(*value))
    }

    /// The other way.
    pub(super) fn unpack(mut word: u64) -> Option<PathShown> {
        let mut take = |bits: u32| {
            let value = word as u32 & ((1 << bits) - 1);
            word >>= bits;
            value
        };
        let (rate, ceiling, queue) = (take(RATE_BITS), take(CEILING_BITS), take(QUEUE_BITS));
        let (state, reason) = (take(STATE_BITS), take(REASON_BITS));
        Some(PathShown {
            bits_per_s: Some(rate).filter(|rate| *rate > 0)? * RATE_STEP,
            ceiling_bits_per_s: Some(ceiling).filter(|c| *c > 0).map(|c| c * CEILING_STEP),
            queue_ms: queue as u16,
            state: *PathState::ALL.get(state as usize)?,
            reason: *RateReason::ALL.get(reason as usize)?,
        })
    }
}

const _: () = assert!(PathState::ALL.len() <= 1 << STATE_BITS, "a state has its bits");
const _: () = assert!(RateReason::ALL.len() <= 1 << REASON_BITS, "a reason has its bits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_kept_to_ten_kilobits_and_a_millisecond() {
        assert_eq!(PathShown::unpack(PathShown::pack(None)), None);
        for state in PathState::ALL {
            for reason in RateReason::ALL {
                let shown = PathShown {
                    bits_per_s: 2_510_000,
                    ceiling_bits_per_s: Some(17_300_000),
                    queue_ms: 1_023,
                    state: *state,
                    reason: *reason,
                };
                let packed = PathShown::pack(Some(shown));
                assert!(packed < 1 << PATH_BITS);
                assert_eq!(PathShown::unpack(packed), Some(shown));
            }
        }
        let most = PathShown {
            bits_per_s: u32::MAX,
            ceiling_bits_per_s: Some(u32::MAX),
            queue_ms: u16::MAX,
            state: PathState::Occupied,
            reason: RateReason::Told,
        };
        let read = PathShown::unpack(PathShown::pack(Some(most))).expect("it is one");
        assert_eq!((read.bits_per_s, read.queue_ms), (655_350_000, 1_023));
    }
}
