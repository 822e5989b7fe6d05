//! The port plan changes while the server runs: mux ports are opened, drained and closed.
//!
//! A port is open when every shard has said so, and a failure anywhere takes it back everywhere. A
//! drained port closes when its last session has gone or its time is up; only when every shard has
//! closed it is its slot used again.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::PortRefused;
use super::table::{GivenPort, PortState, PortTable};
use crate::control::{Control, ControlError};
use crate::limits::{PORT_CHANGE_TIMEOUT, PORT_DRAIN_POLL, RANGE_PORT_TRIES};
use crate::shard::{BoundPort, Command, SessionPort};

/// The ports now, for the API.
pub struct PortsNow {
    /// Mux ports, by number.
    pub mux: Vec<PortNow>,
    /// The range, where each session has a port of its own.
    pub range: Option<RangeNow>,
}

/// A mux port now.
#[derive(Clone, Debug)]
pub struct PortNow {
    /// The port.
    pub number: u16,
    /// Its slot on every shard.
    pub slot: usize,
    /// How it stands.
    pub state: PortState,
    /// Sessions that were given it.
    pub sessions: usize,
}

/// A range of ports now.
#[derive(Clone, Copy, Debug)]
pub struct RangeNow {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// Ports not given out.
    pub free: usize,
    /// Ports given out.
    pub used: usize,
    /// Set-ups refused because none was left.
    pub exhausted: u64,
    /// Ports passed over because somebody else had them.
    pub skipped: u64,
}

impl Control {
    /// The ports now.
    #[must_use]
    pub fn ports_now(&self) -> PortsNow {
        match &self.lock().ports {
            PortTable::Range(range) => PortsNow {
                mux: Vec::new(),
                range: Some(RangeNow {
                    first: range.first,
                    last: range.last,
                    free: range.free(),
                    used: range.used(),
                    exhausted: range.exhausted,
                    skipped: range.skipped,
                }),
            },
            PortTable::Mux(slots) => {
                let ports = slots.iter().enumerate();
                let mut mux: Vec<PortNow> = ports
                    .filter_map(|(slot, port)| {
                        let port = port.as_ref().filter(|p| p.state != PortState::Opening)?;
                        let (number, state, sessions) = (port.number, port.state, port.sessions);
                        Some(PortNow { number, slot, state, sessions })
                    })
                    .collect();
                mux.sort_by_key(|port| port.number);
                PortsNow { mux, range: None }
            }
        }
    }

    /// Opens one more mux port on every shard, or takes one that drains back into service; 0 lets
    /// the kernel choose. It goes on to the end whether or not anybody waits for it.
    ///
    /// # Errors
    /// 409 when the port is somebody's or there are too many, 503 when a shard or the kernel
    /// refuses it; it is open nowhere then.
    pub async fn open_port(self: &Arc<Control>, number: u16) -> Result<PortNow, ControlError> {
        let control = self.clone();
        let opening = tokio::spawn(async move { control.open_on_all(number).await });
        opening
            .await
            .unwrap_or_else(|_gone| Err(ControlError::overloaded("the server is stopping")))
    }

    /// Gives the mux port `number` to no new session, and closes it when it is empty or `deadline`
    /// is over: sessions it still has then are ended as [`crate::shard::EndReason::PortClosed`].
    ///
    /// # Errors
    /// 404 for a port that is none of ours, 409 for the last one that is open, and while a process
    /// that was taken over has sessions.
    pub fn drain_port(
        self: &Arc<Control>,
        number: u16,
        deadline: Duration,
    ) -> Result<PortNow, ControlError> {
        self.ports_are_ours(number)?;
        let until = SystemTime::now() + deadline;
        let (slot, sessions) = {
            let mut registry = self.lock();
            let slot = registry.ports.drain(number, until)?;
            (slot, registry.ports.mux(slot).map_or(0, |port| port.sessions))
        };
        let seconds = deadline.as_secs();
        tracing::info!("UDP port {number} drains: {sessions} sessions, {seconds} s at most");
        let (control, end) = (self.clone(), Instant::now() + deadline);
        tokio::spawn(async move {
            let Some(left) = control.drained(slot, PortState::Draining(until), end).await else {
                return tracing::info!("UDP port {number} is open again");
            };
            control.close_slot(slot).await;
            tracing::info!("UDP port {number} is closed; {left} sessions were ended with it");
        });
        Ok(PortNow { number, slot, state: PortState::Draining(until), sessions })
    }

    /// Waits until the port in `slot` is empty or it is time, and begins to close it. Returns the
    /// sessions it has left, or nothing when it was taken back into service.
    async fn drained(&self, slot: usize, draining: PortState, end: Instant) -> Option<usize> {
        loop {
            {
                let mut registry = self.lock();
                let port = registry.ports.mux(slot).filter(|port| port.state == draining)?;
                if port.sessions == 0 || Instant::now() >= end {
                    port.state = PortState::Closing;
                    return Some(port.sessions);
                }
            }
            tokio::time::sleep(PORT_DRAIN_POLL).await;
        }
    }

    async fn open_on_all(self: Arc<Control>, number: u16) -> Result<PortNow, ControlError> {
        if let Some((slot, sessions)) = self.lock().ports.reopen(number) {
            return Ok(PortNow { number, slot, state: PortState::Open, sessions });
        }
        let slot = self.lock().ports.reserve(number)?;
        let opener = self.opener.clone();
        let bound = tokio::task::spawn_blocking(move || opener.open_mux(number)).await;
        let bound = match bound {
            Ok(Ok(bound)) => bound,
            Ok(Err(refused)) => {
                self.lock().ports.free(slot);
                return Err(refusal(refused));
            }
            Err(_gone) => {
                self.lock().ports.free(slot);
                return Err(ControlError::overloaded("the server is stopping"));
            }
        };
        let Some(first) = bound.first() else { return Err(ControlError::overloaded("no shard")) };
        let (number, candidates) = (first.socket.port(), first.candidates.clone().into());
        if let Err(why) = self.hand_out(slot, bound).await {
            if let Some(port) = self.lock().ports.mux(slot) {
                port.state = PortState::Closing;
            }
            self.close_slot(slot).await;
            return Err(ControlError::overloaded(format!(
                "UDP port {number} was not opened: {why}"
            )));
        }
        let mut registry = self.lock();
        if let Some(port) = registry.ports.mux(slot) {
            port.number = number;
            port.candidates = candidates;
            port.state = PortState::Open;
        }
        tracing::info!("UDP port {number} is open on every shard");
        Ok(PortNow { number, slot, state: PortState::Open, sessions: 0 })
    }

    /// Gives each shard its socket, and waits until all of them serve it.
    async fn hand_out(&self, slot: usize, bound: Vec<BoundPort>) -> Result<(), String> {
        let mut answers = Vec::new();
        for (shard, port) in bound.into_iter().enumerate() {
            let (done, answer) = oneshot::channel();
            let command = Command::OpenPort { slot, port, done };
            let sent = self.wiring.mailboxes[shard].command(command);
            sent.map_err(|_full| format!("shard {shard} has too much to do"))?;
            answers.push(answer);
        }
        for (shard, answer) in answers.into_iter().enumerate() {
            match tokio::time::timeout(PORT_CHANGE_TIMEOUT, answer).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => return Err(format!("shard {shard}: {error}")),
                Ok(Err(_)) | Err(_) => return Err(format!("shard {shard} does not answer")),
            }
        }
        Ok(())
    }

    /// Closes what is in a slot on every shard, waits until all its sessions are reported as ended,
    /// and frees the slot.
    async fn close_slot(&self, slot: usize) {
        let mut answers = Vec::new();
        for mailbox in &self.wiring.mailboxes {
            let (done, answer) = oneshot::channel();
            let mut command = Command::ClosePort { slot, done };
            while let Err(refused) = mailbox.command(command) {
                command = refused;
                tokio::time::sleep(PORT_DRAIN_POLL).await;
            }
            answers.push(answer);
        }
        for answer in answers {
            // A shard that is gone has closed everything.
            let _ = answer.await;
        }
        while self.sessions_at(slot) > 0 {
            tokio::time::sleep(PORT_DRAIN_POLL).await;
        }
        self.lock().ports.free(slot);
    }

    fn sessions_at(&self, slot: usize) -> usize {
        self.lock().ports.mux(slot).map_or(0, |port| port.sessions)
    }

    /// Binds the port of its own that a session was given, and others in its place as long as
    /// somebody else has it. A mux port is bound already.
    pub(in crate::control) fn bind_own(
        &self,
        given: &mut GivenPort,
    ) -> Result<SessionPort, ControlError> {
        if let Some(slot) = given.slot {
            return Ok(SessionPort::Mux(slot));
        }
        for _ in 0..RANGE_PORT_TRIES {
            match self.opener.open_own(given.number) {
                Ok(bound) => {
                    given.candidates = bound.candidates.clone().into();
                    return Ok(SessionPort::Own(bound));
                }
                Err(PortRefused::InUse(_)) => *given = self.lock().ports.skip(given)?,
                Err(PortRefused::Failed(why)) => return Err(ControlError::overloaded(why)),
            }
        }
        match &mut self.lock().ports {
            PortTable::Range(range) => Err(range.exhausted()),
            PortTable::Mux(_) => Err(ControlError::overloaded("no UDP port is open")),
        }
    }
}

fn refusal(refused: PortRefused) -> ControlError {
    match refused {
        PortRefused::InUse(why) => ControlError::conflict(why),
        PortRefused::Failed(why) => ControlError::overloaded(why),
    }
}
