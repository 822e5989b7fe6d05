//! Which track and layer an SSRC of a publisher belongs to, and which of their sources it is.
//!
//! A layer is a RID where the publisher names them, else its track has one. An SSRC that is new to
//! a layer takes it over: what the former one still sends is late.

use std::time::Instant;

use str0m::media::Rid;

use crate::limits::{MAX_LAYERS, MAX_SOURCES, SOURCE_SILENT};

/// What a packet is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The publisher's track, by its place in the list.
    pub track: usize,
    /// The layer, by number.
    pub layer: u8,
    /// Which of the layer's sources; see [`crate::media::Origin`].
    pub source: u16,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    part: Part,
    heard: Instant,
}

#[derive(Debug)]
struct Named {
    track: usize,
    rid: Option<Rid>,
    layer: u8,
    /// Its newest source.
    source: u16,
    heard: Instant,
}

/// The sources of one publisher.
#[derive(Debug, Default)]
pub(super) struct Sources {
    sources: Vec<Source>,
    layers: Vec<Named>,
}

impl Sources {
    /// What a packet of `ssrc` is a part of, when that is known.
    pub fn find(&mut self, now: Instant, ssrc: u32) -> Option<Part> {
        let index = self.sources.iter().position(|source| source.ssrc == ssrc)?;
        let part = self.sources[index].part;
        let layer = self.layers.iter_mut().find(|layer| part.is_of(layer))?;
        if layer.source != part.source && now.saturating_duration_since(layer.heard) < SOURCE_SILENT
        {
            return Some(part);
        }
        if layer.source != part.source {
            // What took its place has fallen silent: it goes on.
            layer.source = layer.source.wrapping_add(1);
            self.sources[index].part.source = layer.source;
        }
        layer.heard = now;
        self.sources[index].heard = now;
        Some(self.sources[index].part)
    }

    /// Notes that `ssrc` sends a layer of a track. `None` when the track has more layers than are
    /// told apart.
    pub fn add(&mut self, now: Instant, ssrc: u32, track: usize, rid: Option<Rid>) -> Option<Part> {
        let known = self.layers.iter_mut().find(|l| l.track == track && l.rid == rid);
        let part = match known {
            Some(layer) => {
                layer.source = layer.source.wrapping_add(1);
                layer.heard = now;
                Part { track, layer: layer.layer, source: layer.source }
            }
            None => {
                let layer = self.layers.iter().filter(|layer| layer.track == track).count();
                if layer >= MAX_LAYERS {
                    return None;
                }
                let layer = layer as u8;
                self.layers.push(Named { track, rid, layer, source: 0, heard: now });
                Part { track, layer, source: 0 }
            }
        };
        if self.sources.len() == MAX_SOURCES {
            let oldest = (0..MAX_SOURCES).min_by_key(|index| self.sources[*index].heard)?;
            self.sources.swap_remove(oldest);
        }
        self.sources.push(Source { ssrc, part, heard: now });
        Some(part)
    }

    /// The SSRCs that send a layer of a track now.
    pub fn of(&self, track: usize, layer: u8) -> Option<u32> {
        let named = self.layers.iter().find(|l| l.track == track && l.layer == layer)?;
        let part = Part { track, layer, source: named.source };
        self.sources.iter().find(|source| source.part == part).map(|source| source.ssrc)
    }
}

impl Part {
    fn is_of(&self, layer: &Named) -> bool {
        self.track == layer.track && self.layer == layer.layer
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn part(track: usize, layer: u8, source: u16) -> Option<Part> {
        Some(Part { track, layer, source })
    }

    #[test]
    fn an_ssrc_that_is_new_to_a_layer_takes_it_over() {
        let now = Instant::now();
        let mut sources = Sources::default();
        assert_eq!(sources.find(now, 1), None);
        assert_eq!(sources.add(now, 1, 0, None), part(0, 0, 0));
        assert_eq!(sources.add(now, 2, 1, Some("h".into())), part(1, 0, 0));
        assert_eq!(sources.add(now, 3, 1, Some("l".into())), part(1, 1, 0));
        assert_eq!(sources.add(now, 4, 0, None), part(0, 0, 1), "the same layer's next");
        assert_eq!((sources.find(now, 1), sources.find(now, 4)), (part(0, 0, 0), part(0, 0, 1)));
        assert_eq!((sources.of(0, 0), sources.of(1, 1)), (Some(4), Some(3)));
    }

    #[test]
    fn a_source_goes_on_once_its_successor_is_silent() {
        let now = Instant::now();
        let mut sources = Sources::default();
        sources.add(now, 1, 0, None);
        sources.add(now, 2, 0, None);
        let later = now + SOURCE_SILENT;
        assert_eq!(sources.find(later - Duration::from_millis(1), 1), part(0, 0, 0), "late");
        assert_eq!(sources.find(later, 1), part(0, 0, 2));
        assert_eq!(sources.find(later, 2), part(0, 0, 1), "now that one is late");
    }

    #[test]
    fn sources_and_layers_are_bounded_and_the_silent_ones_forgotten() {
        let now = Instant::now();
        let at = |ms: u32| now + Duration::from_millis(u64::from(ms));
        let mut sources = Sources::default();
        for ssrc in 0..3 * MAX_SOURCES as u32 {
            assert!(sources.add(at(ssrc), ssrc, 0, None).is_some());
        }
        assert_eq!(sources.sources.len(), MAX_SOURCES);
        assert_eq!(sources.find(at(200), 0), None);
        for rid in 1..MAX_LAYERS {
            assert!(sources.add(at(0), 1_000, 0, Some(Rid::from(&*format!("r{rid}")))).is_some());
        }
        assert_eq!(sources.add(at(0), 2_000, 0, Some("ninth".into())), None);
    }
}
