//! The SSRCs of one publisher: which track and layer each sends, and which of a layer's sources it
//! is.
//!
//! A layer is a RID where the publisher names them, else its track has one. An SSRC that is new to
//! a layer takes it over at once: what the former one still sends is late. What has been silent for
//! [`SOURCE_KEPT`] gives way to what is new.

use super::Micros;
use super::missing::Missing;
use super::reception::Reception;
use crate::limits::{MAX_LAYERS, MAX_SOURCES, SOURCE_KEPT, SOURCE_SILENT};
use crate::media::{LayerName, ParameterSets};
use crate::srtp::{ReplayWindow, Rollover};

/// Sources whose memory is asked for before a packet is handled: audio and video.
const SOURCES_AHEAD: usize = 2;

/// What an SSRC sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A layer.
    Media(Part),
    /// A layer's packets again (RFC 4588): those of the SSRC it names, or of the layer's newest.
    Repair { track: usize, layer: u8, of: Option<u32> },
    /// Padding that probes the way: SSRC 0.
    Probe,
}

/// A layer of a track, and which of its sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The track, by its place in the publisher's terms.
    pub track: usize,
    /// The layer, by number.
    pub layer: u8,
    /// Which of the layer's sources; see [`crate::media::Origin`].
    pub source: u16,
}

/// One SSRC that has authenticated.
#[derive(Debug)]
pub(super) struct Source {
    pub ssrc: u32,
    pub role: Role,
    pub rollover: Rollover,
    pub replay: ReplayWindow,
    pub reception: Reception,
    pub missing: Missing,
    heard: Micros,
    /// Whether it has taken its layer over and no key frame has come since.
    pub asks: bool,
    /// Of H.264 and H.265.
    pub sets: Option<Box<ParameterSets>>,
}

/// A layer that was heard of.
#[derive(Debug)]
struct Layer {
    track: usize,
    rid: Option<Rid>,
    number: u8,
    /// Its newest source.
    source: u16,
    heard: Micros,
}

/// The name of a layer (RFC 8852 §3.1), which has no bound there; browsers' have one letter to a
/// handful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rid {
    bytes: [u8; Rid::MAX],
    length: u8,
}

impl Rid {
    const MAX: usize = LayerName::MAX;

    /// It, for who shows it.
    pub fn name(self) -> LayerName {
        LayerName(self.bytes)
    }

    /// `None` for what is no name, or too long for one.
    pub fn new(name: &[u8]) -> Option<Rid> {
        let mut bytes = [0; Rid::MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        (!name.is_empty()).then_some(Rid { bytes, length: name.len() as u8 })
    }
}

/// The sources of one publisher.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The SSRC of each source, side by side.
    ssrcs: Vec<u32>,
    sources: Vec<Source>,
    layers: Vec<Layer>,
}

impl Sources {
    /// The place of an SSRC that is known.
    #[inline]
    pub fn place(&self, ssrc: u32) -> Option<usize> {
        self.ssrcs.iter().position(|known| *known == ssrc)
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self) -> usize {
        let Sources { ssrcs, sources, layers } = self;
        let missing = sources.iter().map(|source| source.missing.bytes()).sum::<usize>();
        let sets = sources.iter().filter(|source| source.sets.is_some()).count();
        let lists = ssrcs.capacity() * size_of::<u32>() + layers.capacity() * size_of::<Layer>();
        lists
            + sources.capacity() * size_of::<Source>()
            + missing
            + sets * ParameterSets::MOST_BYTES
    }

    /// See [`super::Ingest::touches`].
    pub fn touches(&self, visit: &mut impl FnMut(*const u8, usize)) {
        visit(self.ssrcs.as_ptr().cast(), size_of_val(&self.ssrcs[..]));
        visit(self.layers.as_ptr().cast(), size_of_val(&self.layers[..]));
        let few = &self.sources[..self.sources.len().min(SOURCES_AHEAD)];
        visit(few.as_ptr().cast(), size_of_val(few));
    }

    /// The source in a place.
    pub fn at(&mut self, place: usize) -> &mut Source {
        &mut self.sources[place]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter()
    }

    /// All of them, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Source> {
        self.sources.iter_mut()
    }

    /// A packet of the source in a place has come: what it is a part of now. One whose successor
    /// has fallen silent goes on.
    pub fn hear(&mut self, place: usize, now: Micros) -> Role {
        let Sources { sources, layers, .. } = self;
        let source = &mut sources[place];
        source.heard = source.heard.max(now);
        let Role::Media(part) = &mut source.role else { return source.role };
        let of_part = |layer: &&mut Layer| layer.track == part.track && layer.number == part.layer;
        if let Some(layer) = layers.iter_mut().find(of_part) {
            if layer.source == part.source {
                layer.heard = layer.heard.max(now);
            } else if now.saturating_sub(layer.heard) >= SOURCE_SILENT.as_micros() as Micros {
                layer.source = layer.source.wrapping_add(1);
                (part.source, layer.heard, source.asks) = (layer.source, now, true);
            }
        }
        source.role
    }

    /// The number of a layer of a track, which is new where it was not heard of. `None` when the
    /// track has more layers than are told apart.
    pub fn layer(&mut self, track: usize, rid: Option<Rid>, now: Micros) -> Option<u8> {
        let layers = &mut self.layers;
        if let Some(known) = layers.iter().find(|l| l.track == track && l.rid == rid) {
            return Some(known.number);
        }
        let number = layers.iter().filter(|layer| layer.track == track).count();
        if number < MAX_LAYERS {
            let number = number as u8;
            layers.push(Layer { track, rid, number, source: u16::MAX, heard: now });
            return Some(number);
        }
        let kept = SOURCE_KEPT.as_micros() as Micros;
        let of_track = layers.iter_mut().filter(|layer| layer.track == track);
        let oldest = of_track.min_by_key(|layer| layer.heard)?;
        if now.saturating_sub(oldest.heard) < kept {
            return None;
        }
        (oldest.rid, oldest.heard) = (rid, now);
        let number = oldest.number;
        // What was sent again of the former layer is nothing of the new one.
        let of_former = |role| {
            matches!(role, Role::Repair { track: t, layer, .. }
            if (t, layer) == (track, number))
        };
        while let Some(place) = self.sources.iter().position(|source| of_former(source.role)) {
            self.ssrcs.swap_remove(place);
            self.sources.swap_remove(place);
        }
        Some(number)
    }

    /// The next source of a layer, which takes it over.
    pub fn next_part(&mut self, track: usize, layer: u8, now: Micros) -> Part {
        let known = self.layers.iter_mut().find(|l| l.track == track && l.number == layer);
        let source = known.map_or(0, |known| {
            known.source = known.source.wrapping_add(1);
            known.heard = now;
            known.source
        });
        Part { track, layer, source }
    }

    /// Remembers an SSRC that has authenticated, and returns its place, and the source that was
    /// forgotten in its favour: the one that has been silent the longest.
    pub fn insert(&mut self, ssrc: u32, role: Role, now: Micros) -> (usize, Option<Source>) {
        let takes_over = matches!(role, Role::Media(part) if part.source > 0);
        let source = Source {
            ssrc,
            role,
            rollover: Rollover::new(),
            replay: ReplayWindow::new(),
            reception: Reception::default(),
            missing: Missing::default(),
            heard: now,
            asks: takes_over,
            sets: None,
        };
        let kept = SOURCE_KEPT.as_micros() as Micros;
        let oldest = (0..self.sources.len()).min_by_key(|place| self.sources[*place].heard);
        let silent = oldest.filter(|place| now.saturating_sub(self.sources[*place].heard) >= kept);
        let forgotten = if self.sources.len() == MAX_SOURCES { oldest } else { silent };
        match forgotten {
            Some(place) => {
                self.ssrcs[place] = ssrc;
                (place, Some(std::mem::replace(&mut self.sources[place], source)))
            }
            None => {
                // Two or three are most publishers', and a list grows to four at once.
                self.ssrcs.push(ssrc);
                self.sources.reserve_exact(1);
                self.sources.push(source);
                (self.sources.len() - 1, None)
            }
        }
    }

    /// The place of the SSRC that sends a layer now.
    pub fn newest(&self, track: usize, layer: u8) -> Option<usize> {
        let named = self.layers.iter().find(|l| l.track == track && l.number == layer)?;
        let part = Role::Media(Part { track, layer, source: named.source });
        self.sources.iter().position(|source| source.role == part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Micros = SOURCE_SILENT.as_micros() as Micros;
    const KEPT: Micros = SOURCE_KEPT.as_micros() as Micros;

    /// Takes in a first packet of an SSRC, as `learn.rs` does.
    fn add(sources: &mut Sources, now: Micros, ssrc: u32, track: usize, rid: &str) -> Option<Part> {
        let layer = sources.layer(track, Rid::new(rid.as_bytes()), now)?;
        let part = sources.next_part(track, layer, now);
        sources.insert(ssrc, Role::Media(part), now);
        Some(part)
    }

    fn hear(sources: &mut Sources, now: Micros, ssrc: u32) -> Option<Part> {
        let place = sources.place(ssrc)?;
        match sources.hear(place, now) {
            Role::Media(part) => Some(part),
            _ => None,
        }
    }

    fn part(track: usize, layer: u8, source: u16) -> Option<Part> {
        Some(Part { track, layer, source })
    }

    #[test]
    fn an_ssrc_that_is_new_to_a_layer_takes_it_over() {
        let mut sources = Sources::default();
        assert_eq!(add(&mut sources, 0, 1, 0, ""), part(0, 0, 0));
        assert_eq!(add(&mut sources, 0, 2, 1, "h"), part(1, 0, 0));
        assert_eq!(add(&mut sources, 0, 3, 1, "l"), part(1, 1, 0));
        assert_eq!(add(&mut sources, 0, 4, 0, ""), part(0, 0, 1), "the same layer's next");
        assert_eq!(hear(&mut sources, 0, 1), part(0, 0, 0), "late");
        assert_eq!(hear(&mut sources, 0, 4), part(0, 0, 1));
        assert!(sources.at(3).asks && !sources.at(0).asks, "its encoder has begun anew");
        assert_eq!((sources.newest(0, 0), sources.newest(1, 1)), (Some(3), Some(2)));
    }

    #[test]
    fn a_source_goes_on_once_its_successor_is_silent() {
        let mut sources = Sources::default();
        add(&mut sources, 0, 1, 0, "");
        add(&mut sources, 0, 2, 0, "");
        assert_eq!(hear(&mut sources, SILENT - 1, 1), part(0, 0, 0), "late");
        assert_eq!(hear(&mut sources, SILENT, 1), part(0, 0, 2));
        assert_eq!(hear(&mut sources, SILENT, 2), part(0, 0, 1), "now that one is late");
    }

    #[test]
    fn sources_are_bounded_and_the_silent_ones_forgotten() {
        let mut sources = Sources::default();
        for ssrc in 0..3 * MAX_SOURCES as u32 {
            assert!(add(&mut sources, u64::from(ssrc), ssrc, 0, "").is_some());
        }
        assert_eq!((sources.sources.len(), sources.place(0)), (MAX_SOURCES, None));
        let mut sources = Sources::default();
        add(&mut sources, 0, 1, 0, "");
        add(&mut sources, KEPT - 1, 2, 0, "");
        assert!(sources.place(1).is_some(), "its rollover counter is needed should it return");
        add(&mut sources, KEPT, 3, 0, "");
        assert!(sources.place(1).is_none() && sources.place(2).is_some());
    }

    #[test]
    fn a_ninth_layer_takes_the_place_of_one_that_is_sent_no_longer() {
        let mut sources = Sources::default();
        for layer in 0..MAX_LAYERS as u32 {
            add(&mut sources, u64::from(layer), layer, 0, &format!("r{layer}"));
        }
        assert_eq!(add(&mut sources, KEPT - 1, 100, 0, "ninth"), None, "eight are being sent");
        hear(&mut sources, KEPT, 0);
        assert_eq!(add(&mut sources, KEPT + 1, 100, 0, "ninth"), part(0, 1, 1));
        assert_eq!(add(&mut sources, KEPT + 1, 101, 0, "tenth"), None);
        assert_eq!(add(&mut sources, KEPT + 1, 102, 1, "h"), part(1, 0, 0), "another track's");
    }
}
