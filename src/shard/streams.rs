//! The streams one shard takes part in.

use std::sync::Arc;
use std::time::Instant;

use crate::egress::Egress;
use crate::id::StreamKey;
use crate::media::{MediaPacket, TrackKind};
use crate::net::Destination;
use crate::stream::{KeyframeThrottle, StreamShared, Track};

/// A viewer that is ready for media. These lie in one array per stream, in the order of fan-out.
pub(super) struct Viewer {
    pub egress: Egress,
    pub to: Destination,
    /// Its session's slot.
    pub slot: u32,
    /// Whether it was sent anything yet.
    pub started: bool,
}

/// One stream as this shard sees it.
pub(super) struct LocalStream {
    pub shared: Arc<StreamShared>,
    pub tracks: [Track; 2],
    pub viewers: Vec<Viewer>,
    /// Slot of the publisher, when it is on this shard.
    pub publisher: Option<u32>,
    pub keyframes: KeyframeThrottle,
    /// Sessions of this shard that belong to the stream, ready or not.
    pub members: usize,
    /// Whether it stands in the list of streams with something to do.
    pub active: bool,
}

impl LocalStream {
    fn new(shared: Arc<StreamShared>) -> LocalStream {
        LocalStream {
            shared,
            tracks: TrackKind::ALL.map(Track::new),
            viewers: Vec::new(),
            publisher: None,
            keyframes: KeyframeThrottle::default(),
            members: 0,
            active: false,
        }
    }

    /// The track of one kind.
    pub fn track(&mut self, kind: TrackKind) -> &mut Track {
        &mut self.tracks[kind as usize]
    }

    /// Packets whose time has come, audio first.
    pub fn take_pending(&mut self, now: Instant, into: &mut Vec<MediaPacket>) {
        for track in &mut self.tracks {
            track.take_pending(now, into);
        }
    }

    /// When the next pending packet must leave.
    pub fn pending_deadline(&self) -> Option<Instant> {
        self.tracks.iter().filter_map(Track::pending_deadline).min()
    }
}

/// Streams by index.
#[derive(Default)]
pub(super) struct Streams {
    table: Vec<Option<Box<LocalStream>>>,
    count: usize,
}

impl Streams {
    /// The stream with exactly this key.
    pub fn get(&mut self, key: StreamKey) -> Option<&mut LocalStream> {
        let stream = self.table.get_mut(key.index as usize)?.as_deref_mut()?;
        (stream.shared.key == key).then_some(stream)
    }

    /// A session of the stream comes to this shard.
    pub fn join(&mut self, shared: &Arc<StreamShared>) -> &mut LocalStream {
        let index = shared.key.index as usize;
        if self.table.len() <= index {
            self.table.resize_with(index + 1, || None);
        }
        let place = &mut self.table[index];
        if place.as_ref().is_none_or(|stream| stream.shared.key != shared.key) {
            self.count += usize::from(place.is_none());
            *place = Some(Box::new(LocalStream::new(shared.clone())));
        }
        let stream = place.as_deref_mut().expect("the place was filled just now");
        stream.members += 1;
        stream
    }

    /// A session of the stream leaves this shard; the last one takes the stream with it.
    pub fn leave(&mut self, key: StreamKey) {
        let Some(stream) = self.get(key) else { return };
        stream.members -= 1;
        if stream.members == 0 {
            self.table[key.index as usize] = None;
            self.count -= 1;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }
}
