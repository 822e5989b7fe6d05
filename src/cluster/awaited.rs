//! Viewers that came before there was a publisher (`--whep-wait`): he may be at another node.

use std::sync::Arc;

use super::Neighbours;
use crate::limits::AWAITED_LOOK;

impl Neighbours {
    /// Looks who publishes what viewers here wait for, until the server stops, and takes it from
    /// there. The directory is asked for many at once: viewers may wait for anything.
    pub async fn look_for_awaited(self: Arc<Neighbours>) {
        loop {
            tokio::time::sleep(AWAITED_LOOK).await;
            let mut after = None;
            while !self.control.is_stopping() {
                let (awaited, last) = self.control.awaited(after.as_ref());
                if !awaited.is_empty() {
                    self.take_what_others_have(awaited).await;
                }
                let Some(last) = last else { break };
                after = Some(last);
            }
        }
    }

    async fn take_what_others_have(self: &Arc<Neighbours>, streams: Vec<Arc<str>>) {
        // Without the directory they wait on.
        let Ok(owners) = self.control.owners(streams.clone()).await else { return };
        for (stream, owner) in streams.into_iter().zip(owners) {
            let is_had = owner.is_some_and(|owner| {
                owner.node != self.control.member().node && owner.http.is_some()
            });
            if is_had {
                self.chase_soon(stream);
            }
        }
    }
}
