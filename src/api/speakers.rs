//! Who speaks, for those who listen to [`super::events`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Api;
use crate::control::Speakers;
use crate::limits::SPEAKERS_LOOK;

/// Data of the event `speakers`.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    count: usize,
    speakers: Vec<Speaking<'a>>,
}

#[derive(Serialize)]
struct Speaking<'a> {
    stream: &'a str,
    track: u8,
    level_dbov: i8,
}

impl Told<'_> {
    pub fn of(speakers: &Speakers) -> Told<'_> {
        let each = speakers.loudest.iter().map(|speaker| Speaking {
            stream: &speaker.stream,
            track: speaker.track,
            level_dbov: speaker.level,
        });
        Told { count: speakers.count, speakers: each.collect() }
    }
}

/// Those who were told last. A listener that is slow skips what it missed.
pub(super) fn channel() -> watch::Sender<Arc<Speakers>> {
    watch::Sender::new(Arc::default())
}

/// Looks at who speaks, and tells it if it is not what was told.
pub(super) fn look(api: &Api) {
    let now = api.control.speakers(Instant::now());
    api.speakers.send_if_modified(|told| {
        let differ = now.differ(told);
        if differ {
            *told = Arc::new(now);
        }
        differ
    });
}

/// Looks while somebody listens, until the server stops.
pub(super) async fn run(api: &Api) {
    let mut looks = tokio::time::interval(SPEAKERS_LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if api.sampler.listeners.load(Ordering::Relaxed) > 0 {
            look(api);
        }
    }
}
