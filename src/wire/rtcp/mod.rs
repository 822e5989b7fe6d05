//! RTCP: reading what peers report and ask for, writing what the server reports (RFC 3550 §6).
//!
//! Both sides handle *decrypted* compound packets. Split by direction: `read` and `write`, and
//! `transport` for the one packet whose writing is an algorithm.

mod read;
mod transport;
mod write;

pub use read::{Compound, Delays, FirEntries, Lost, Packet, ReportBlocks, Ssrcs, compound};
pub use transport::{MAX_STATUSES, Statuses, TransportReport};
pub use write::{
    SenderInfo, bye, fir, nack, pli, receiver_report, reference_time, remb, sdes_cname,
    sender_report,
};

/// What a receiver reports about one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source reported on.
    pub ssrc: u32,
    /// Packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start; 24 bits with sign, as duplicates count against losses.
    pub cumulative_lost: i32,
    /// Highest sequence number received, cycles in the upper half.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the RTP timestamp.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time of the last sender report; zero when there was none.
    pub last_sr: u32,
    /// Time since that report, in 1/65,536 s.
    pub delay_since_last_sr: u32,
}

/// Bytes of the header of each packet within a compound.
const HEADER_LEN: usize = 4;
/// Bytes of one [`ReportBlock`].
const REPORT_BLOCK_LEN: usize = 24;
/// What the five-bit count of a header can say.
const MAX_COUNT: usize = 31;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

/// Blocks of [`EXTENDED_REPORT`]: RFC 3611 §4.4 and §4.5.
const BLOCK_REFERENCE_TIME: u8 = 4;
const BLOCK_DELAYS: u8 = 5;

/// Formats of [`TRANSPORT_FEEDBACK`]: RFC 4585 §6.2.1 and draft-holmer-rmcat-transport-wide-cc.
const FORMAT_NACK: u8 = 1;
const FORMAT_TRANSPORT_WIDE: u8 = 15;

/// Formats of [`PAYLOAD_FEEDBACK`]: RFC 4585 §6.3.1, RFC 5104 §4.3.1, RFC 4585 §6.4.
const FORMAT_PLI: u8 = 1;
const FORMAT_FIR: u8 = 4;
const FORMAT_APPLICATION: u8 = 15;

/// The name that tells REMB from other application feedback (draft-alvestrand-rmcat-remb §2.2).
const REMB_NAME: [u8; 4] = *b"REMB";

#[cfg(test)]
mod tests;
