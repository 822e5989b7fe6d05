//! How much of something there is at a time, in all and for one source: connections, questions.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::Source;

/// What counts, by source.
#[derive(Debug)]
pub struct Shares {
    sources: Mutex<HashMap<Source, usize>>,
    most: usize,
    most_per_source: usize,
}

/// Room for one; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    source: Source,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are as many as there may be.
    All,
    /// The source has its share.
    Source,
}

impl Shares {
    /// Room for `most`, and of these `most_per_source` for each.
    #[must_use]
    pub fn new(most: usize, most_per_source: usize) -> Arc<Shares> {
        Arc::new(Shares { sources: Mutex::default(), most, most_per_source })
    }

    /// Takes one in from `ip`.
    ///
    /// # Errors
    /// What it is that is full.
    pub fn admit(self: &Arc<Shares>, ip: IpAddr) -> Result<Share, Full> {
        let mut sources = self.lock();
        if sources.values().sum::<usize>() >= self.most {
            return Err(Full::All);
        }
        let source = Source::of(ip);
        let count = sources.entry(source).or_default();
        if *count >= self.most_per_source {
            return Err(Full::Source);
        }
        *count += 1;
        Ok(Share { shares: self.clone(), source })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        // Nothing under the lock panics half-way.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut sources = self.shares.lock();
        if let Some(count) = sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_leaves_room_for_others_and_all_together_have_a_bound() {
        const MOST: usize = 16;
        const SHARE: u16 = 4;
        let shares = Shares::new(MOST, usize::from(SHARE));
        let mut taken = Vec::new();
        for host in 0.. {
            // Every host has a /64 of its own, and uses all of it.
            let ip = |low: u16| IpAddr::from([0x2001, 0xdb8, 0, host, 0, 0, 0, low]);
            for low in 0..SHARE {
                taken.push(shares.admit(ip(low)).unwrap());
            }
            if taken.len() == MOST {
                break;
            }
            let one_more = shares.admit(ip(u16::MAX)).expect_err("it has its share");
            assert_eq!(one_more, Full::Source);
        }
        let stranger = IpAddr::from([192, 0, 2, 1]);
        let full = shares.admit(stranger).expect_err("there are too many");
        assert_eq!(full, Full::All);
        taken.pop();
        drop(shares.admit(stranger).expect("one has gone"));
        taken.clear();
        assert!(shares.lock().is_empty(), "nobody is remembered");
    }
}
