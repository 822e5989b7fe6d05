//! A later offer of a session: more tracks, other directions, on the connection there is.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Control, ControlError};
use crate::id::SessionKey;
use crate::session::{Negotiation, Offer, Renegotiated};

/// What a session's offers are answered by, taken from it for as long as one of them is answered:
/// it goes back when this is dropped, whatever became of the offer.
struct Taken<'a> {
    control: &'a Control,
    key: SessionKey,
    negotiation: Option<Box<Negotiation>>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(live) = self.control.lock().live.get_mut(&self.key) {
            live.negotiation = self.negotiation.take();
        }
    }
}

impl Control {
    /// Answers a later offer of the session with this id. Its tracks go on as they are, and so does
    /// its ICE: an offer that restarts it is refused, see [`Control::restart_ice`]. What a viewer
    /// gets more is in [`Renegotiated::added`], for a subscription.
    ///
    /// # Errors
    /// What is wrong with the offer; 404 when there is no such session, 410 when the server has
    /// ended it; 409 while another offer of it is answered, or its ICE restarts. The session goes
    /// on as it was.
    pub fn offer(&self, id: &str, sdp: &str) -> Result<Renegotiated, ControlError> {
        let (mut taken, candidates, publisher) = self.take_negotiation(id)?;
        let offer = Offer::to_renegotiate(sdp, publisher)?;
        let negotiation = taken.negotiation.as_mut().expect("it was taken");
        let now = Instant::now();
        let tcp_candidates = self.tcp_candidates();
        let answered =
            self.negotiator.renegotiate(now, negotiation, offer, &candidates, &tcp_candidates)?;
        Ok(answered)
    }

    fn take_negotiation(
        &self,
        id: &str,
    ) -> Result<(Taken<'_>, Vec<SocketAddr>, bool), ControlError> {
        let mut registry = self.lock();
        let key = registry.sessions.get(id).copied();
        let live = key.and_then(|key| registry.live.get_mut(&key).map(|live| (key, live)));
        let Some((key, live)) = live else { return Err(registry.ended.gone(id)) };
        if live.restarting {
            return Err(ControlError::conflict("the session is restarting its ICE"));
        }
        let negotiation = live.negotiation.take();
        let Some(negotiation) = negotiation else {
            return Err(ControlError::conflict("another offer of the session is being answered"));
        };
        let (candidates, publisher) = (live.given.candidates.to_vec(), live.publisher);
        Ok((Taken { control: self, key, negotiation: Some(negotiation) }, candidates, publisher))
    }
}
