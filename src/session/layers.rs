//! Which of a publisher's simulcast layers the stream carries: the best one that really arrives.
//!
//! Layers differ in bitrate, so the one with the most bytes is the best. It is looked for once a
//! [`PERIOD`]; the change waits for a key frame of the new layer. A layer that has gone silent
//! is left at the next look.

use std::time::{Duration, Instant};

use crate::limits::MAX_LAYERS;

/// How long bytes are counted before layers are compared.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
struct Layer {
    ssrc: u32,
    bytes: u64,
}

/// The layers of one video track and the choice among them.
#[derive(Debug, Default)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    current: usize,
    wanted: usize,
    counted_since: Option<Instant>,
    /// How often the choice has changed.
    changes: u32,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Forward it; the number grows with each change of layer.
    Forward(u32),
    /// It belongs to a layer the stream does not carry.
    Skip,
}

impl Layers {
    /// Decides about a packet of the encoding `ssrc`.
    pub fn choose(&mut self, now: Instant, ssrc: u32, bytes: usize, keyframe: bool) -> Choice {
        let Some(index) = self.index_of(ssrc) else { return Choice::Skip };
        self.layers[index].bytes += bytes as u64;
        self.compare(now);
        if index == self.wanted && index != self.current && keyframe {
            self.current = index;
            self.changes += 1;
        }
        if index == self.current { Choice::Forward(self.changes) } else { Choice::Skip }
    }

    /// The encoding to ask for a key frame: the one that is carried or is about to be.
    pub fn wanted(&self) -> Option<u32> {
        self.layers.get(self.wanted).map(|layer| layer.ssrc)
    }

    /// Whether a change waits for a key frame.
    pub fn change_waits(&self) -> bool {
        self.wanted != self.current
    }

    /// The encoding that is carried.
    pub fn current(&self) -> Option<u32> {
        self.layers.get(self.current).map(|layer| layer.ssrc)
    }

    /// How often the choice has changed.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    fn index_of(&mut self, ssrc: u32) -> Option<usize> {
        if let Some(index) = self.layers.iter().position(|layer| layer.ssrc == ssrc) {
            return Some(index);
        }
        if self.layers.len() == MAX_LAYERS {
            return None;
        }
        self.layers.push(Layer { ssrc, bytes: 0 });
        Some(self.layers.len() - 1)
    }

    fn compare(&mut self, now: Instant) {
        let since = *self.counted_since.get_or_insert(now);
        if now.saturating_duration_since(since) < PERIOD {
            return;
        }
        let best = (0..self.layers.len()).max_by_key(|index| self.layers[*index].bytes);
        // A layer must be plainly better than the wanted one, or two equal ones would alternate.
        let bar = self.layers[self.wanted].bytes * 5 / 4;
        if let Some(best) = best.filter(|best| self.layers[*best].bytes > bar) {
            self.wanted = best;
        }
        for layer in &mut self.layers {
            layer.bytes = 0;
        }
        self.counted_since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_moves_to_the_best_layer_at_its_key_frame() {
        let mut layers = Layers::default();
        let start = Instant::now();
        assert_eq!(layers.choose(start, 1, 100, true), Choice::Forward(0));
        assert_eq!(layers.choose(start, 2, 1_000, true), Choice::Skip);
        let later = start + PERIOD;
        assert_eq!(layers.choose(later, 1, 100, false), Choice::Forward(0));
        assert!(layers.change_waits());
        assert_eq!(layers.wanted(), Some(2));
        assert_eq!(layers.choose(later, 2, 1_000, false), Choice::Skip, "not a key frame");
        assert_eq!(layers.choose(later, 2, 1_000, true), Choice::Forward(1));
        assert_eq!(layers.choose(later, 1, 100, true), Choice::Skip);
    }

    #[test]
    fn a_silent_layer_is_left() {
        let mut layers = Layers::default();
        let start = Instant::now();
        layers.choose(start, 1, 1_000, true);
        layers.choose(start + PERIOD, 2, 100, true);
        assert_eq!(layers.choose(start + PERIOD * 2, 2, 100, true), Choice::Forward(1));
    }
}
