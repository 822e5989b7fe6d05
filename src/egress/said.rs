//! What viewers say, for tests of what follows from it.

use crate::wire::rtcp::{self, ReportBlock, TransportReport};
use crate::wire::rtp;

/// The reporter.
const SENDER: u32 = 1;

/// The transport-wide number of a packet, under the extension `id`.
pub fn number_of(datagram: &[u8], id: u8) -> Option<u16> {
    let header = rtp::parse(datagram).expect("it is RTP");
    let (_, data) = header.elements(datagram).find(|(found, _)| *found == id)?;
    Some(u16::from_be_bytes(data.try_into().expect("two bytes")))
}

/// The packets of `ssrc` from the number `base` on came at these times, in ticks of 250 us.
pub fn came(ssrc: u32, base: u16, ticks: impl Iterator<Item = u32> + Clone) -> Vec<u8> {
    let report = TransportReport { sender_ssrc: SENDER, media_ssrc: ssrc, base, number: 0 };
    let mut out = [0; 500];
    let (length, count) = report.write(ticks.clone().map(Some), &mut out).expect("room");
    assert_eq!(count, ticks.count(), "one report says it all");
    out[..length].to_vec()
}

/// These packets of `ssrc` are wanted again.
pub fn lacks(ssrc: u32, lost: &[u16]) -> Vec<u8> {
    let mut out = [0; 500];
    let length = rtcp::nack(SENDER, ssrc, lost, &mut out).expect("room");
    out[..length].to_vec()
}

/// This share of `ssrc` was lost, in 1/256.
pub fn loses(ssrc: u32, fraction_lost: u8) -> Vec<u8> {
    let report = ReportBlock { ssrc, fraction_lost, ..ReportBlock::default() };
    let mut out = [0; 100];
    let length = rtcp::receiver_report(SENDER, &[report], &mut out).expect("room");
    out[..length].to_vec()
}
