//! Which library seals: measured once per process, because neither wins everywhere.
//!
//! `ring` has AES-GCM for VAES with AVX2, `aws-lc` for AVX-512; on a processor without AVX-512
//! `ring` took 294 ns and `aws-lc` 525 ns for 1,200 bytes of AES-256-GCM, with it the order may
//! turn. The answer costs less than a millisecond at start.

use super::Profile;
use super::gcm::Gcm;
use std::sync::OnceLock;
use std::time::Instant;

/// Seals per round: about 50 µs, long against the clock, short against a scheduler's slice.
const SEALS_PER_ROUND: u32 = 96;
/// Rounds per library. The best of each counts, so that one interrupted round decides nothing.
const ROUNDS: usize = 8;

/// A library with AES-GCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Library {
    /// `ring`.
    Ring,
    /// `aws-lc-rs`.
    AwsLc,
}

impl Library {
    /// Both, for tests and benches.
    pub const ALL: [Self; 2] = [Self::Ring, Self::AwsLc];

    /// The name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::AwsLc => "aws-lc",
        }
    }
}

/// The library in use, and the measurement that chose it.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The faster one here.
    pub library: Library,
    /// Nanoseconds `ring` took to seal 1,200 bytes with AES-256-GCM.
    pub ring_ns: u32,
    /// Nanoseconds `aws-lc` took for the same.
    pub aws_lc_ns: u32,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} (AES-256-GCM, 1,200 B: ring {} ns, aws-lc {} ns)",
            self.library.name(),
            self.ring_ns,
            self.aws_lc_ns
        )
    }
}

/// The name of the library that seals in this process, `"ring"` or `"aws-lc"`.
#[must_use]
pub fn cipher_library() -> &'static str {
    choice().library.name()
}

/// The library that seals in this process and why. The first call measures, for about a
/// millisecond: make it at start, before shards are running.
pub fn choice() -> &'static Choice {
    static CHOICE: OnceLock<Choice> = OnceLock::new();
    CHOICE.get_or_init(measure)
}

fn measure() -> Choice {
    let key = [0x5a; 32];
    let keys = Library::ALL.map(|library| Gcm::new(Profile::AeadAes256Gcm, &key, library));
    let mut best = [u32::MAX; 2];
    // The libraries take turns, so that a change of clock speed meets both.
    for _ in 0..ROUNDS {
        for (gcm, best) in keys.iter().zip(&mut best) {
            *best = (*best).min(round_ns(gcm));
        }
    }
    let [ring_ns, aws_lc_ns] = best;
    let library = if ring_ns <= aws_lc_ns { Library::Ring } else { Library::AwsLc };
    Choice { library, ring_ns, aws_lc_ns }
}

/// Nanoseconds of one seal, averaged over a round.
fn round_ns(gcm: &Gcm) -> u32 {
    let mut text = [0u8; 1200];
    let started = Instant::now();
    for counter in 0..SEALS_PER_ROUND {
        let mut nonce = [0u8; 12];
        nonce[8..].copy_from_slice(&counter.to_be_bytes());
        std::hint::black_box(gcm.seal(nonce, &[0x80; 20], &mut text));
    }
    let per_seal = started.elapsed().as_nanos() / u128::from(SEALS_PER_ROUND);
    u32::try_from(per_seal).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_follows_the_measurement() {
        let choice = choice();
        let ring_won = choice.ring_ns <= choice.aws_lc_ns;
        assert_eq!(choice.library == Library::Ring, ring_won, "{choice}");
        assert!(choice.ring_ns > 0 && choice.aws_lc_ns > 0, "{choice}");
        assert_eq!(cipher_library(), choice.library.name());
    }
}
