//! The UDP sockets of one shard, each in a slot that keeps its number.
//!
//! **Mux ports** are few, and each shard has a socket on every one; each is read every turn.
//! **Ports of sessions** (`--port-range`) are as many as sessions, in the slot of their session:
//! the kernel's list says which to read.

use std::io;

use super::{Readiness, ReadySet, Receiver, UdpSocket};
use crate::limits::SESSION_SOCKETS_PER_TURN;

/// Sockets by slot.
#[derive(Default)]
pub struct Sockets {
    table: Vec<Option<Socket>>,
    /// Slots of the mux ports.
    mux: Vec<u32>,
    /// What the ports of sessions share; `None` where ports are muxed.
    sessions: Option<Listed>,
    /// Whether another process reads the mux ports.
    resting: bool,
}

struct Socket {
    socket: UdpSocket,
    /// Something to receive; `None` where the kernel's list says so.
    readiness: Option<Readiness>,
}

struct Listed {
    ready: ReadySet,
    readiness: Option<Readiness>,
}

impl Sockets {
    /// None yet, and one for every session to come.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    pub fn of_sessions() -> io::Result<Sockets> {
        let ready = ReadySet::new(SESSION_SOCKETS_PER_TURN)?;
        let sessions = Some(Listed { ready, readiness: None });
        Ok(Sockets { sessions, ..Sockets::default() })
    }

    /// Puts the socket of a mux port into a slot that is free.
    pub fn insert(&mut self, slot: u32, socket: UdpSocket) {
        self.mux.push(slot);
        self.put(slot, socket);
    }

    /// Adds a mux port while the shard runs. Called in its runtime.
    ///
    /// # Errors
    ///
    /// `EMFILE`, and with io_uring what the kernel says to a ring. Nothing is left of it.
    pub fn open(
        &mut self,
        slot: u32,
        socket: UdpSocket,
        receiver: &mut Receiver,
    ) -> io::Result<()> {
        receiver.add(&socket)?;
        let readiness = receiver.readiness(&socket).inspect_err(|_| receiver.remove(&socket))?;
        self.insert(slot, socket);
        if let Some(socket) = &mut self.table[slot as usize] {
            socket.readiness = Some(readiness);
        }
        Ok(())
    }

    /// Closes a mux port.
    pub fn close(&mut self, slot: u32, receiver: &mut Receiver) {
        self.mux.retain(|other| *other != slot);
        if let Some(Socket { socket, .. }) = self.take(slot) {
            receiver.remove(&socket);
        }
    }

    /// Takes over the port of the session in `slot`.
    ///
    /// # Errors
    ///
    /// Where the kernel's list takes no more, and where ports are muxed; nothing is left of it.
    pub fn open_for_session(&mut self, slot: u32, socket: UdpSocket) -> io::Result<()> {
        let sessions = self.sessions.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        sessions.ready.add(&socket, slot)?;
        self.put(slot, socket);
        Ok(())
    }

    /// Gives the port of the session in `slot` back to the kernel.
    pub fn close_for_session(&mut self, slot: u32) {
        self.take(slot);
    }

    /// The socket in a slot.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&UdpSocket> {
        self.table.get(slot as usize)?.as_ref().map(|socket| &socket.socket)
    }

    /// Says whether another process reads the mux ports from here on; they are not waited for then.
    pub fn rest(&mut self, resting: bool) {
        self.resting = resting;
    }

    /// Whether another process reads the mux ports.
    #[must_use]
    pub fn are_resting(&self) -> bool {
        self.resting
    }

    /// Slots of the mux ports.
    #[must_use]
    pub fn mux(&self) -> &[u32] {
        &self.mux
    }

    /// Asks the kernel which sessions' sockets have something; their slots are
    /// [`Sockets::ready_session`] from 0 on. Returns how many, none where ports are muxed.
    ///
    /// # Errors
    ///
    /// Those of [`ReadySet::look`].
    pub fn look_at_sessions(&mut self) -> io::Result<usize> {
        self.sessions.as_mut().map_or(Ok(0), |sessions| sessions.ready.look())
    }

    /// The slot of the `index`th socket found by [`Sockets::look_at_sessions`].
    #[must_use]
    pub fn ready_session(&self, index: usize) -> Option<u32> {
        self.sessions.as_ref()?.ready.named(index)
    }

    /// Whether more sockets may have something than were found.
    #[must_use]
    pub fn more_sessions_ready(&self) -> bool {
        self.sessions.as_ref().is_some_and(|sessions| sessions.ready.may_have_more())
    }

    /// Begins to wait for what the shard starts with. Called in its runtime.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    pub fn watch(&mut self, receiver: &Receiver) -> io::Result<()> {
        for socket in self.table.iter_mut().flatten() {
            socket.readiness = Some(receiver.readiness(&socket.socket)?);
        }
        if let Some(sessions) = &mut self.sessions {
            sessions.readiness = Some(sessions.ready.readiness()?);
        }
        Ok(())
    }

    /// Resolves when a socket, or one of `others`, has something to receive.
    pub async fn readable<'a>(&'a self, others: impl Iterator<Item = &'a Readiness> + Clone) {
        let slots = self.mux.iter().filter(|_| !self.resting);
        let mux = slots.filter_map(|slot| self.table[*slot as usize].as_ref()?.readiness.as_ref());
        let sessions = self.sessions.as_ref().and_then(|sessions| sessions.readiness.as_ref());
        Readiness::any_readable(mux.chain(sessions).chain(others)).await;
    }

    fn put(&mut self, slot: u32, socket: UdpSocket) {
        let slot = slot as usize;
        if self.table.len() <= slot {
            self.table.resize_with(slot + 1, || None);
        }
        self.table[slot] = Some(Socket { socket, readiness: None });
    }

    fn take(&mut self, slot: u32) -> Option<Socket> {
        self.table.get_mut(slot as usize).and_then(Option::take)
    }
}
