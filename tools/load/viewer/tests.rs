//! What a viewer counts of what a server sends, and what it answers.

use super::*;
use crate::media::{self, Stamp};
use monoport::srtp::{Profile, RtpSealer, split_keying_material};
use monoport::wire::rtp::HeaderWriter;

const PROFILE: Profile = Profile::AeadAes256Gcm;
const SSRC: u32 = 9;

/// A server's side of a viewer.
struct Served {
    viewer: Viewer,
    lens: Lens,
    sealer: RtpSealer,
    opener: RtcpOpener,
}

impl Served {
    fn new(section: Section) -> Self {
        let material = vec![7; PROFILE.keying_material_len()];
        let (ours, theirs) = split_keying_material(PROFILE, &material).expect("it is as long");
        let (sealer, opener) = (RtpSealer::new(PROFILE, &theirs), RtcpOpener::new(PROFILE, &ours));
        let answer = Answer {
            ufrag: String::new(),
            password: String::new(),
            fingerprint: [0; 32],
            server_is_passive: true,
            candidates: Vec::new(),
            audio: None,
            video: Some(section),
            rtx_pt: None,
            ssrcs: Vec::new(),
        };
        let keys = Keys { profile: PROFILE, ours, theirs };
        let stream = Arc::new(Stream::new("s".into()));
        let viewer = Viewer::new(stream, Some(Format::Vp8), &answer, &keys, 0);
        Self { viewer, lens: Lens::new(Arc::default(), 1, false, 0.0), sealer, opener }
    }

    /// Sends `payload` as packet `sequence`, which is its transport-wide number, too.
    fn send(&mut self, sequence: u16, payload: &[u8]) {
        let header = HeaderWriter {
            marker: false,
            padding: false,
            payload_type: 96,
            sequence,
            timestamp: 0,
            ssrc: SSRC,
        };
        let mut packet = vec![0; 200];
        let number = sequence.to_be_bytes();
        let header_len = header.write(&[(3, &number)], &mut packet).expect("there is room");
        let end = header_len + payload.len();
        packet[header_len..end].copy_from_slice(payload);
        let length = self.sealer.seal(&mut packet, header_len, end, SSRC, u64::from(sequence));
        let now_ns = u64::from(sequence) * 1_000_000;
        let came = Came { arrived_ns: now_ns, now_ns };
        self.viewer.on_rtp(&packet[..length], came, &mut self.lens);
    }

    /// What the viewer wrote, opened.
    fn opened(&mut self, write: impl FnOnce(&mut Viewer, &mut [u8]) -> usize) -> Vec<u8> {
        let mut packet = vec![0; 1_200];
        let length = write(&mut self.viewer, &mut packet);
        packet.truncate(length);
        let length = self.opener.open(&mut packet).expect("it is sealed for us");
        packet.truncate(length);
        packet
    }
}

fn section() -> Section {
    Section { payload_type: 96, ..Section::default() }
}

/// A key frame's first packet, with our stamp or packed anew by a server.
fn key_frame(stamped: bool) -> Vec<u8> {
    let mut payload = vec![0x55; 60];
    let packet = media::Packet { picture_id: 1, key_frame: true, part: 0, last: true, layer: 0 };
    Format::Vp8.write(&mut payload, packet, 60, Stamp { layer: 0, number: 40, sent_ns: 5 });
    if !stamped {
        payload.truncate(20);
    }
    payload
}

#[test]
fn where_stamps_are_missing_loss_is_counted_by_sequence_numbers() {
    let mut served = Served::new(section());
    // The middle of a picture shows nothing: what is counted begins with a key frame.
    served.send(98, &[0x80, 0x80, 0x80, 0x01, 0x55]);
    served.send(99, &key_frame(false));
    for sequence in (100..150).filter(|sequence| sequence % 10 != 5) {
        served.send(sequence, &[0x80, 0x80, 0x80, 0x01, 0x55]);
    }
    let ((video, sent), _) = served.viewer.accounts();
    assert!(video.is_by_sequence());
    assert_eq!((video.expected(sent), video.received), (51, 46));
    assert_eq!((served.lens.odd.unstamped, served.lens.odd.unknown), (47, 0));
}

#[test]
fn a_packet_without_payload_is_a_probe_and_changes_no_count() {
    let mut served = Served::new(section());
    served.send(7, &key_frame(true));
    served.send(8, &[]);
    let ((video, _), _) = served.viewer.accounts();
    assert!(!video.is_by_sequence());
    assert_eq!((video.received, served.lens.odd.padding, served.lens.odd.unstamped), (1, 1, 0));
}

#[test]
fn feedback_and_estimates_are_written_where_the_answer_has_them() {
    for (transport_wide, remb) in [(None, false), (Some(3), true)] {
        let transport_feedback = transport_wide.is_some();
        let section = Section { transport_wide, transport_feedback, remb, ..section() };
        let mut served = Served::new(section);
        served.send(7, &key_frame(true));
        assert_eq!(served.viewer.feedback_due().is_some(), transport_feedback);
        let report = served.opened(|viewer, out| viewer.write_report(0, out));
        let estimates = rtcp::compound(&report).flatten();
        let estimates = estimates.filter(|part| matches!(part, rtcp::Packet::Remb { .. }));
        assert_eq!(estimates.count(), usize::from(remb));
        let mut out = [0; 1_200];
        if !transport_feedback {
            assert_eq!(served.viewer.write_feedback(Instant::now(), &mut out), 0);
            continue;
        }
        let told = served.opened(|viewer, out| viewer.write_feedback(Instant::now(), out));
        let Some(Ok(rtcp::Packet::TransportFeedback { media_ssrc, raw, .. })) =
            rtcp::compound(&told).next()
        else {
            panic!("no feedback: {told:02x?}")
        };
        assert_eq!((media_ssrc, &raw[..4]), (SSRC, &[0, 7, 0, 1][..]), "number 7 alone");
    }
}

/// A server begins a viewer with the newest key frame, which may be seconds old.
#[test]
fn what_was_sent_before_the_viewer_came_has_no_latency() {
    let mut served = Served::new(section());
    served.lens.measuring = true;
    served.viewer.who.since_ns = 6;
    served.send(7, &key_frame(true));
    assert_eq!(served.lens.latency_us.len(), 0, "it was sent at 5");
    served.viewer.who.since_ns = 5;
    served.send(8, &key_frame(true));
    assert_eq!(served.lens.latency_us.len(), 1);
    assert_eq!(served.viewer.accounts().0.0.received, 2, "counted all the same");
}
