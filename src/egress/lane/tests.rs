//! A viewer's numbers over the layers it is given.

use proptest::prelude::*;
use str0m::format::Codec;

use super::*;
use crate::id::{StreamKey, TrackKey, TrackKind};
use crate::media::{HeaderExtensions, Origin};
use crate::srtp::{MasterKey, Profile};

const VIDEO: TrackId = TrackId::first(TrackKind::Video);

fn lane(random: u64) -> Lane {
    let extensions = ExtensionIds::default();
    let track = ViewerTrack {
        id: VIDEO,
        codec: Codec::Vp8,
        mid: "0".into(),
        ssrc: 1,
        rtx_ssrc: Some(2),
        payload_type: 96,
        rtx_payload_type: Some(97),
        red_payload_type: None,
        extensions,
    };
    Lane::new(&track, random)
}

fn packet(layer: u8, sequence: u64, keyframe: bool) -> MediaPacket {
    MediaPacket {
        track: TrackKey { stream: StreamKey { index: 0, generation: 0 }, id: VIDEO },
        codec: Codec::Vp8,
        layer,
        origin: Origin::default(),
        sequence,
        timestamp: 0,
        marker: false,
        keyframe,
        extensions: HeaderExtensions::default(),
        padding: 0,
        received: std::time::Instant::now(),
        payload: vec![0; 10].into(),
    }
}

fn sealer() -> RtpSealer {
    let profile = Profile::AeadAes128Gcm;
    let (key, salt) = (vec![1; profile.key_len()], vec![9; profile.salt_len()]);
    RtpSealer::new(profile, &MasterKey::new(profile, &key, &salt).unwrap())
}

/// Firefox lets nothing in of an SSRC that has named no section, when another one has.
#[test]
fn what_is_sent_again_and_padding_name_their_section_whenever_they_leave() {
    let (mut lane, sealer) = (lane(0), sealer());
    (lane.extensions.mid, lane.extensions.transport_sequence) = (Some(3), Some(7));
    let mut slot = [0; 400];
    // The first element behind what says how long they are.
    let names_it = |slot: &[u8]| slot[16..18] == [0x30, b'0'];
    let packet = packet(0, 10, true);
    lane.admit(&packet).expect("it plays");
    lane.send(&sealer, &packet, 0, &mut slot).expect("it fits");
    assert!(names_it(&slot), "the first does");
    lane.acknowledged();
    lane.write(&sealer, &packet, 0, Some(1), &mut slot).expect("it fits");
    assert!(!names_it(&slot), "it is known by then");
    lane.resend(&sealer, &packet, (0, Some(2)), &mut slot).expect("it fits");
    assert!(names_it(&slot));
    slot.fill(0);
    lane.pad(&sealer, 3, &mut slot).expect("it fits");
    assert!(names_it(&slot));
}

/// Sends `packet` if the lane takes it, and returns the viewer's number.
fn send(lane: &mut Lane, sealer: &RtpSealer, packet: &MediaPacket) -> Result<u64, DropReason> {
    let index = lane.admit(packet)?;
    lane.send(sealer, packet, index, &mut [0; 200])?;
    Ok(index)
}

#[test]
fn a_viewer_starts_at_a_key_frame_and_with_what_it_negotiated() {
    let (mut lane, sealer) = (lane(7), sealer());
    let waits = Err(DropReason::WaitingForKeyframe);
    assert_eq!(send(&mut lane, &sealer, &packet(0, 9, false)), waits);
    assert_eq!(lane.find(7), None, "nothing was sent");
    let other = MediaPacket { codec: Codec::H264, ..packet(0, 10, true) };
    assert_eq!(send(&mut lane, &sealer, &other), Err(DropReason::UnknownEncoding));
    assert_eq!(send(&mut lane, &sealer, &packet(0, 10, true)), Ok(7));
    assert_eq!(send(&mut lane, &sealer, &packet(0, 9, false)), waits, "from before the start");
    assert_eq!(send(&mut lane, &sealer, &packet(0, 12, false)), Ok(9));
    assert_eq!((lane.find(6), lane.find(10)), (None, None), "never sent");
    assert_eq!(lane.find(8), Some(Sent { layer: 0, sequence: 11, index: 8 }), "a hole has a name");
}

#[test]
fn redundant_audio_is_sent_as_it_is_or_without_and_under_one_number_always_the_same() {
    let audio = TrackId::first(TrackKind::Audio);
    let track = |red_payload_type| ViewerTrack {
        id: audio,
        codec: Codec::Opus,
        mid: "0".into(),
        ssrc: 1,
        rtx_ssrc: None,
        payload_type: 96,
        rtx_payload_type: None,
        red_payload_type,
        extensions: ExtensionIds::default(),
    };
    let redundant = red::tests::packet(&[&[1, 2], &[3]]);
    let sealer = sealer();
    let sound = |sequence| {
        let packet = packet(0, sequence, true);
        let track = TrackKey { id: audio, ..packet.track };
        MediaPacket { track, codec: Codec::Red, payload: redundant.clone().into(), ..packet }
    };
    let text = |lane: &mut Lane, packet: &MediaPacket, again: Option<u64>| {
        let mut slot = [0; 200];
        let length = match again {
            Some(index) => lane.resend(&sealer, packet, (index, None), &mut slot),
            None => {
                let index = lane.admit(packet).expect("it plays");
                lane.send(&sealer, packet, index, &mut slot)
            }
        };
        slot[..length.expect("it has room")].to_vec()
    };
    let sealed = |payload: usize| 12 + payload + sealer.overhead();
    let mut plain = Lane::new(&track(None), 0);
    let sent = text(&mut plain, &sound(10), None);
    assert_eq!((sent[1] & 0x7f, sent.len(), plain.sent()), (96, sealed(1), (1, 1)));
    let mut lane = Lane::new(&track(Some(63)), 0);
    let sent = text(&mut lane, &sound(10), None);
    assert_eq!((sent[1] & 0x7f, sent.len()), (63, sealed(redundant.len())));
    lane.spare_redundancy();
    assert!(!lane.takes_redundancy());
    let next = text(&mut lane, &sound(11), None);
    assert_eq!((next[1] & 0x7f, next.len()), (96, sealed(1)));
    assert_eq!(text(&mut lane, &sound(10), Some(0)), sent);
    assert_eq!(text(&mut lane, &sound(11), Some(1)), next);
}

/// Begins with `first`, of whose layer it is the newest packet too, behind `sent`.
fn begin(lane: &mut Lane, first: &MediaPacket, sent: &MediaPacket) -> Result<(), TooEarly> {
    let (last, live) = (first.sequence, first.timestamp);
    lane.begin(&Start { first, last, live, sent: Some(sent), within: false })
}

fn at(layer: u8, sequence: u64, timestamp: u32) -> MediaPacket {
    MediaPacket { timestamp, ..packet(layer, sequence, sequence.is_multiple_of(10)) }
}

#[test]
fn numbers_go_on_across_a_change_of_layer_and_what_came_before_is_found() {
    let (mut lane, sealer) = (lane(0), sealer());
    for (sequence, index) in [(100, 0), (101, 1), (103, 3)] {
        assert_eq!(send(&mut lane, &sealer, &packet(0, sequence, sequence == 100)), Ok(index));
    }
    let unasked = send(&mut lane, &sealer, &packet(1, 70, true));
    assert_eq!(unasked, Err(DropReason::OtherLayer), "be it a key frame");
    let last = packet(0, 103, false);
    assert_eq!(begin(&mut lane, &at(1, 70, 0), &last), Err(TooEarly), "time must go on");
    assert_eq!(begin(&mut lane, &at(1, 70, 9), &last), Ok(()));
    assert_eq!(send(&mut lane, &sealer, &at(1, 70, 9)), Ok(4));
    assert_eq!(send(&mut lane, &sealer, &at(1, 71, 9)), Ok(5));
    assert_eq!(send(&mut lane, &sealer, &packet(0, 102, false)), Ok(2), "late, in its own place");
    let too_late = send(&mut lane, &sealer, &packet(0, 104, false));
    assert_eq!(too_late, Err(DropReason::OtherLayer), "its place is another's");
    assert_eq!(lane.find(2), Some(Sent { layer: 0, sequence: 102, index: 2 }));
    assert_eq!(lane.find(4), Some(Sent { layer: 1, sequence: 70, index: 4 }));
    assert_eq!(begin(&mut lane, &at(0, 150, 10), &at(1, 71, 9)), Ok(()));
    assert_eq!(send(&mut lane, &sealer, &at(0, 150, 10)), Ok(6), "and back");
    assert_eq!((lane.layer(), lane.has_left(5), lane.has_left(6)), (Some(0), true, false));
}

#[test]
fn a_number_that_was_filled_is_nobodys_any_more() {
    let (mut lane, sealer) = (lane(0), sealer());
    for sequence in [100, 101, 104] {
        send(&mut lane, &sealer, &packet(0, sequence, sequence == 100)).expect("it plays");
    }
    let mut slot = [0; 200];
    let filled = lane.fill(&sealer, 2, &mut slot);
    assert_eq!(filled, Err(DropReason::RepairTooOld), "it may come late");
    begin(&mut lane, &at(1, 70, 9), &packet(0, 104, false)).expect("time goes on");
    assert_eq!(send(&mut lane, &sealer, &packet(0, 102, false)), Ok(2));
    let first = lane.fill(&sealer, 3, &mut slot).map(|length| slot[..length].to_vec());
    let first = first.expect("it fits");
    assert_eq!((first[0], &first[2..4]), (0xa0, &[0, 3][..]), "padding, under its number");
    let again = lane.fill(&sealer, 3, &mut slot).map(|length| slot[..length].to_vec());
    assert_eq!(again, Ok(first), "the same text each time");
    let late = send(&mut lane, &sealer, &packet(0, 103, false));
    assert_eq!(late, Err(DropReason::OtherLayer), "or one number would seal two texts");
    assert_eq!(send(&mut lane, &sealer, &at(1, 70, 9)), Ok(5));
}

#[test]
fn what_has_passed_is_squeezed_into_the_time_since_the_last_picture() {
    let (mut lane, sealer) = (lane(0), sealer());
    send(&mut lane, &sealer, &at(0, 100, 90_000)).expect("it starts");
    let timestamp = |lane: &mut Lane, packet: &MediaPacket| {
        let mut slot = [0; 200];
        let index = lane.admit(packet).expect("it plays");
        lane.send(&sealer, packet, index, &mut slot).expect("it fits");
        lane.viewer_timestamp(0).wrapping_sub(u32::from_be_bytes(slot[4..8].try_into().unwrap()))
    };
    // 31 pictures, 3,000 ticks apart, of which the last is a picture newer than what was sent.
    let picture = |number: u64| at(1, 500 + number, 3_000 + 3_000 * number as u32);
    let (first, last) = (picture(0), picture(30));
    let sent = at(0, 100, 90_000);
    let (last, live) = (530, last.timestamp);
    let start = Start { first: &first, last, live, sent: Some(&sent), within: false };
    lane.begin(&start).expect("there is a picture newer");
    let times: Vec<u32> =
        (0..33).map(|number| timestamp(&mut lane, &picture(number)).wrapping_neg()).collect();
    assert!(times[0] > 90_000, "{times:?}");
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
    assert_eq!(times[30..], [93_000, 96_000, 99_000], "and goes on as it was: {times:?}");
    let again: Vec<u32> =
        (0..33).map(|number| timestamp(&mut lane, &picture(number)).wrapping_neg()).collect();
    assert_eq!(again, times, "the same whenever it is sent");
}

proptest! {
    /// Whatever layers come and are chosen, in whatever order: an SRTP index is used for one packet
    /// alone, indices grow without a gap but for packets that did not come, what was sent is found
    /// again, and the newest picture is never older than the one before.
    #[test]
    fn indices_are_unique_and_findable(
        random: u64,
        steps in prop::collection::vec(
            (0u8..3, 0u64..4, prop::bool::weighted(0.1), prop::bool::weighted(0.2)),
            1..400,
        ),
    ) {
        let (mut lane, sealer) = (lane(random), sealer());
        let mut newest = [1_000u64, 50, 1 << 40];
        let mut sent: Vec<(u64, MediaPacket)> = Vec::new();
        let (mut changes, mut time) = (0, 0);
        for (layer, step, keyframe, fills) in steps {
            // 0 is the number before the newest, late or a second time.
            let number = match step {
                0 => newest[usize::from(layer)].saturating_sub(1),
                step => newest[usize::from(layer)] + step,
            };
            let is_new = number > newest[usize::from(layer)];
            newest[usize::from(layer)] = newest[usize::from(layer)].max(number);
            time += u32::from(is_new);
            let made = MediaPacket { timestamp: time, ..packet(layer, number, keyframe) };
            let last = sent.iter().max_by_key(|(index, _)| *index);
            let last = last.map(|(_, packet)| packet.clone());
            if let Some(last) = last.filter(|_| keyframe && is_new && lane.layer() != Some(layer)) {
                prop_assert_eq!(begin(&mut lane, &made, &last), Ok(()));
                changes += 1;
            }
            if let Ok(index) = send(&mut lane, &sealer, &made) {
                let same = sent.iter().find(|(known, _)| *known == index);
                prop_assert!(same.is_none_or(|(_, p)| (p.layer, p.sequence) == (layer, number)));
                if same.is_none() {
                    sent.push((index, made));
                }
            }
            // A number of a span that is over, under which nothing was sent.
            let newest = lane.newest().map(|newest| newest.index).filter(|_| fills);
            let first = newest.map_or(0, |newest| newest.saturating_sub(20));
            let is_free = |index: &u64| sent.iter().all(|(known, _)| known != index);
            let free: Vec<u64> = (first..newest.unwrap_or(0)).filter(is_free).collect();
            for index in free {
                if lane.fill(&sealer, index, &mut [0; 200]).is_ok() {
                    sent.push((index, packet(0xff, 0, false)));
                }
            }
        }
        sent.sort_by_key(|(index, _)| *index);
        // Only spans that are remembered can be found.
        if changes <= MAX_SPANS {
            for (index, packet) in sent.iter().filter(|(_, packet)| packet.layer != 0xff) {
                let MediaPacket { layer, sequence, .. } = *packet;
                let index = *index;
                prop_assert_eq!(lane.find(index as u16), Some(Sent { layer, sequence, index }));
            }
        }
    }
}
