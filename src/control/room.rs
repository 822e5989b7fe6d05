//! Room for one more session: where it is short, the one gives way that was answered longest ago
//! and that nothing right has come from.

use std::time::Instant;

use super::connecting::Full;
use super::registry::Registry;
use super::{Caller, Control, ControlError, Placement};
use crate::id::SessionKey;
use crate::limits::{ROOM_TRIES, ROOM_WAIT, UNHEARD_LOOKS};
use crate::shard::EndReason;
use crate::telemetry::Stage;

impl Control {
    /// What `set_up` comes to. Where it finds no room, others give way, and it is tried again.
    pub(super) async fn with_room(
        &self,
        set_up: impl Fn() -> Result<Placement, ControlError>,
    ) -> Result<Placement, ControlError> {
        for _ in 0..ROOM_TRIES {
            let is_free = self.room.notified();
            match set_up() {
                Err(ControlError::NoRoom(_)) if self.make_room() => {
                    // Whether or not it has come by then: it is looked.
                    let _ = tokio::time::timeout(ROOM_WAIT, is_free).await;
                }
                placed => return placed,
            }
        }
        set_up()
    }

    /// Lets a set-up go on while not too many sessions have not connected. Where there are, one
    /// gives way.
    pub(super) fn admit_connecting(&self, caller: &Caller) -> Result<(), ControlError> {
        let mut registry = self.lock();
        let limits = registry.connecting.limits();
        match registry.connecting.admit(caller.ip) {
            Ok(()) => Ok(()),
            Err(Full::Source) => Err(ControlError::TooManyOfSource(format!(
                "{} sessions of your address, or of your proxy's, have not connected, and more are \
                 not set up: come again when they have (--max-connecting-per-ip)",
                limits.most_per_source
            ))),
            Err(Full::All) if self.end_unheard(&mut registry) => Ok(()),
            Err(Full::All) => Err(ControlError::TooManyConnecting(format!(
                "{} sessions are connecting, and more are not set up: come again in a moment \
                 (--max-connecting)",
                limits.most
            ))),
        }
    }

    /// Has a session give way, if there is no place for one more.
    fn make_room(&self) -> bool {
        let mut registry = self.lock();
        !registry.stopping && registry.is_full() && self.end_unheard(&mut registry)
    }

    /// Ends the oldest session that has had time to be heard and was not.
    fn end_unheard(&self, registry: &mut Registry) -> bool {
        let now = Instant::now();
        let mut late = registry.connecting.late(now).take(UNHEARD_LOOKS);
        let Some(key) = late.find(|key| !self.was_heard(*key)) else { return false };
        drop(late);
        let ended = self.end(key, EndReason::GaveWay).is_ok();
        if ended {
            // Its place is free when its shard says so; it counts no longer.
            registry.connecting.leave(key);
        }
        ended
    }

    /// Whether a check with the right password has come.
    fn was_heard(&self, key: SessionKey) -> bool {
        let stage = self.card(key).map_or(Stage::Waiting, |card| card.stage);
        !matches!(stage, Stage::Waiting | Stage::Refused)
    }
}
