//! How busy the shards are, told to those who place sessions.

use std::sync::Arc;

use crate::control::Control;
use crate::cpu::ThreadLoad;
use crate::limits::LOAD_INTERVAL;
use crate::shard::Spawned;

/// Takes the shards' measures out of their handles, to be read by [`watch`].
pub(super) fn measures(shards: &mut [Spawned]) -> Vec<Option<ThreadLoad>> {
    shards.iter_mut().map(|shard| shard.load.take()).collect()
}

/// Measures each shard now and then, for ever.
pub(super) async fn watch(mut shards: Vec<Option<ThreadLoad>>, control: Arc<Control>) {
    let mut ticks = tokio::time::interval(LOAD_INTERVAL);
    let mut permille = Vec::with_capacity(shards.len());
    loop {
        ticks.tick().await;
        permille.clear();
        permille.extend(shards.iter_mut().map(|shard| shard.as_mut()?.permille()));
        control.observe_load(&permille);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use clap::Parser;
    use str0m::Rtc;
    use str0m::media::{Direction, MediaKind};

    use super::*;
    use crate::config::{Args, Config};
    use crate::control::{OnConflict, Placement, PortOpener, PortRefused, Settings, StartingPorts};
    use crate::limits::{BUSY_PERMILLE, CALM_PERMILLE};
    use crate::session::Negotiator;
    use crate::shard::BoundPort;

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

    fn offer(direction: Direction) -> String {
        let mut rtc = Rtc::builder().build(Instant::now());
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Audio, direction, None, None, None);
        changes.apply().expect("something is offered").0.to_sdp_string()
    }

    /// The way from a measure to where a session goes, without a shard that runs.
    #[test]
    fn what_is_measured_decides_where_viewers_go() {
        let args = Args::try_parse_from(["monoport", "--shards", "4"]).expect("they parse");
        let config = Config::new(args, &[0]).expect("they are valid");
        let wiring = Arc::new(crate::node::wiring(&config, None));
        let candidates = vec!["127.0.0.1:7882".parse().expect("an address")];
        let settings = Settings {
            ports: StartingPorts::Mux(vec![(7882, candidates)]),
            tcp_candidates: Vec::new(),
            opener: Arc::new(NoMore),
            sessions_per_shard: 100,
            gather: config.gather,
            on_conflict: OnConflict::Replace,
        };
        let control = Control::new(Negotiator::new(false), wiring.clone(), settings);
        let shard = |placed: Placement| {
            let key = wiring.ufrag_key.decode(placed.etag.as_bytes());
            usize::from(key.expect("an ETag is a ufrag of ours").shard)
        };
        let publish = |name| {
            let placed = control.publish(name, &offer(Direction::SendOnly));
            shard(placed.expect("there is room"))
        };
        let watch = |name| {
            let placed = control.subscribe(name, &offer(Direction::RecvOnly));
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
}
