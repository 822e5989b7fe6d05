//! A viewer that waits is served: key frames are asked for until they come, and go out when they
//! have come.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use monoport::limits::KEYFRAME_RETRY;

use crate::media::{AUDIO, Tag};
use crate::server::Server;

/// A viewer may wait this long without the publisher being asked for a key frame once more.
const ASKED_EVERY: Duration = KEYFRAME_RETRY.saturating_add(Duration::from_millis(300));

/// A viewer is served this long after a key frame came, at the latest.
const SERVED_WITHIN: Duration = Duration::from_millis(200);

/// A publisher whose numbers begin anew under another SSRC is followed within this time.
const SETTLED_AFTER: Duration = Duration::from_millis(2_500);

/// Media flows where no pause between two packets is longer.
const PAUSE: Duration = Duration::from_millis(300);

/// What comes in of one stream.
struct Stream {
    /// The last publisher that came.
    publisher: u16,
    /// Since when video of that publisher flows, and when the last of it came.
    flows_since: Option<Instant>,
    last: Option<Instant>,
    /// When its last key frame came.
    keyframe: Option<Instant>,
    /// How many layers it has, and with which packet its present numbers began.
    layers: usize,
    /// Its key frames count from then on.
    began: Option<(Tag, Instant)>,
}

impl Stream {
    fn of(publisher: u16, layers: usize) -> Stream {
        let (flows_since, last, keyframe, began) = (None, None, None, None);
        Stream { publisher, flows_since, last, keyframe, layers, began }
    }
}

struct Viewer {
    stream: usize,
    since: Instant,
    served: bool,
}

pub struct Waiting {
    streams: Vec<Stream>,
    viewers: BTreeMap<usize, Viewer>,
    /// Publishers of whom anything was taken.
    heard: HashSet<u16>,
    /// How many layers each publisher has.
    layers: HashMap<u16, usize>,
    asked: u64,
    last_asked: Option<Instant>,
}

impl Waiting {
    pub fn new(streams: usize) -> Waiting {
        Waiting {
            streams: (0..streams).map(|_| Stream::of(0, 1)).collect(),
            viewers: BTreeMap::new(),
            heard: HashSet::new(),
            layers: HashMap::new(),
            asked: 0,
            last_asked: None,
        }
    }

    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    pub fn publisher_comes(&mut self, publisher: u16, layers: usize) {
        self.layers.insert(publisher, layers);
    }

    /// The server took a packet.
    pub fn taken(&mut self, now: Instant, stream: usize, tag: Tag) {
        let stream = &mut self.streams[stream];
        let publisher = tag.source.publisher;
        // One that has never been heard takes the stream over.
        if self.heard.insert(publisher) {
            *stream = Stream::of(publisher, self.layers[&publisher]);
        }
        if publisher != stream.publisher || tag.source.layer == AUDIO {
            return;
        }
        if stream.last.is_none_or(|last| now - last > PAUSE) {
            stream.flows_since = Some(now);
        }
        stream.last = Some(now);
        if tag.source.layer > 0 {
            return;
        }
        if stream.began.is_none_or(|(first, _)| first.source != tag.source) {
            // Its first source may begin at once; what follows must show that it does.
            let settled = if stream.began.is_none() { now } else { now + SETTLED_AFTER };
            stream.began = Some((tag, settled));
        }
        // What its source's first packet has overtaken is nobody's: there is no number for it.
        let settled = stream
            .began
            .is_some_and(|(first, settled)| settled <= now && first.number <= tag.number);
        if tag.keyframe && stream.layers == 1 && settled {
            stream.keyframe = Some(now);
        }
    }

    pub fn viewer_is_ready(&mut self, now: Instant, peer: usize, stream: usize) {
        self.viewers.entry(peer).or_insert(Viewer { stream, since: now, served: false });
    }

    pub fn served(&mut self, peer: usize) {
        if let Some(viewer) = self.viewers.get_mut(&peer) {
            viewer.served = true;
        }
    }

    pub fn ended(&mut self, peer: usize) {
        self.viewers.remove(&peer);
    }

    pub fn check(&mut self, now: Instant, server: &Server) -> Result<(), String> {
        let asked = server.wiring.counters.iter().map(|c| c.keyframe_requests_out.get()).sum();
        if asked != self.asked {
            self.asked = asked;
            self.last_asked = Some(now);
        }
        for (peer, viewer) in self.viewers.iter().filter(|(_, viewer)| !viewer.served) {
            let stream = &self.streams[viewer.stream];
            let (Some(flows_since), Some(last)) = (stream.flows_since, stream.last) else {
                continue;
            };
            if now - last > PAUSE {
                continue;
            }
            let waits_since = viewer.since.max(flows_since);
            let asked = self.last_asked.map_or(waits_since, |asked| asked.max(waits_since));
            if now - asked > ASKED_EVERY {
                return Err(format!(
                    "peer {peer} waits since {:?}, and nobody asks for a key frame",
                    now - waits_since
                ));
            }
            let keyframe = stream.keyframe.filter(|at| *at > viewer.since + SERVED_WITHIN);
            if keyframe.is_some_and(|at| now - at > SERVED_WITHIN) {
                return Err(format!("a key frame has come, and peer {peer} gets nothing"));
            }
        }
        Ok(())
    }
}
