//! Whether the tables of streams agree with one another, for simulations.

use super::Streams;
use crate::limits::{HISTORY_VIDEO_PACKETS, MAX_LAYERS};
use crate::track::Stream;

/// What all streams of a shard have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// Sessions and relays that belong to one.
    pub members: usize,
    /// Viewers that are ready.
    pub viewers: usize,
}

impl Streams {
    /// Looks at every stream: it stands in the list of those with something to do exactly when it
    /// says so, other shards know whether it has viewers, and its layers are within their bounds.
    ///
    /// # Errors
    /// What does not agree, in words.
    pub fn audit(&self) -> Result<Population, String> {
        let mut population = Population::default();
        let mut count = 0;
        for stream in self.table.iter().flatten() {
            let key = stream.shared.key;
            count += 1;
            population.members += stream.members;
            population.viewers += stream.viewers.len();
            let listed = self.active.iter().filter(|active| **active == key).count();
            if listed != usize::from(stream.active) {
                return Err(format!("{key:?} is listed {listed} times, active: {}", stream.active));
            }
            let known = stream.shared.interested().any(|shard| shard == self.shard);
            if known != (stream.has_viewers() || stream.exporter.is_some()) {
                let viewers = stream.viewers.len();
                return Err(format!("{key:?} has {viewers} viewers; others know of some: {known}"));
            }
            bounds(stream).map_err(|why| format!("{key:?}: {why}"))?;
        }
        if count != self.count {
            return Err(format!("{count} streams are there, {} are counted", self.count));
        }
        Ok(population)
    }
}

fn bounds(stream: &Stream) -> Result<(), String> {
    for track in &stream.tracks {
        let layers = track.layers();
        let reach = layers.iter().map(|layer| layer.history.reach()).max().unwrap_or_default();
        if layers.len() > MAX_LAYERS || reach > HISTORY_VIDEO_PACKETS {
            let (id, layers) = (track.id(), layers.len());
            return Err(format!("{id:?} has {layers} layers and {reach} packets of history"));
        }
    }
    Ok(())
}
