//! Why sessions failed: counted on the control side, far from any packet.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares [`FailureReason`] with its label and its meaning side by side.
macro_rules! failure_reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// Why a session failed, or was refused before it was one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum FailureReason { $($(#[$doc])* $variant,)* }

        impl FailureReason {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [FailureReason] = &[$(FailureReason::$variant,)*];

            /// The value of the metric's `reason` label, and the name in the API.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(FailureReason::$variant => $label,)* }
            }
        }
    };
}

failure_reasons! {
    /// No connectivity check came.
    Unheard = "unheard",
    /// Checks came, and none had the right password.
    WrongPassword = "wrong_password",
    /// A check came, and DTLS did not finish in time.
    DtlsTimeout = "dtls_timeout",
    /// DTLS or SRTP failed for good.
    Failed = "failed",
    /// The server's own code panicked in it.
    Panicked = "panicked",
    /// A connected peer fell silent.
    Vanished = "vanished",
    /// The offer and the stream, or the server, have no codec in common.
    NoCommonCodec = "no_common_codec",
    /// The offer is malformed, too long, or of the wrong direction.
    BadOffer = "bad_offer",
    /// There was no room for it, or the server is stopping.
    NoRoom = "no_room",
}

/// How many sessions failed, by reason. Any control thread counts; a session fails once.
#[derive(Debug, Default)]
pub struct Failures([AtomicU64; FailureReason::ALL.len()]);

impl Failures {
    /// Counts one.
    pub fn count(&self, reason: FailureReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many failed for `reason`.
    #[must_use]
    pub fn get(&self, reason: FailureReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// Every reason with its count.
    pub fn each(&self) -> impl Iterator<Item = (FailureReason, u64)> + '_ {
        FailureReason::ALL.iter().map(|reason| (*reason, self.get(*reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_and_a_label_of_its_own() {
        let failures = Failures::default();
        for reason in FailureReason::ALL {
            assert_eq!(failures.get(*reason), 0);
            failures.count(*reason);
        }
        let mut labels: Vec<_> = failures.each().map(|(reason, _)| reason.label()).collect();
        assert!(failures.each().all(|(_, count)| count == 1));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), FailureReason::ALL.len());
    }
}
