//! What the server says of itself is what happened: cards, counters by port, histograms, metrics.

use std::time::Duration;

use crate::support::client::{Client, Offered, connect, run_for, run_until};
use crate::support::{Server, eventually, request};
use monoport::telemetry::{CardRole, PROFILES, PortName, SessionCard, Stage};
use str0m::format::Codec;
use str0m::media::MediaKind;

/// The card of the server's only session of `role`.
fn card(server: &Server, role: CardRole) -> Option<SessionCard> {
    let cards = server.node().meters().flat_map(|meters| meters.cards.iter());
    let mut cards = cards.map(|(_, _, card)| card).filter(|card| card.role == role);
    let card = cards.next();
    assert!(cards.next().is_none(), "one session of a role");
    card
}

struct Play {
    server: Server,
    publisher: Client,
    viewer: Client,
    number: u32,
}

impl Play {
    fn start(shards: usize) -> Play {
        let server = Server::with_shards(shards);
        let offered = Offered::both(Codec::Vp8);
        let mut publisher = Client::publish(&server, "s", offered);
        connect(&mut [&mut publisher]);
        let mut viewer = Client::watch(&server, "s", offered);
        connect(&mut [&mut publisher, &mut viewer]);
        eventually("the viewer is ready", || server.sum(|c| c.viewers_ready.get()) == 1);
        Play { server, publisher, viewer, number: 0 }
    }

    fn play(&mut self, packets: u32) {
        for number in self.number..self.number + packets {
            let keyframe = number.is_multiple_of(100);
            self.publisher.send(MediaKind::Video, keyframe, number, number * 900);
            run_for(Duration::from_millis(5), &mut [&mut self.publisher, &mut self.viewer]);
        }
        self.number += packets;
    }
}

#[test]
fn cards_tell_how_sessions_fare() {
    let mut stage = Play::start(2);
    let waiting = card(&stage.server, CardRole::Viewer).expect("it is there from the start");
    assert_eq!((waiting.stage, waiting.first_media_ms), (Stage::Connected, None));
    // A window is two seconds, and a round trip takes a report each way.
    for _ in 0..40 {
        stage.play(50);
        let cards = [CardRole::Publisher, CardRole::Viewer].map(|role| card(&stage.server, role));
        let [Some(up), Some(down)] = cards else { panic!("both are there") };
        if up.score.is_some() && down.score.is_some() && down.rtt_us.is_some() {
            break;
        }
    }
    let down = card(&stage.server, CardRole::Viewer).expect("it is connected");
    assert_eq!(down.remote, Some(stage.viewer.address));
    assert_eq!(down.local, Some(stage.server.media()));
    assert!(down.score.expect("judged") > 80.0, "{down:?}");
    assert!(down.rtt_us.expect("measured") < 1_000_000, "{down:?}");
    assert_eq!((down.lost, down.loss_ratio, down.moves), (0, 0.0, 0));
    assert!(down.bits_per_s > 10_000 && down.expected_bits_per_s > 10_000, "{down:?}");
    let up = card(&stage.server, CardRole::Publisher).expect("it is connected");
    assert_eq!(up.remote, Some(stage.publisher.address));
    assert!(up.score.expect("judged") > 80.0, "{up:?}");
    assert!(up.packets > 0 && up.bytes > up.packets * 200, "{up:?}");
    for card in [up, down] {
        assert_eq!((card.stage, card.dtls_flight), (Stage::Connected, 5));
        assert!(PROFILES[usize::from(card.profile)].starts_with("SRTP_"), "{card:?}");
        let phases = [card.first_stun_ms, card.dtls_ms, card.first_media_ms];
        let phases = phases.map(|phase| phase.expect("it has passed"));
        assert!(phases.is_sorted(), "{phases:?}");
    }
    assert_eq!(stage.viewer.delete().status, 200);
    eventually("its card is gone", || card(&stage.server, CardRole::Viewer).is_none());
}

#[test]
fn a_session_nobody_comes_for_says_so() {
    let server = Server::with_shards(1);
    let offered = Offered::both(Codec::Vp8);
    let mut client = Client::publish(&server, "s", offered);
    eventually("it waits", || {
        card(&server, CardRole::Publisher).is_some_and(|card| card.stage == Stage::Waiting)
    });
    let forged = crate::support::stun::Checks::forged(&mut client).request(true).1;
    client.socket.send_to(&forged, server.media()).expect("loopback takes it");
    eventually("it was refused", || {
        card(&server, CardRole::Publisher).is_some_and(|card| card.stage == Stage::Refused)
    });
    let checks = crate::support::stun::Checks::of(&mut client);
    checks.exchange(&client.socket, server.media(), true);
    eventually("it was heard", || {
        card(&server, CardRole::Publisher)
            .is_some_and(|card| card.stage == Stage::Checked && card.remote == Some(client.address))
    });
}

#[test]
fn ports_histograms_and_counters_say_the_same() {
    let mut stage = Play::start(2);
    stage.play(60);
    run_until("all of it arrives", &mut [&mut stage.publisher, &mut stage.viewer], |all| {
        all[1].video_numbers().len() == 60
    });
    let server = &stage.server;
    let port = PortName::Port(server.media().port());
    let agree = || {
        server.node().counters().zip(server.node().meters()).all(|(counters, meters)| {
            let (name, at_port) = meters.ports.open().next().expect("one port");
            let histograms = &meters.histograms;
            let trains = histograms.train_length.snapshot();
            name == port
                && at_port.datagrams_in.get() == counters.datagrams_in.get()
                && at_port.bytes_in.get() == counters.bytes_in.get()
                && at_port.datagrams_out.get() == counters.datagrams_out.get()
                && at_port.bytes_out.get() == counters.bytes_out.get()
                && trains.sum() == counters.datagrams_out.get()
                && trains.count() == counters.trains_out.get()
                && histograms.receive_batch.snapshot().sum() == counters.datagrams_in.get()
                && histograms.receive_batch.snapshot().count() == counters.receive_batches.get()
                && histograms.turn.snapshot().count() == counters.turns.get()
        })
    };
    eventually("ports, histograms and counters agree", agree);
    let timed = server.node().meters().map(|m| m.histograms.socket_to_socket.snapshot());
    let timed: Vec<_> = timed.filter(|snapshot| snapshot.count() > 0).collect();
    assert_eq!(timed.len(), 1, "the viewer's shard sends");
    assert_eq!(timed[0].count(), 60, "each packet once, whatever number of viewers");
    assert!(timed[0].max() < 10_000_000 && timed[0].sum() > 0, "{} µs", timed[0].max());
    let sessions = server.node().meters().map(|m| m.ports.at(0).sessions.get()).sum::<u64>();
    assert_eq!(sessions, 2);
}

#[test]
fn metrics_come_in_the_format_that_is_asked_for() {
    let mut stage = Play::start(2);
    stage.play(5);
    let url = stage.server.url("/metrics");
    let plain = request("GET", &url, &[], "");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for name in [
        "monoport_datagrams_in_total{shard=\"1\"} ",
        "monoport_port_datagrams_in_total{shard=\"0\",port=",
        "monoport_dropped_total{shard=\"0\",reason=\"srtp_auth\",stage=\"arrival\"} 0",
        "monoport_turn_seconds_bucket{shard=\"0\",le=",
        "monoport_sessions_by_state{role=\"viewer\",state=\"connected\"} 1",
        "monoport_shard_cpu_seconds_total{shard=\"0\"} ",
        "monoport_session_failures_total{reason=\"unheard\"} 0",
        "monoport_memory_bytes{term=\"session_cards\"} ",
    ] {
        assert!(plain.body.contains(name), "{name} in {}", plain.body);
    }
    // Every metric is declared once, and no line stands twice.
    let mut lines: Vec<&str> = plain.body.lines().collect();
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), all);
    let accept = [("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")];
    let open = request("GET", &url, &accept, "");
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(expected));
    assert!(open.body.ends_with("# EOF\n"));
}
