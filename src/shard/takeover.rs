//! Two processes, of which the later one has taken the sockets over from the earlier one.
//!
//! A socket that two processes have is one socket: what one reads the other never sees. So at any
//! time one of them reads. The later one does, and hands what is not its own to the earlier one
//! ([`Earlier`]); a shard of the earlier one reads what it is handed ([`TakeoverStep::Hear`]) in
//! the place of its sockets ([`TakeoverStep::Rest`]). Both send by the same sockets, as ever. If
//! the later one goes away, the earlier one reads again: nothing was ever closed.

use std::io;
use std::os::fd::OwnedFd;

use tokio::sync::oneshot;

use super::core::Core;
use crate::net::{StrayReader, StrayWriter};
use crate::wire::ufrag::UfragKey;

/// A shard's way to the process that was taken over.
pub struct Earlier {
    /// The keys of its ufrags, and of those before it.
    pub keys: Vec<UfragKey>,
    /// Takes what may be its.
    pub strays: StrayWriter,
}

/// What a takeover wants of a shard. Done at the end of the turn, when nothing that was received is
/// being read any more.
pub enum TakeoverStep {
    /// Tell the shard's mux ports, in the order of their slots, each with a duplicate of its
    /// socket.
    Lend {
        /// Told them.
        done: oneshot::Sender<io::Result<Vec<(u16, OwnedFd)>>>,
    },
    /// Read what the later process hands over, beside all else, until that has gone.
    Hear {
        /// Its way here.
        strays: StrayReader,
        /// Told when it is read.
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Read the mux ports no longer.
    Rest {
        /// Told when nothing more is read.
        done: oneshot::Sender<()>,
    },
    /// Read the mux ports again.
    Resume,
    /// The process that was taken over has gone: nothing is its any more.
    Alone,
}

impl Core {
    /// What is not this process's may be the earlier one's; or nobody's, without one.
    pub fn set_earlier(&mut self, earlier: Option<Earlier>) {
        let (keys, strays) = earlier.map(|e| (e.keys, e.strays)).unzip();
        self.paths.set_earlier(keys.unwrap_or_default());
        self.earlier = strays;
    }

    /// Whether there is an earlier process, which `unix_ns` is told: the beginning of the turn.
    pub fn begin_strays(&mut self, unix_ns: impl FnOnce() -> u64) {
        if let Some(strays) = &mut self.earlier {
            strays.begin(unix_ns());
        }
    }

    /// Hands the turn's datagrams to the earlier process, and counts what becomes of them.
    pub fn flush_strays(&mut self) {
        let Some(strays) = &mut self.earlier else { return };
        let done = strays.flush();
        let counters = self.post.counters();
        counters.handed_to_earlier.add(done.sent);
        counters.dropped_many(crate::drop::DropReason::EarlierBusy, done.lost);
    }

    /// The mux ports with their sockets; see [`TakeoverStep::Lend`].
    pub fn lend_sockets(&self) -> io::Result<Vec<(u16, OwnedFd)>> {
        let sockets = self.paths.ways.transmitter.sockets();
        let mut slots = sockets.mux().to_vec();
        slots.sort_unstable();
        let lent = slots.into_iter().filter_map(|slot| sockets.get(slot));
        lent.map(|socket| Ok((socket.port(), socket.lend()?))).collect()
    }
}
