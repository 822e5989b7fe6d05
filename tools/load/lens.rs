//! What the viewers of one worker look through: scratch, histograms, and the run's settings.

use crate::dice::Dice;
use crate::punctuality::Punctuality;
use crate::served::{Servers, Who};
use crate::tally::Tally;
use crate::worker::latency_histogram;
use hdrhistogram::Histogram;
use std::sync::Arc;

/// The largest datagram that is opened, in bytes: opening works on a copy.
const SCRATCH_BYTES: usize = 2_048;

/// What one worker's viewers share: scratch, the latency histogram and the run's settings.
pub struct Lens {
    pub scratch: Box<[u8; SCRATCH_BYTES]>,
    /// Microseconds from the publisher's stamp to our receive call's return.
    pub latency_us: Histogram<u64>,
    /// The same by server.
    pub servers: Servers,
    /// Where the same are counted for those who watch the run.
    pub tally: Arc<Tally>,
    /// Of how many packets one is opened.
    pub open_one_in: u32,
    /// Since when the run measures.
    pub measuring_since_ns: Option<u64>,
    /// The same as `latency_us` of those behind a link.
    pub linked_latency_us: Histogram<u64>,
    /// Whether missing packets are asked for.
    pub nack: bool,
    /// Loses arriving media on purpose.
    pub dice: Dice,
    /// Whether latency is recorded.
    pub measuring: bool,
    /// Whether its publishers kept their times.
    pub punctuality: Punctuality,
    pub odd: Odd,
}

/// Arrivals that are none of the stream's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Odd {
    /// Tags that did not match.
    pub unauthentic: u64,
    /// Opened, but without our stamp.
    pub unstamped: u64,
    /// Without a payload: a server's probes.
    pub padding: u64,
    /// Payload types that were not negotiated, and datagrams that are no RTP.
    pub unknown: u64,
    /// Lost on purpose.
    pub dropped: u64,
    /// Sent to an address that its viewer has no more.
    pub late_for_a_move: u64,
    /// Retransmissions.
    pub repairs: u64,
    /// Sender reports opened.
    pub sender_reports: u64,
    /// Stamps that disagree with the timeline the publisher kept: must stay 0.
    pub disagreeing: u64,
}

impl Lens {
    /// What the viewers of the worker behind `tally` share.
    #[must_use]
    pub fn new(tally: Arc<Tally>, open_one_in: u32, nack: bool, drop: f64) -> Self {
        Self {
            scratch: Box::new([0; SCRATCH_BYTES]),
            latency_us: latency_histogram(),
            servers: Servers::default(),
            measuring_since_ns: None,
            linked_latency_us: latency_histogram(),
            tally,
            open_one_in,
            nack,
            dice: Dice::new(drop, 1),
            measuring: false,
            punctuality: Punctuality::default(),
            odd: Odd::default(),
        }
    }

    /// Records one packet's way to a viewer, while the run measures. What a server sends of the
    /// time before it was there says nothing of the way.
    pub fn record(&mut self, who: Who, sent_ns: u64, now_ns: u64) {
        if sent_ns < who.since_ns {
            return;
        }
        let latency_us = now_ns.saturating_sub(sent_ns) / 1_000;
        if who.linked {
            if self.measuring {
                self.linked_latency_us.saturating_record(latency_us);
            }
            return;
        }
        self.tally.latency.count(latency_us);
        if self.measuring {
            self.latency_us.saturating_record(latency_us);
            self.servers.record(who.server, latency_us);
        }
    }
}
