//! What the publisher and the viewers of one stream share within the process.

use crate::timeline::Timeline;

/// One published stream.
pub struct Stream {
    /// Its name in WHIP and WHEP URLs.
    pub name: String,
    pub video: Timeline,
    pub audio: Timeline,
}

impl Stream {
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, video: Timeline::default(), audio: Timeline::default() }
    }
}
