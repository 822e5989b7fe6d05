//! What control decides, without a shard that runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use str0m::Rtc;
use str0m::media::{Direction, MediaKind};

use crate::config::{Args, Config};
use crate::control::{
    Caller, ConnectingLimits, Control, ControlError, Directory, HttpAt, Member, MemoryDirectory,
    MemoryStore, OnConflict, Placement, PortOpener, PortRefused, Settings, StartingPorts, unix_now,
};
use crate::id::SessionKey;
use crate::limits::{BUSY_PERMILLE, CALM_PERMILLE};
use crate::session::{CodecMatch, Negotiator};
use crate::shard::{BoundPort, EndReason, Ended, Report};

/// Opens no port, which placing sessions does not ask for.
struct NoMore;

impl PortOpener for NoMore {
    fn open_mux(&self, _port: u16) -> Result<Vec<BoundPort>, PortRefused> {
        Err(PortRefused::Failed("there is no shard to serve it".into()))
    }

    fn open_own(&self, _port: u16) -> Result<BoundPort, PortRefused> {
        Err(PortRefused::Failed("there is no shard to serve it".into()))
    }
}

/// The control side of the node `name`, with four shards that do nothing.
fn control(name: &str, directory: impl Directory + 'static, conflict: OnConflict) -> Arc<Control> {
    let args = Args::try_parse_from(["monoport", "--shards", "4"]).expect("they parse");
    let config = Config::new(args, &[0]).expect("they are valid");
    let wiring = Arc::new(super::wiring(&config, None));
    // A port of its own.
    let port = 7_800 + u16::from(name.as_bytes()[0]);
    let candidates = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    let settings = Settings {
        ports: StartingPorts::Mux(vec![(port, candidates)]),
        tcp_candidates: Vec::new(),
        opener: Arc::new(NoMore),
        sessions_per_shard: 100,
        gather: config.gather,
        on_conflict: conflict,
        whep_wait: false,
        listener: crate::hooks::Webhooks::new(None, None, &crate::access::Roots::default()),
        connecting: ConnectingLimits { most: 1_000, most_per_source: 1_000 },
        codec_match: CodecMatch::Lenient,
        member: Member::plain(name, Arc::new(directory), 1),
    };
    Control::new(Negotiator::new(false, CodecMatch::Lenient), wiring, settings)
}

fn offer(direction: Direction) -> String {
    let mut rtc = Rtc::builder().build(Instant::now());
    let mut changes = rtc.sdp_api();
    changes.add_media(MediaKind::Audio, direction, None, None, None);
    changes.apply().expect("something is offered").0.to_sdp_string()
}

fn key(control: &Control, placed: &Placement) -> SessionKey {
    let key = control.wiring.ufrag_key.decode(placed.etag.as_bytes());
    key.expect("an ETag is a ufrag of ours")
}

/// The way from a measure to where a session goes.
#[test]
fn what_is_measured_decides_where_viewers_go() {
    let control = control("here", MemoryDirectory::alone("here"), OnConflict::Replace);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let shard = |placed: Placement| usize::from(key(&control, &placed).shard);
    let publish = |name| {
        let placed = runtime.block_on(control.publish(
            name,
            &offer(Direction::SendOnly),
            &Caller::default(),
        ));
        shard(placed.expect("there is room"))
    };
    let watch = |name| {
        let placed = runtime.block_on(control.subscribe(
            name,
            &offer(Direction::RecvOnly),
            &Caller::default(),
        ));
        shard(placed.expect("somebody publishes it"))
    };
    let home = publish("a");
    assert!((0..5).all(|_| watch("a") == home), "they gather");
    let other = publish("b");
    assert!(other != home && watch("b") == other, "another stream is elsewhere");

    let mut loads = [Some(0); 4];
    loads[home] = Some(BUSY_PERMILLE);
    control.observe_load(&loads);
    assert!((0..5).all(|_| watch("a") != home), "it is busy");
    assert_eq!(watch("b"), other, "and the other is not");
    loads[home] = Some(CALM_PERMILLE - 1);
    control.observe_load(&loads);
    assert_eq!(watch("a"), home, "it is calm again");
}

/// Lets the tasks of both nodes run until `holds`.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{what}: not in time");
}

#[test]
fn what_another_node_publishes_is_known_from_when_it_is_live_until_it_ends() {
    let store = MemoryStore::new(|| (unix_now() * 1e3) as u64);
    let node = |name: &'static str, conflict| {
        control(name, MemoryDirectory::new(store.clone(), name, 1), conflict)
    };
    let (a, b) = (node("a", OnConflict::Replace), node("b", OnConflict::Refuse));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        for (control, port) in [(&a, 1), (&b, 2)] {
            tokio::spawn(control.clone().take_reports());
            let address = SocketAddr::from(([192, 0, 2, 1], port));
            let http = HttpAt { tls: false, address };
            tokio::spawn(control.clone().keep_directory(http));
        }
        let (send, watch) = (offer(Direction::SendOnly), offer(Direction::RecvOnly));
        let placed = a.publish("s", &send, &Caller::default()).await.expect("there is room");
        let key = key(&a, &placed);
        let report = |report| {
            a.wiring.reports[usize::from(key.shard)].push(report).expect("there is room");
            a.wiring.reported.notify_one();
        };
        let refused = async || {
            b.subscribe("s", &watch, &Caller::default()).await.err().expect("it is not here")
        };
        assert!(matches!(refused().await, ControlError::NoPublisher(_)), "it is not live yet");
        report(Report::Live { key, number: 1 });
        let elsewhere = async || matches!(refused().await, ControlError::Elsewhere { .. });
        eventually("the other node knows", elsewhere).await;
        let words = "`s` is published on the node `a`, whose HTTP is at http://192.0.2.1:1";
        assert_eq!(refused().await.to_string(), words);
        let conflict =
            b.publish("s", &send, &Caller::default()).await.err().expect("it is to be refused");
        assert_eq!(conflict.to_string(), words);
        report(Report::Ended(Ended { key, reason: EndReason::ClosedByPeer, card: None }));
        let nobody = async || matches!(refused().await, ControlError::NoPublisher(_));
        eventually("it is nobody's", nobody).await;
        assert!(b.publish("s", &send, &Caller::default()).await.is_ok());
    });
}
