//! How often somebody may POST an offer, and how many were turned away for coming too often.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Problem;
use crate::access::{Asker, Rates};
use crate::control::ControlError;
use crate::id::Source;
use crate::telemetry::Exposition;

/// POSTs a second; 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub struct PostRates {
    /// From one address, or one IPv6 /64.
    pub per_source: u32,
    /// With one token.
    pub per_token: u32,
}

/// What a POST was turned away for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Excess {
    SourceRate,
    TokenRate,
    SourceConnecting,
    Connecting,
}

impl Excess {
    const LABELS: [&str; 4] =
        ["rate_of_address", "rate_of_token", "connecting_of_address", "connecting"];
}

/// Rates of those who POST.
pub(super) struct Posts {
    sources: Rates,
    tokens: Rates,
    /// Names a token by a number that nobody can foresee.
    names: RandomState,
    refused: [AtomicU64; 4],
}

impl Posts {
    pub fn new(rates: PostRates) -> Posts {
        Posts {
            sources: Rates::new(rates.per_source),
            tokens: Rates::new(rates.per_token),
            names: RandomState::new(),
            refused: Default::default(),
        }
    }

    /// Takes a POST in.
    pub fn admit(&self, asker: &Asker) -> Result<(), Problem> {
        let now = Instant::now();
        let who = |ip: IpAddr| if ip.is_ipv6() { "your network's /64" } else { "your address" };
        if let Some(ip) = asker.from() {
            let name = self.names.hash_one(Source::of(ip));
            let sources = self.sources.admit(name, now);
            sources.map_err(|wait| self.too_many(Excess::SourceRate, who(ip), wait))?;
        }
        let token = asker.token().or(asker.password().map(|(user, _)| user));
        if let Some(token) = token {
            let tokens = self.tokens.admit(self.names.hash_one(token), now);
            tokens.map_err(|wait| self.too_many(Excess::TokenRate, "this token", wait))?;
        }
        Ok(())
    }

    /// Counts a set-up that was refused because too many have not connected.
    pub fn count(&self, error: &ControlError) {
        match error {
            ControlError::TooManyOfSource(_) => self.add(Excess::SourceConnecting),
            ControlError::TooManyConnecting(_) => self.add(Excess::Connecting),
            _ => {}
        }
    }

    fn too_many(&self, excess: Excess, whose: &str, wait: Duration) -> Problem {
        self.add(excess);
        let words = format!("too many POSTs come from {whose}: come again later, and less often");
        Problem::too_many(words, wait)
    }

    fn add(&self, excess: Excess) {
        self.refused[excess as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn expose(&self, exposition: &mut Exposition, connecting: usize) {
        let help = "Sessions that were answered and have not connected";
        exposition.gauge("sessions_connecting", help).count(Vec::new(), connecting as u64);
        let help = "POSTs turned away because their sender had too much already, by what of";
        let metric = exposition.counter("posts_refused", help);
        for (label, count) in Excess::LABELS.into_iter().zip(&self.refused) {
            metric.count(vec![("reason", label.into())], count.load(Ordering::Relaxed));
        }
    }
}
