//! What is published here and taken to other nodes: one copy of each packet, however many nodes
//! take it.

use super::Streams;
use crate::id::StreamKey;
use crate::media::{ClockReport, MediaPacket};

/// What goes to other nodes, with the numbers of the publisher.
#[derive(Clone, Debug)]
pub enum Export {
    /// A packet.
    Media(MediaPacket),
    /// What time it is in a layer.
    Clock(ClockReport),
}

impl Streams {
    /// What is published of a stream here goes to other nodes from here on, by way of `exporter`;
    /// without one to none any more.
    pub fn export(&mut self, key: StreamKey, exporter: Option<u32>) {
        if let Some(stream) = self.get_mut(key) {
            stream.exporter = exporter;
            stream.tell_interest();
        }
    }

    /// Takes what is to go to other nodes, in its order, each with its exporter, into `into`, which
    /// is empty.
    pub fn take_exports(&mut self, into: &mut Vec<(u32, Export)>) {
        std::mem::swap(&mut self.exports, into);
    }
}
