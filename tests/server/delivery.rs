//! What publishers send reaches viewers: every codec, every number of shards, across strays,
//! republishing and address changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Offered, connect, is_opus, run_for, run_until};
use crate::support::descriptors::descriptor;
use crate::support::{Server, eventually, request, steerings};
use monoport::drop::DropReason;
use monoport::limits::SESSION_IDLE;
use monoport::media::DependencyDescriptor;
use str0m::format::Codec;
use str0m::media::MediaKind;
use str0m::rtp::RtpPacket;

/// Sends `count` frames of one packet with audio beside them, and runs everybody meanwhile.
fn send_frames(publisher: &mut Client, viewers: &mut [&mut Client], first: u32, count: u32) {
    for number in first..first + count {
        let keyframe = number % 50 == 0;
        publisher.send(MediaKind::Video, keyframe, number, number * 3_000);
        publisher.send(MediaKind::Audio, false, number, number * 960);
        publisher.poll();
        for viewer in viewers.iter_mut() {
            viewer.poll();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the publisher is asked for a key frame: its viewers are ready then.
fn until_asked(publisher: &mut Client, viewers: &mut [&mut Client]) {
    let before = publisher.keyframes_asked;
    let mut all: Vec<&mut Client> = vec![publisher];
    all.extend(viewers.iter_mut().map(|viewer| &mut **viewer));
    run_until("a request for a key frame", &mut all, |all| all[0].keyframes_asked > before);
}

/// A publisher's frames and audio reach a viewer, every one of them.
pub fn delivers(server: &Server, stream: &str, codec: Codec) {
    let offered = Offered::both(codec);
    let mut publisher = Client::publish(server, stream, offered);
    connect(&mut [&mut publisher]);
    let mut viewer = Client::watch(server, stream, offered);
    connect(&mut [&mut publisher, &mut viewer]);
    publisher.send(MediaKind::Video, false, 0, 0);
    until_asked(&mut publisher, &mut [&mut viewer]);
    send_frames(&mut publisher, &mut [&mut viewer], 50, 100);
    let expected: Vec<u32> = (50..150).collect();
    run_until(&format!("{codec:?} arrives"), &mut [&mut publisher, &mut viewer], |all| {
        all[1].video_numbers().len() >= 100 && all[1].audio_numbers().len() >= 100
    });
    assert_eq!(viewer.video_numbers(), expected, "{codec:?}");
    assert_eq!(viewer.audio_numbers(), expected, "audio beside {codec:?}");
}

#[test]
fn every_codec_passes_through() {
    let server = Server::with_shards(1);
    for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1] {
        delivers(&server, &format!("{codec:?}"), codec);
    }
}

#[test]
fn strays_reach_their_shard_without_loss() {
    for steering in steerings() {
        let server = Server::steered(4, steering);
        for stream in ["a", "b", "c", "d"] {
            delivers(&server, stream, Codec::Vp8);
        }
        let strays = server.sum(|c| c.handed_over.get());
        match steering {
            "hash" => assert!(strays > 0, "with four shards some packets go astray"),
            _ => assert_eq!(strays, 0, "the kernel knows the way from the first check on"),
        }
        assert_eq!(server.drops(DropReason::RingFull), 0);
        assert_eq!(server.drops(DropReason::StaleFlow), 0);
    }
}

#[test]
fn one_shard_and_four_deliver_the_same_packets() {
    for steering in steerings() {
        let deliver = |shards: usize| {
            let server = Server::steered(shards, steering);
            let offered = Offered::both(Codec::Vp8);
            let mut publisher = Client::publish(&server, "s", offered);
            connect(&mut [&mut publisher]);
            let mut viewers: Vec<Client> =
                (0..6).map(|_| Client::watch(&server, "s", offered)).collect();
            let mut all: Vec<&mut Client> = viewers.iter_mut().collect();
            all.push(&mut publisher);
            connect(&mut all);
            let mut viewers: Vec<&mut Client> = viewers.iter_mut().collect();
            run_until("all viewers are ready", &mut viewers, |_| {
                server.sum(|counters| counters.viewers_ready.get()) == 6
            });
            send_frames(&mut publisher, &mut viewers, 0, 200);
            // Each packet once: some come again because a viewer asked before they came.
            let packets = |viewer: &&mut Client| {
                let packets = viewer.received.iter().map(|packet| packet.payload.to_vec());
                packets.collect::<BTreeSet<_>>()
            };
            run_until("all packets", &mut viewers, |viewers| {
                viewers.iter().all(|viewer| packets(viewer).len() >= 400)
            });
            viewers.iter().map(packets).collect::<Vec<_>>()
        };
        let (one, four) = (deliver(1), deliver(4));
        for (one, four) in one.into_iter().zip(four) {
            assert_eq!(one, four);
        }
    }
}

#[test]
fn a_publisher_that_returns_keeps_its_viewers_numbers_continuous() {
    for steering in steerings() {
        for shards in [1, 3] {
            let server = Server::steered(shards, steering);
            let offered = Offered::both(Codec::Vp8);
            let mut viewer = None::<Client>;
            for round in 0..3 {
                let mut publisher = Client::publish(&server, "s", offered);
                connect(&mut [&mut publisher]);
                let viewer = viewer.get_or_insert_with(|| Client::watch(&server, "s", offered));
                connect(&mut [&mut publisher, viewer]);
                // With its first media it takes over from one that is still there.
                publisher.send(MediaKind::Audio, false, round * 100, round * 96_000);
                run_until("a request for a key frame", &mut [&mut publisher, viewer], |all| {
                    all[0].keyframes_asked > 0
                });
                let first = round * 100;
                send_frames(&mut publisher, &mut [viewer], first, 60);
                run_until("this round's packets", &mut [&mut publisher, viewer], |all| {
                    all[1].video_numbers().last() == Some(&(first + 59))
                });
                if round == 1 {
                    // The one that leaves says goodbye; the others are simply replaced.
                    assert_eq!(publisher.delete().status, 200);
                }
            }
            let viewer = viewer.expect("it watched");
            let video = viewer.received.iter().filter(|packet| !is_opus(packet));
            let numbers: Vec<(u64, u32)> =
                video.map(|packet| (*packet.seq_no, packet.header.timestamp)).collect();
            assert_eq!(numbers.len(), 180, "every packet of three publishers, {shards} shards");
            for pair in numbers.windows(2) {
                assert_eq!(pair[1].0, pair[0].0 + 1, "sequence numbers leave no gap");
                let step = pair[1].1.wrapping_sub(pair[0].1);
                assert!((1..90_000 * 20).contains(&step), "timestamps go on: {step}");
            }
        }
    }
}

#[test]
fn an_ssrc_that_changes_goes_on_at_once_and_its_numbers_too() {
    for shards in [1, 3] {
        let server = Server::with_shards(shards);
        let offered = Offered::both(Codec::Vp8);
        let mut publisher = Client::publish(&server, "s", offered);
        connect(&mut [&mut publisher]);
        let mut viewer = Client::watch(&server, "s", offered);
        connect(&mut [&mut publisher, &mut viewer]);
        until_asked(&mut publisher, &mut [&mut viewer]);
        for round in 0..3 {
            send_frames(&mut publisher, &mut [&mut viewer], round * 100, 60);
            run_until("this round's packets", &mut [&mut publisher, &mut viewer], |all| {
                let last = Some(&(round * 100 + 59));
                let viewer = &all[1];
                viewer.video_numbers().last() == last && viewer.audio_numbers().last() == last
            });
            publisher.change_ssrc(MediaKind::Audio, 7_000 + round * 10);
            publisher.change_ssrc(MediaKind::Video, 9_000 + round * 10);
        }
        for is_wanted in [is_opus, |packet: &RtpPacket| !is_opus(packet)] {
            let packets = viewer.received.iter().filter(|packet| is_wanted(packet));
            let numbers: Vec<u64> = packets.map(|packet| *packet.seq_no).collect();
            assert_eq!(numbers.len(), 180, "every packet, {shards} shards");
            let steps = numbers.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(steps.into_iter().all(|step| step == 1), "without a gap: {numbers:?}");
        }
    }
}

/// A receiver takes a key frame whose number is behind the last one's for a straggler.
#[test]
fn dependency_descriptors_pass_through_and_their_frames_are_counted_on_across_publishers() {
    for shards in [1, 3] {
        let server = Server::with_shards(shards);
        let offered = Offered { audio: false, ..Offered::both(Codec::Av1) };
        let mut viewer = None::<Client>;
        for (round, frame) in [(0, 65_530), (1, 9)] {
            let mut publisher = Client::publish(&server, "s", offered);
            publisher.next_frame = Some(frame);
            connect(&mut [&mut publisher]);
            let viewer = viewer.get_or_insert_with(|| Client::watch(&server, "s", offered));
            connect(&mut [&mut publisher, viewer]);
            run_until("a request for a key frame", &mut [&mut publisher, viewer], |all| {
                all[0].keyframes_asked > 0
            });
            for number in round * 50..round * 50 + 20 {
                publisher.send(MediaKind::Video, number % 50 == 0, number, number * 3_000);
                run_for(Duration::from_millis(1), &mut [&mut publisher, viewer]);
            }
            run_until("this round's packets", &mut [&mut publisher, viewer], |all| {
                all[1].received.len() == (round as usize + 1) * 20
            });
            assert_eq!(publisher.delete().status, 200);
            eventually("the viewer is alone", || server.sessions() == 1);
        }
        let packets = viewer.expect("it watched").received.into_iter();
        let read = |packet: str0m::rtp::RtpPacket| {
            packet.header.ext_vals.user_values.get::<DependencyDescriptor>().cloned()
        };
        let found: Vec<_> = packets.map(|packet| read(packet).expect("a descriptor")).collect();
        let expected: Vec<_> = (0..40u16)
            .map(|count| descriptor(count % 20 == 0, 65_530_u16.wrapping_add(count)))
            .collect();
        assert_eq!(found, expected, "{shards} shards");
    }
}

#[test]
fn two_sessions_in_turn_from_one_client_address_do_not_disturb_each_other() {
    for steering in steerings() {
        let server = Server::steered(2, steering);
        let offered = Offered::both(Codec::Vp8);
        let mut publisher = Client::publish(&server, "s", offered);
        connect(&mut [&mut publisher]);
        let mut first = Client::watch(&server, "s", offered);
        connect(&mut [&mut publisher, &mut first]);
        let socket = first.socket.try_clone().expect("a second handle of the socket");
        assert_eq!(first.delete().status, 200);
        let mut second = Client::watch_from(&server, "s", offered, socket);
        connect(&mut [&mut publisher, &mut second]);
        until_asked(&mut publisher, &mut [&mut second]);
        send_frames(&mut publisher, &mut [&mut second], 0, 50);
        run_until("the second session's packets", &mut [&mut publisher, &mut second], |all| {
            all[1].video_numbers().len() == 50
        });
        eventually("the first session is gone", || server.sessions() == 2);
    }
}

#[test]
fn a_viewer_that_loses_packets_gets_them_again() {
    let server = Server::with_shards(1);
    let offered = Offered::both(Codec::Vp8);
    let mut publisher = Client::publish(&server, "s", offered);
    connect(&mut [&mut publisher]);
    let mut viewer = Client::watch(&server, "s", offered);
    connect(&mut [&mut publisher, &mut viewer]);
    until_asked(&mut publisher, &mut [&mut viewer]);
    send_frames(&mut publisher, &mut [&mut viewer], 0, 50);
    // The network loses what comes now.
    send_frames(&mut publisher, &mut [], 50, 5);
    std::thread::sleep(Duration::from_millis(50));
    let mut lost = [0; 2_000];
    while viewer.socket.recv(&mut lost).is_ok() {}
    send_frames(&mut publisher, &mut [&mut viewer], 55, 50);
    run_until("the lost packets too", &mut [&mut publisher, &mut viewer], |all| {
        let mut numbers = all[1].video_numbers();
        numbers.sort_unstable();
        numbers == (0..105).collect::<Vec<_>>()
    });
    assert!(server.sum(|c| c.repaired_packets.get()) >= 5);
}

/// Elsewhere, closing one session broke off the writes of others that shared its socket.
#[test]
fn viewers_that_come_and_go_disturb_nobody_though_the_send_buffer_is_tiny() {
    let server = Server::start(&["--shards", "2", "--send-buffer", "4096"]);
    let offered = Offered::both(Codec::Vp8);
    let mut publisher = Client::publish(&server, "s", offered);
    connect(&mut [&mut publisher]);
    let mut steady = Client::watch(&server, "s", offered);
    connect(&mut [&mut publisher, &mut steady]);
    until_asked(&mut publisher, &mut [&mut steady]);
    let mut sent = 0;
    let mut media = |publisher: &mut Client, others: &mut [&mut Client]| {
        send_frames(publisher, others, sent, 50);
        sent += 50;
        sent
    };
    for round in 0..4 {
        let mut passing: Vec<Client> =
            (0..6).map(|_| Client::watch(&server, "s", offered)).collect();
        let mut all: Vec<&mut Client> = passing.iter_mut().collect();
        all.push(&mut steady);
        media(&mut publisher, &mut all);
        // Half of them say that they leave, the others are simply gone.
        for (index, client) in passing.iter().enumerate() {
            if (index + round) % 2 == 0 {
                assert_eq!(client.delete().status, 200);
            }
        }
        drop(passing);
        media(&mut publisher, &mut [&mut steady]);
    }
    let sent = media(&mut publisher, &mut [&mut steady]);
    run_until("every packet", &mut [&mut publisher, &mut steady], |all| {
        all[1].video_numbers().len() >= sent as usize
    });
    let mut numbers = steady.video_numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..sent).collect::<Vec<_>>());
    assert_eq!(server.drops(DropReason::SendQueueFull), 0);
}

#[test]
fn a_viewer_that_moves_is_followed_within_one_check() {
    for steering in steerings() {
        let server = Server::steered(2, steering);
        let offered = Offered::both(Codec::Vp8);
        let mut publisher = Client::publish(&server, "s", offered);
        connect(&mut [&mut publisher]);
        let mut viewer = Client::watch(&server, "s", offered);
        connect(&mut [&mut publisher, &mut viewer]);
        until_asked(&mut publisher, &mut [&mut viewer]);
        send_frames(&mut publisher, &mut [&mut viewer], 0, 50);
        // A NAT gives the client another port; it does not know, and goes on as before.
        viewer.socket = crate::support::client::socket();
        run_until("the move", &mut [&mut publisher, &mut viewer], |_| {
            server.sum(|c| c.flow_moves.get()) == 1
        });
        let before = viewer.video_numbers().len();
        send_frames(&mut publisher, &mut [&mut viewer], 50, 50);
        run_until("packets at the new port", &mut [&mut publisher, &mut viewer], |all| {
            all[1].video_numbers().len() >= before + 50
        });
    }
}

#[test]
fn a_publisher_whose_checks_stop_lives_on_by_its_media() {
    let server = Server::with_shards(1);
    let mut publisher = Client::publish(&server, "s", Offered::both(Codec::Vp8));
    connect(&mut [&mut publisher]);
    publisher.keep_checks_from_the_server(server.media());
    let checks = server.sum(|c| c.stun_requests.get());
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < SESSION_IDLE + Duration::from_secs(4) {
        publisher.send(MediaKind::Audio, false, number, number * 960);
        number += 1;
        run_for(Duration::from_millis(100), &mut [&mut publisher]);
    }
    assert_eq!(server.sessions(), 1, "media is life enough");
    assert_eq!(server.sum(|c| c.stun_requests.get()), checks, "no check has come all the time");
}

/// Opus sends a packet each 400 ms where nobody speaks (DTX): its numbers go on, its time leaps,
/// and what is said after a pause is marked. That is nobody's loss, nor silence of the publisher.
#[test]
fn sound_that_pauses_is_passed_as_it_comes() {
    let server = Server::with_shards(2);
    let offered = Offered { codec: Codec::Vp8, audio: true, video: false };
    let mut publisher = Client::publish(&server, "s", offered);
    connect(&mut [&mut publisher]);
    let mut viewer = Client::watch(&server, "s", offered);
    connect(&mut [&mut publisher, &mut viewer]);
    run_until("the viewer is ready", &mut [&mut publisher, &mut viewer], |_| {
        server.sum(|c| c.viewers_ready.get()) == 1
    });
    // What is said for a second, and not for eight: longer than quality is judged by.
    let (mut sent, mut time) = (Vec::new(), 0);
    for number in 0..120 {
        let speaks = number % 60 < 40;
        publisher.begins = number % 60 == 0;
        sent.push((number, time, publisher.begins));
        publisher.send(MediaKind::Audio, false, number, time);
        let wait = if speaks { 20 } else { 400 };
        time += 48 * wait;
        run_for(Duration::from_millis(wait.into()), &mut [&mut publisher, &mut viewer]);
    }
    run_until("all of it", &mut [&mut publisher, &mut viewer], |all| {
        all[1].audio_numbers() == (0..120).collect::<Vec<u32>>()
    });
    let first = viewer.received[0].header.timestamp;
    let heard = viewer.received.iter().zip(viewer.audio_numbers()).map(|(packet, number)| {
        (number, packet.header.timestamp.wrapping_sub(first), packet.header.marker)
    });
    assert_eq!(heard.collect::<Vec<_>>(), sent);
    for reason in [DropReason::StaleMedia, DropReason::RepairTooOld] {
        assert_eq!(server.drops(reason), 0, "{reason:?}");
    }
    let sessions = request("GET", &server.url("/api/v1/sessions"), &[], "").body;
    let sessions: serde_json::Value = serde_json::from_str(&sessions).expect("JSON");
    let sessions = sessions["sessions"].as_array().expect("a list");
    assert_eq!(sessions.len(), 2, "none was let go");
    for session in sessions {
        let judged = (&session["level"], session["loss_ratio"].as_f64());
        assert_eq!(judged, (&"excellent".into(), Some(0.0)), "{session}");
    }
}
