//! The layers of a track thinned: made when somebody takes one, and fed with what comes of the
//! layer.

use std::time::{Duration, Instant};

use super::{Layer, Point, Track, layer_of};
use crate::media::MediaPacket;
use crate::track::point::limit_of;

impl Track {
    /// A layer thinned, if somebody takes it, or has taken it a moment ago.
    pub(super) fn thinned(&self, number: u8) -> Option<&Layer> {
        self.points.iter().find(|point| point.number == number).map(|point| &point.layer)
    }

    /// The layers thinned that are of one layer.
    pub(super) fn points_of(&mut self, layer: u8) -> impl Iterator<Item = &mut Point> {
        self.points.iter_mut().filter(move |point| layer_of(point.number) == layer)
    }

    /// All of them that are there.
    pub(in crate::track) fn points(&self) -> impl Iterator<Item = &Layer> {
        self.points.iter().map(|point| &point.layer)
    }

    /// Bytes of memory that it takes to thin layers, what is kept of them left out.
    pub(in crate::track) fn bytes_to_thin(&self) -> usize {
        self.points.iter().map(Point::bytes).sum()
    }

    /// What has this number is taken, or is about to be: where it is a layer thinned, there is one
    /// from here on.
    pub(in crate::track) fn wake(&mut self, number: u8, now: Instant) {
        let Track { layers, points, .. } = self;
        let layer = layers.get(usize::from(layer_of(number)));
        if let Some(layer) = layer.filter(|_| limit_of(number).is_some())
            && let Some(point) = Point::made(points, number)
        {
            point.wake(layer, now);
        }
    }

    /// A packet of a layer has come: see [`Point::feed`].
    pub(in crate::track) fn thin(&mut self, packet: &MediaPacket, hold: Option<Duration>) {
        let Track { layers, points, takers, best, .. } = self;
        let Some(layer) = layers.get(usize::from(packet.layer)) else { return };
        let scalable = layer.scalable(packet);
        for point in points.iter_mut().filter(|point| layer_of(point.number) == packet.layer) {
            point.feed(packet, scalable, takers.take_exactly(point.number, *best), hold);
        }
    }

    /// Some of a layer has passed by this shard.
    pub(super) fn was_interrupted(&mut self, layer: u8) {
        if let Some(layer) = self.layers.get_mut(usize::from(layer)) {
            layer.was_interrupted();
        }
        self.points_of(layer).for_each(|point| point.layer.was_interrupted());
    }

    /// The numbers of the first packet that a layer is thinned from, and of it there.
    pub(in crate::track) fn thinned_from(&self, number: u8) -> Option<(u64, u64)> {
        self.points.iter().find(|point| point.number == number).map(|point| point.first)
    }
}
