//! An ICE restart (RFC 8445 §9): a session goes on under other credentials, by which its client may
//! come from another network.

use std::net::SocketAddr;

use str0m::IceCreds;
use tokio::sync::oneshot;

use super::setup::random_hex;
use super::{Control, ControlError};
use crate::id::SessionKey;
use crate::shard::Command;

/// Our side of the session's ICE from now on.
pub struct RestartedIce {
    /// Names the ICE session, for ETag.
    pub etag: String,
    /// The name and password of its checks.
    pub credentials: IceCreds,
    /// The addresses it can be reached at, as its answer had them.
    pub candidates: Vec<SocketAddr>,
    /// The same over TCP.
    pub tcp_candidates: Vec<SocketAddr>,
}

/// A restart that is under way: there is one at a time, or nobody could say which was the last. It
/// is over when this is dropped, whatever became of the request.
struct UnderWay<'a> {
    control: &'a Control,
    key: SessionKey,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(live) = self.control.lock().live.get_mut(&self.key) {
            live.restarting = false;
        }
    }
}

impl Control {
    /// Restarts ICE of the session with this id; `remote` are its client's new credentials. Media
    /// goes on meanwhile where it goes. After an error the session is as it was.
    ///
    /// # Errors
    /// 404 or 410 when there is none, 409 while it restarts already or a later offer of it is
    /// answered, 503 when its shard is too busy.
    pub async fn restart_ice(
        &self,
        id: &str,
        remote: IceCreds,
    ) -> Result<RestartedIce, ControlError> {
        let (key, restarts, candidates) = self.begin_restart(id)?;
        let under_way = UnderWay { control: self, key };
        let ufrag = self.wiring.ufrag_key.encode_at(self.node_number(), key, restarts);
        let ufrag = ufrag.as_str().to_owned();
        let credentials = IceCreds { ufrag: ufrag.clone(), pass: random_hex(16) };
        let (done, answer) = oneshot::channel();
        let (local, theirs) = (credentials.clone(), remote.clone());
        let command = Command::RestartIce { key, local, remote: theirs, done };
        let mailbox = &self.wiring.mailboxes[usize::from(key.shard)];
        mailbox.command(command).map_err(|_command| {
            ControlError::overloaded("the session's shard has too much to do")
        })?;
        answer.await.map_err(|_ended| self.lock().ended.gone(id))?;
        {
            let mut registry = self.lock();
            let Some(live) = registry.live.get_mut(&key) else {
                return Err(registry.ended.gone(id));
            };
            live.etag.clone_from(&ufrag);
            live.remote_ufrag = Some(remote.ufrag.clone());
            if let Some(negotiation) = &mut live.negotiation {
                negotiation.restarted(credentials.clone(), remote);
            }
            live.restarts = restarts;
        }
        drop(under_way);
        let tcp_candidates = self.tcp_candidates().to_vec();
        Ok(RestartedIce { etag: ufrag, credentials, candidates, tcp_candidates })
    }

    /// Whose restart it is, which of its, and the addresses of its answer.
    fn begin_restart(&self, id: &str) -> Result<(SessionKey, u8, Vec<SocketAddr>), ControlError> {
        let mut registry = self.lock();
        let key = registry.sessions.get(id).copied();
        let live = key.and_then(|key| registry.live.get_mut(&key).map(|live| (key, live)));
        let Some((key, live)) = live else { return Err(registry.ended.gone(id)) };
        if live.negotiation.is_none() {
            return Err(ControlError::conflict("an offer of the session is being answered"));
        }
        if std::mem::replace(&mut live.restarting, true) {
            return Err(ControlError::conflict("the session is restarting its ICE already"));
        }
        Ok((key, live.restarts.wrapping_add(1), live.given.candidates.to_vec()))
    }
}
