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
fn numbers_go_on_across_a_change_of_layer_and_what_came_before_is_found() {
    let (mut lane, sealer) = (lane(0), sealer());
    for (sequence, index) in [(100, 0), (101, 1), (103, 3)] {
        assert_eq!(send(&mut lane, &sealer, &packet(0, sequence, sequence == 100)), Ok(index));
    }
    let inter = send(&mut lane, &sealer, &packet(1, 69, false));
    assert_eq!(inter, Err(DropReason::WaitingForKeyframe));
    assert_eq!(send(&mut lane, &sealer, &packet(1, 70, true)), Ok(4));
    assert_eq!(send(&mut lane, &sealer, &packet(1, 71, false)), Ok(5));
    assert_eq!(send(&mut lane, &sealer, &packet(0, 102, false)), Ok(2), "late, in its own place");
    let too_late = send(&mut lane, &sealer, &packet(0, 104, false));
    assert_eq!(too_late, Err(DropReason::WaitingForKeyframe), "its place is another's");
    assert_eq!(lane.find(2), Some(Sent { layer: 0, sequence: 102, index: 2 }));
    assert_eq!(lane.find(4), Some(Sent { layer: 1, sequence: 70, index: 4 }));
    assert_eq!(send(&mut lane, &sealer, &packet(0, 150, true)), Ok(6), "and back");
    assert_eq!(lane.layer(), Some(0));
}

proptest! {
    /// Whatever layers come, in whatever order: an SRTP index is used for one packet alone, indices
    /// grow without a gap but for packets that did not come, and what was sent is found again.
    #[test]
    fn indices_are_unique_and_findable(
        random: u64,
        steps in prop::collection::vec((0u8..3, 0u64..4, prop::bool::weighted(0.1)), 1..400),
    ) {
        let (mut lane, sealer) = (lane(random), sealer());
        let mut newest = [1_000u64, 50, 1 << 40];
        let mut sent: Vec<(u64, u8, u64)> = Vec::new();
        let mut changes = 0;
        for (layer, step, keyframe) in steps {
            // 0 is the number before the newest, late or a second time.
            let number = match step {
                0 => newest[usize::from(layer)].saturating_sub(1),
                step => newest[usize::from(layer)] + step,
            };
            newest[usize::from(layer)] = newest[usize::from(layer)].max(number);
            let before = lane.layer();
            if let Ok(index) = send(&mut lane, &sealer, &packet(layer, number, keyframe)) {
                changes += usize::from(before != lane.layer());
                let same = sent.iter().find(|(known, ..)| *known == index);
                prop_assert!(same.is_none_or(|(_, l, n)| (*l, *n) == (layer, number)));
                sent.push((index, layer, number));
            }
        }
        // Only spans that are remembered can be found.
        if changes <= MAX_SPANS {
            for (index, layer, sequence) in sent {
                prop_assert_eq!(lane.find(index as u16), Some(Sent { layer, sequence, index }));
            }
        }
    }
}
