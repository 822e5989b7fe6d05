//! A later offer of a session: more tracks, other directions, on the connection there is.

use tokio::sync::oneshot;

use super::{Control, ControlError};
use crate::session::{Offer, Renegotiated};
use crate::shard::Command;

impl Control {
    /// Answers a later offer of the session with this id. Its tracks go on as they are, and so does
    /// its ICE: an offer that restarts it is refused, see [`Control::restart_ice`]. What a viewer
    /// gets more is in [`Renegotiated::added`], for a subscription.
    ///
    /// # Errors
    /// What is wrong with the offer; 404 when there is no such session, 410 when the server has
    /// ended it; 503 when its shard is too busy to be asked. The session goes on as it was.
    pub async fn offer(&self, id: &str, sdp: &str) -> Result<Renegotiated, ControlError> {
        let (key, publisher) = {
            let registry = self.lock();
            let session =
                registry.sessions.get(id).and_then(|key| registry.live.get_key_value(key));
            let (key, live) = session.ok_or_else(|| registry.ended.gone(id))?;
            (*key, live.publisher)
        };
        let offer = Box::new(Offer::to_renegotiate(sdp, publisher)?);
        let (done, told) = oneshot::channel();
        let mailbox = &self.wiring.mailboxes[usize::from(key.shard)];
        mailbox.command(Command::Offer { key, offer, done }).map_err(|_command| {
            ControlError::overloaded("the session's shard has too much to do")
        })?;
        // The shard says nothing of a session that has ended.
        let answered = told.await.map_err(|_ended| self.lock().ended.gone(id))?;
        Ok(answered?)
    }
}
