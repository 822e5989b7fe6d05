//! Iteration ends, an error is the last item, and what is written again reads the same.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use monoport_fuzz::wire::rtcp::{self, Packet, ReportBlock};

fuzz_target!(|bytes: &[u8]| {
    let mut packets = rtcp::compound(bytes);
    while let Some(packet) = packets.next() {
        match packet {
            Ok(packet) => rewrite(packet),
            Err(_) => assert!(packets.next().is_none()),
        }
    }
});

fn rewrite(packet: Packet<'_>) {
    let mut out = vec![0; 1 << 18];
    match packet {
        Packet::ReceiverReport { ssrc, reports } => {
            let blocks: Vec<ReportBlock> = reports.collect();
            let len = rtcp::receiver_report(ssrc, &blocks, &mut out).expect("fits");
            let Packet::ReceiverReport { ssrc: again, reports } = only(&out[..len]) else {
                panic!("another packet")
            };
            assert!(again == ssrc && reports.eq(blocks));
        }
        Packet::Nack { sender_ssrc, media_ssrc, lost } => {
            let lost: BTreeSet<u16> = lost.collect();
            let ascending: Vec<u16> = lost.iter().copied().collect();
            let len = rtcp::nack(sender_ssrc, media_ssrc, &ascending, &mut out).expect("fits");
            let Packet::Nack { lost: again, .. } = only(&out[..len]) else {
                panic!("another packet")
            };
            assert_eq!(again.collect::<BTreeSet<u16>>(), lost);
        }
        Packet::Remb { bitrate_bps, ssrcs } => {
            let ssrcs: Vec<u32> = ssrcs.collect();
            let len = rtcp::remb(1, bitrate_bps, &ssrcs, &mut out).expect("fits");
            let Packet::Remb { bitrate_bps: again, ssrcs: same } = only(&out[..len]) else {
                panic!("another packet")
            };
            assert!(bitrate_bps - again <= bitrate_bps >> 17 && same.eq(ssrcs));
        }
        Packet::SenderReport { reports, .. } => assert!(reports.count() < 32),
        Packet::Fir { entries } => assert!(entries.count() <= u16::MAX as usize),
        Packet::Bye { ssrcs } => assert!(ssrcs.count() < 32),
        _ => {}
    }
}

fn only(bytes: &[u8]) -> Packet<'_> {
    rtcp::compound(bytes).next().expect("one packet").expect("written well")
}
