//! What the node that a link brings a track from says of its layers: what does not come can't be
//! measured here, and may be asked for all the same.

use super::{Layer, LayerShown, Track};
use crate::media::{Bytes, ClockReport, MediaPacket};
use crate::track::flow::Flow;

impl Track {
    /// This is what there is of its layers, each with whether it comes, and `best` is the best one
    /// that can be had. It is looked at with the next packet.
    pub(in crate::track) fn is_said(&mut self, best: u8, layers: &[(u8, LayerShown, bool)]) {
        self.told_anew |= self.told_best.replace(best) != Some(best);
        for (number, shown, comes) in layers {
            let Some(layer) = self.layer_made(*number) else { continue };
            let came = layer.comes();
            let before = layer.told.replace(Box::new((*shown, *comes)));
            let is_news = before.as_deref().is_none_or(|(known, _)| {
                let of =
                    |shown: &LayerShown| (shown.silent, shown.withheld, shown.sizes(), shown.deaf);
                of(known) != of(shown)
            });
            self.told_anew |= is_news || came != *comes;
            let Some(layer) = self.layer_mut(*number) else { continue };
            if came != *comes {
                // Whatever it sends from here on is no sign of what it did before.
                layer.flow = Flow::default();
            }
            if *comes && !came {
                self.was_interrupted(*number);
            }
        }
    }

    /// Nobody says anything of its layers any more.
    pub(in crate::track) fn is_unsaid(&mut self) {
        self.told_best = None;
        self.layers.iter_mut().for_each(|layer| layer.told = None);
    }

    /// Whether a layer comes here, as far as another node has a say in it.
    pub(in crate::track) fn does_come(&self, layer: u8) -> bool {
        self.layers.get(usize::from(layer)).is_some_and(Layer::comes)
    }
}

impl Layer {
    /// What the publisher said last of its time, of the origin there is.
    pub(in crate::track) fn told_clock(&self) -> Option<ClockReport> {
        self.clock.filter(|clock| Some(clock.origin) == self.origin())
    }

    /// Whether it comes here, as far as another node has a say in it.
    pub(in crate::track) fn comes(&self) -> bool {
        self.told.as_deref().is_none_or(|(_, comes)| *comes)
    }

    /// Whether its publisher sends it, or it was not noticed to be silent yet.
    pub(in crate::track) fn flows(&self) -> bool {
        match self.told.as_deref() {
            Some((shown, false)) => !shown.silent,
            _ => self.flow.flows(),
        }
    }

    /// What it sends, for others to see.
    pub(in crate::track) fn shown(&self) -> LayerShown {
        let kilobits = |bits: u64| bits.div_ceil(1_000).min((1 << 30) - 1) as u32;
        let told = self.told.as_deref().copied();
        if let Some((shown, false)) = told {
            return shown;
        }
        let needs = kilobits(self.rate.needed_bits_per_s());
        LayerShown {
            kilobits_per_s: kilobits(self.rate.bits_per_s()),
            size: self.ranks.size(self.sizes),
            silent: !self.flows(),
            withheld: false,
            deaf: self.keyframes.is_deaf(),
            needs_kilobits_per_s: told.map_or(needs, |(told, _)| told.needs_kilobits_per_s),
            thinned: self.ranks.thinned(self.rate.needed_bits_per_s(), self.sizes),
        }
    }

    /// Bits of payload a second that there must be room for.
    pub(in crate::track) fn needed_bits_per_s(&self) -> u64 {
        let told = self.told.as_deref().map(|(shown, _)| u64::from(shown.needs_kilobits_per_s));
        told.map_or_else(|| self.rate.needed_bits_per_s(), |kilobits| kilobits * 1_000)
    }

    /// A packet has come that is kept already: where the layer goes on with a key frame that there
    /// was before it stopped, it is the one to begin with.
    pub(in crate::track) fn note_known<P: Bytes>(&mut self, packet: &MediaPacket<P>) {
        if packet.keyframe && self.told.is_some() && self.has_no_keyframe() {
            self.note_keyframe(packet);
        }
    }
}
