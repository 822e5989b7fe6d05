//! What shards report: publishers that are live, and sessions that have ended.

use std::sync::Arc;

use super::Control;
use crate::id::SessionKey;
use crate::limits::{END_RETRY, SESSIONS_PER_LOOK};
use crate::session::StreamCodecs;
use crate::shard::Report;

impl Control {
    /// Takes in what shards report, and ends whom that puts out. Runs until the server stops.
    pub async fn take_reports(self: Arc<Control>) {
        loop {
            for queue in &self.wiring.reports {
                while let Some(report) = queue.pop() {
                    match report {
                        Report::Connected(key) => {
                            let template = self.lock().connected(key);
                            template.into_iter().for_each(|model| self.negotiator.keep(*model));
                        }
                        Report::Live { key, number } => {
                            let live = self.lock().live(key, number);
                            self.tell_earlier(key, live.is_some());
                            self.end_misfits(live);
                        }
                        Report::Switched { key, payload_type } => {
                            let switched = self.lock().switched(key, payload_type);
                            self.end_misfits(switched);
                        }
                        Report::Ended(ended) => {
                            self.lock().ended(ended);
                            self.room.notify_waiters();
                        }
                    }
                }
            }
            if self.lock().kept.has_changed() {
                self.directory_changed.notify_one();
            }
            if self.end_those_to_be_ended(&mut self.lock()) {
                self.wiring.reported.notified().await;
            } else {
                tokio::time::sleep(END_RETRY).await;
            }
        }
    }

    /// A publisher has gone live: the process that was taken over is to let go of the stream.
    fn tell_earlier(&self, publisher: SessionKey, is_the_one: bool) {
        let Some(earlier) = self.earlier().filter(|_| is_the_one) else { return };
        let stream = self.with_session(publisher, |live| live.stream.clone());
        if let Some(stream) = stream {
            earlier.went_live(&stream);
        }
    }

    /// Viewers that do not take the publisher's codecs are looked for in steps, so that nobody
    /// waits long for the lock.
    fn end_misfits(&self, carried: Option<(StreamCodecs, Vec<SessionKey>)>) {
        let Some((codecs, viewers)) = carried else { return };
        for some in viewers.chunks(SESSIONS_PER_LOOK) {
            self.lock().end_misfits(some, &codecs);
        }
    }
}
