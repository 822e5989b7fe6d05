//! What is written is read; what is damaged is refused; nothing panics.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::wire::Malformed;

/// Reads a compound to its end.
fn read(bytes: &[u8]) -> Result<Vec<Packet<'_>>, Malformed> {
    compound(bytes).collect()
}

/// The single packet of a compound.
fn only(bytes: &[u8]) -> Packet<'_> {
    let mut packets = read(bytes).unwrap();
    assert_eq!(packets.len(), 1);
    packets.remove(0)
}

fn report_blocks() -> impl Strategy<Value = Vec<ReportBlock>> {
    let block = (any::<(u32, u8, u32, u32, u32, u32)>(), -(1i32 << 23)..1 << 23);
    let block =
        block.prop_map(|((ssrc, fraction_lost, highest, jitter, sr, delay), lost)| ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost: lost,
            highest_sequence: highest,
            jitter,
            last_sr: sr,
            delay_since_last_sr: delay,
        });
    prop::collection::vec(block, 0..=MAX_COUNT)
}

#[test]
fn compound_of_report_description_and_request_is_read_in_order() {
    let mut out = [0; 128];
    let mut len = receiver_report(1, &[ReportBlock::default()], &mut out).unwrap();
    len += sdes_cname(1, "viewer", &mut out[len..]).unwrap();
    len += pli(1, 7, &mut out[len..]).unwrap();
    let packets = read(&out[..len]).unwrap();
    assert!(matches!(packets[0], Packet::ReceiverReport { ssrc: 1, .. }));
    assert_eq!(packets[1], Packet::SourceDescription);
    assert_eq!(packets[2], Packet::Pli { media_ssrc: 7 });
}

#[test]
fn nack_layout_is_that_of_rfc_4585() {
    let mut out = [0; 20];
    assert_eq!(nack(1, 2, &[100, 101, 116, 117], &mut out), Some(20));
    let expected = [0x81, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 100, 0x80, 0x01, 0, 117, 0, 0];
    assert_eq!(out, expected);
}

#[test]
fn remb_saturates_where_the_wire_says_more_than_64_bits() {
    let mut out = [0; 20];
    remb(1, 0, &[], &mut out).unwrap();
    let rate = |out: &[u8]| match only(out) {
        Packet::Remb { bitrate_bps, .. } => bitrate_bps,
        other => panic!("{other:?}"),
    };
    assert_eq!(rate(&out), 0);
    out[17] = 63 << 2;
    assert_eq!(rate(&out), 0, "zero stays zero whatever the exponent");
    out[19] = 1;
    assert_eq!(rate(&out), 1 << 63);
    out[19] = 2;
    assert_eq!(rate(&out), u64::MAX);
}

#[test]
fn application_feedback_without_the_name_is_not_remb() {
    let mut out = [0; 20];
    remb(1, 5, &[], &mut out).unwrap();
    out[12] = b'X';
    assert_eq!(only(&out), Packet::Other { packet_type: 206, format: 15 });
}

#[test]
fn a_malformed_part_is_an_error_and_the_end() {
    let mut out = [0; 64];
    let mut len = pli(1, 2, &mut out).unwrap();
    len += pli(1, 3, &mut out[len..]).unwrap();
    len += pli(1, 4, &mut out[len..]).unwrap();
    out[12] = 0;
    let packets: Vec<_> = compound(&out[..len]).collect();
    assert_eq!(packets, [Ok(Packet::Pli { media_ssrc: 2 }), Err(Malformed::Constant)]);
}

#[test]
fn counts_must_fit_the_packet() {
    let mut out = [0; 64];
    let len = receiver_report(1, &[], &mut out).unwrap();
    out[0] |= 1;
    assert_eq!(read(&out[..len]), Err(Malformed::Length));
    let len = bye(&[1], &mut out).unwrap();
    out[0] |= 2;
    assert_eq!(read(&out[..len]), Err(Malformed::Length));
    let len = remb(1, 5, &[1], &mut out).unwrap();
    out[16] = 2;
    assert_eq!(read(&out[..len]), Err(Malformed::Length));
    let len = pli(1, 2, &mut out).unwrap();
    out[3] = 1;
    assert_eq!(read(&out[..len]), Err(Malformed::Length));
    out[..12].copy_from_slice(&[0x84, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(read(&out[..12]).unwrap().len(), 1, "a request for nothing is well formed");
    out[3] = 3;
    assert_eq!(read(&out[..16]), Err(Malformed::Length), "half an entry is not");
}

/// As libwebrtc and str0m write it: to a word by what the header calls padding.
#[test]
fn transport_wide_feedback_may_be_padded_by_less_than_a_word_wherever_it_stands() {
    let mut feedback = vec![0xAF, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2];
    feedback.extend([0, 7, 0, 1, 0, 0, 2, 9, 0x20, 1, 4, 1]);
    let twice = feedback.repeat(2);
    let read: Vec<_> = compound(&twice).collect();
    assert_eq!(read.len(), 2);
    for packet in read {
        let Ok(Packet::TransportFeedback { raw, .. }) = packet else { panic!("{packet:?}") };
        assert_eq!(raw.len(), 11);
        let statuses: Vec<_> = Statuses::read(raw).expect("it is whole").collect();
        assert_eq!(statuses, [(7, Some(1_000))]);
    }
    // Other packets are as they should be.
    let mut nack = feedback.clone();
    nack[0] = 0xA1;
    assert!(compound(&nack).all(|packet| packet.is_err()));
}

#[test]
fn padding_belongs_to_the_last_packet() {
    let mut out = [0; 32];
    let len = pli(1, 2, &mut out).unwrap();
    out[0] |= 0x20;
    out[3] += 1;
    out[len..len + 4].copy_from_slice(&[0, 0, 0, 4]);
    assert_eq!(only(&out[..16]), Packet::Pli { media_ssrc: 2 });
    for wrong in [0, 3, 16] {
        out[15] = wrong;
        assert_eq!(read(&out[..16]), Err(Malformed::Length));
    }
    out[15] = 4;
    pli(1, 3, &mut out[16..]).unwrap();
    assert_eq!(read(&out[..28]), Err(Malformed::Length));
}

#[test]
fn writers_refuse_what_does_not_fit() {
    let mut out = [0; 2048];
    let info = SenderInfo { ssrc: 1, ntp: 2, rtp_timestamp: 3, packets: 4, octets: 5 };
    assert_eq!(sender_report(&info, &[], &mut out[..27]), None);
    assert_eq!(sender_report(&info, &[ReportBlock::default(); 32], &mut out), None);
    assert_eq!(bye(&[0; 32], &mut out), None);
    assert_eq!(remb(1, 1, &[0; 256], &mut out), None);
    assert_eq!(sdes_cname(1, &"x".repeat(256), &mut out), None);
    assert_eq!(pli(1, 2, &mut out[..3]), None);
}

#[test]
fn losses_beyond_24_bits_are_clamped() {
    let mut out = [0; 64];
    for (lost, read) in [(i32::MAX, (1 << 23) - 1), (i32::MIN, -(1 << 23)), (-1, -1)] {
        let block = ReportBlock { cumulative_lost: lost, ..ReportBlock::default() };
        let len = receiver_report(1, &[block], &mut out).unwrap();
        let Packet::ReceiverReport { mut reports, .. } = only(&out[..len]) else { panic!() };
        assert_eq!(reports.next().unwrap().cumulative_lost, read);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        walk(&bytes);
    }

    /// Most arbitrary bytes die at the header; these reach the bodies.
    #[test]
    fn arbitrary_bodies_never_panic(
        packet_type in 200u8..208,
        format in 0u8..64,
        remb: bool,
        mut body: Vec<u8>,
    ) {
        body.resize(body.len().next_multiple_of(4), 0);
        if remb && body.len() >= 12 {
            body[8..12].copy_from_slice(b"REMB");
        }
        let mut bytes = vec![0x80 | format, packet_type];
        bytes.extend(((body.len() / 4) as u16).to_be_bytes());
        bytes.extend(body);
        walk(&bytes);
    }

    #[test]
    fn reports_are_read_as_written(
        (ssrc, ntp, rtp_timestamp, packets, octets) in any::<(u32, u64, u32, u32, u32)>(),
        blocks in report_blocks(),
    ) {
        let mut out = [0xAA; 1024];
        let info = SenderInfo { ssrc, ntp, rtp_timestamp, packets, octets };
        let len = sender_report(&info, &blocks, &mut out).unwrap();
        prop_assert_eq!(len, 28 + 24 * blocks.len());
        let Packet::SenderReport { ssrc, ntp, rtp_timestamp, packets, octets, reports } =
            only(&out[..len]) else { panic!() };
        prop_assert_eq!(SenderInfo { ssrc, ntp, rtp_timestamp, packets, octets }, info);
        prop_assert_eq!(reports.collect::<Vec<_>>(), blocks.clone());

        let len = receiver_report(ssrc, &blocks, &mut out).unwrap();
        prop_assert_eq!(len, 8 + 24 * blocks.len());
        let Packet::ReceiverReport { ssrc: reporter, reports } = only(&out[..len])
            else { panic!() };
        prop_assert_eq!(reporter, ssrc);
        prop_assert_eq!(reports.collect::<Vec<_>>(), blocks);
    }

    #[test]
    fn nack_asks_for_exactly_the_lost(
        start: u16,
        steps in prop::collection::vec(0u16..40, 0..100),
        (sender, media) in any::<(u32, u32)>(),
    ) {
        let lost: Vec<u16> = steps
            .iter()
            .scan(start, |at, step| { *at = at.wrapping_add(*step); Some(*at) })
            .collect();
        let mut out = [0xAA; 512];
        let len = nack(sender, media, &lost, &mut out).unwrap();
        let Packet::Nack { sender_ssrc, media_ssrc, lost: read } = only(&out[..len])
            else { panic!() };
        prop_assert_eq!((sender_ssrc, media_ssrc), (sender, media));
        let read: Vec<u16> = read.collect();
        let distinct: BTreeSet<u16> = lost.into_iter().collect();
        prop_assert_eq!(read.len(), distinct.len());
        prop_assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), distinct);
    }

    #[test]
    fn requests_are_read_as_written(
        (sender, media) in any::<(u32, u32)>(),
        entries in prop::collection::vec(any::<(u32, u8)>(), 0..9),
        ssrcs in prop::collection::vec(any::<u32>(), 0..=MAX_COUNT),
        bitrate: u64,
        shift in 0u32..64,
    ) {
        let mut out = [0xAA; 256];
        let len = pli(sender, media, &mut out).unwrap();
        prop_assert_eq!(only(&out[..len]), Packet::Pli { media_ssrc: media });

        let len = fir(sender, &entries, &mut out).unwrap();
        let Packet::Fir { entries: read } = only(&out[..len]) else { panic!() };
        prop_assert_eq!(read.collect::<Vec<_>>(), entries);

        let len = bye(&ssrcs, &mut out).unwrap();
        let Packet::Bye { ssrcs: read } = only(&out[..len]) else { panic!() };
        prop_assert_eq!(read.collect::<Vec<_>>(), ssrcs.clone());

        let bitrate = bitrate >> shift;
        let len = remb(sender, bitrate, &ssrcs, &mut out).unwrap();
        let Packet::Remb { bitrate_bps, ssrcs: read } = only(&out[..len]) else { panic!() };
        prop_assert_eq!(read.collect::<Vec<_>>(), ssrcs);
        prop_assert!(bitrate_bps <= bitrate && bitrate - bitrate_bps <= bitrate >> 17);
    }

    #[test]
    fn names_of_every_length_fill_whole_words(ssrc: u32, cname in "[a-z0-9]{0,255}") {
        let mut out = [0xAA; 300];
        let len = sdes_cname(ssrc, &cname, &mut out).unwrap();
        prop_assert!(len.is_multiple_of(4));
        prop_assert_eq!(only(&out[..len]), Packet::SourceDescription);
        prop_assert_eq!(&out[4..8], &ssrc.to_be_bytes());
        prop_assert_eq!(&out[8..10], &[1, cname.len() as u8]);
        prop_assert_eq!(&out[10..10 + cname.len()], cname.as_bytes());
        let zeros = &out[10 + cname.len()..len];
        prop_assert!((1..=4).contains(&zeros.len()) && zeros.iter().all(|&zero| zero == 0));
    }
}

/// Iterates over everything a compound leads to.
fn walk(bytes: &[u8]) {
    for packet in compound(bytes).flatten() {
        match packet {
            Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } => {
                assert!(reports.count() <= MAX_COUNT);
            }
            Packet::Nack { lost, .. } => assert!(lost.count() <= bytes.len() / 4 * 17),
            Packet::Fir { entries } => assert!(entries.count() <= bytes.len() / 8),
            Packet::Remb { ssrcs, .. } | Packet::Bye { ssrcs } => {
                assert!(ssrcs.count() <= bytes.len() / 4);
            }
            Packet::TransportFeedback { raw, .. } => {
                let statuses = Statuses::read(raw).into_iter().flatten();
                assert!(statuses.count() <= usize::from(u16::MAX));
            }
            _ => {}
        }
    }
}
