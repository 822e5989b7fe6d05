//! The layers of a track are compared: which is the best, and which have come or fallen silent.

use std::time::Instant;

use super::{Carry, Layer, LayerShown, Standing, Track};
use crate::limits::{MAX_LAYERS, MAX_THINNED, RATE_PERIOD};
use crate::media::{Bytes, MediaPacket};
use crate::track::Thinned;

impl Track {
    /// Decides on the publisher's shard whether `packet` is of any use, to viewers wherever they
    /// are. The second value says how the layers stand, when that has changed and the other shards
    /// must be told; `show` is told, once a [`RATE_PERIOD`], what each layer sends.
    pub fn carry_published<P: Bytes>(
        &mut self,
        packet: &MediaPacket<P>,
        show: impl FnMut(u8, LayerShown),
    ) -> (Carry, Option<Standing>) {
        let carry = self.carry(packet, None);
        if carry != Carry::Yes {
            return (carry, None);
        }
        let at_once = self.flow(packet) | std::mem::take(&mut self.told_anew);
        let changed = self.look(packet.received, at_once, show);
        let before = self.standing.unwrap_or_default();
        let changes = before.changes.wrapping_add(u32::from(changed)) & 0xff_ffff;
        let standing = Standing { best: self.best, changes };
        let is_news = self.standing.replace(standing) != Some(standing);
        (carry, Some(standing).filter(|_| is_news))
    }

    /// The publisher's shard says that this is how its layers stand now.
    pub(in crate::track) fn is_told(&mut self, standing: Standing) {
        (self.best, self.standing) = (standing.best, Some(standing));
    }

    /// Compares the layers once a [`RATE_PERIOD`], or `at_once`: layers differ in bitrate, so the
    /// one that sends most is the best, and one that has gone silent is left. True where one has
    /// come, fallen silent or changed its size.
    fn look(&mut self, now: Instant, at_once: bool, mut show: impl FnMut(u8, LayerShown)) -> bool {
        let looked = *self.looked.get_or_insert(now);
        if now.saturating_duration_since(looked) >= RATE_PERIOD {
            self.looked = Some(now);
        } else if !at_once {
            return false;
        }
        let mut seen = [None; MAX_LAYERS];
        for (number, layer) in (0..).zip(&mut self.layers) {
            layer.rate.settle(now);
            let shown = layer.shown();
            show(number, shown);
            let is_there = shown.kilobits_per_s > 0 && !shown.silent;
            let is_thinned = shown.thinned != [Thinned::default(); MAX_THINNED];
            seen[usize::from(number)] = is_there.then_some((shown.sizes(), is_thinned));
        }
        self.choose_best();
        self.find_lowest();
        std::mem::replace(&mut self.seen, seen) != seen
    }

    fn choose_best(&mut self) {
        let flowing = |layer: u8| self.layer(layer).filter(|layer| layer.flows());
        let rate = |layer: u8| flowing(layer).map_or(0, Layer::needed_bits_per_s);
        let best = (0..self.layers.len() as u8).max_by_key(|layer| rate(*layer));
        // Who can't measure all of them is told.
        let told = self.told_best.filter(|told| *told != self.best);
        // A layer must be plainly better than the best so far, or two equal ones would alternate.
        let better = |best: &u8| rate(*best) > rate(self.best) * 5 / 4;
        let better = best.filter(|_| self.told_best.is_none()).filter(better);
        let Some(best) = told.or(better) else { return };
        let former = std::mem::replace(&mut self.best, best);
        let is_taken = self.takers.take(former, best);
        if let Some(layer) = self.layer_mut(former).filter(|_| !is_taken) {
            // Nobody changes to it any more.
            layer.keyframes.satisfied();
        }
    }

    /// Key frames of the lowest layer are small, and may be asked for more often.
    fn find_lowest(&mut self) {
        let needs = Layer::needed_bits_per_s;
        let sent = self.layers.iter().filter(|layer| layer.flows() && needs(layer) > 0);
        let lowest = sent.map(needs).min().unwrap_or(0);
        for layer in &mut self.layers {
            let is_above = needs(layer) > lowest;
            layer.keyframes.set_above(is_above);
        }
    }
}
