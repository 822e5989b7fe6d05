//! Which port a new session is given: the mux port with the fewest sessions, or one of its own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::StartingPorts;
use crate::control::ControlError;
use crate::limits::MAX_MUX_PORTS;

/// The ports of the server, as the control side knows them.
pub(in crate::control) enum PortTable {
    /// Mux ports by slot; the slot is the same on every shard.
    Mux(Vec<Option<MuxPort>>),
    /// A port per session.
    Range(RangePorts),
}

/// A mux port.
pub(in crate::control) struct MuxPort {
    pub number: u16,
    pub candidates: Arc<[SocketAddr]>,
    /// Sessions whose answers named it, and set-ups under way.
    pub sessions: usize,
    pub state: PortState,
}

/// How a mux port stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Its sockets are being opened: nobody is given it yet.
    Opening,
    /// New sessions may get it.
    Open,
    /// No new sessions; those it has must go by this time.
    Draining(SystemTime),
    /// Its sockets are being closed: the slot is not free yet.
    Closing,
}

/// Ports of a range, each for one session at a time.
pub(in crate::control) struct RangePorts {
    pub first: u16,
    pub last: u16,
    /// Those not given out, the one that rests longest first: what is still under way to a session
    /// that has ended must not reach the next one.
    free: VecDeque<u16>,
    /// Set-ups that were refused because no port was left.
    pub exhausted: u64,
    /// Times a port was passed over because somebody else had it.
    pub skipped: u64,
}

/// A port as a session was given it.
#[derive(Clone)]
pub(in crate::control) struct GivenPort {
    /// The slot of a mux port; nothing with a range.
    pub slot: Option<usize>,
    pub number: u16,
    /// Addresses for the answer. Empty for a port of a range that is not bound yet.
    pub candidates: Arc<[SocketAddr]>,
}

impl PortTable {
    pub fn new(starting: StartingPorts) -> PortTable {
        match starting {
            StartingPorts::Mux(ports) => PortTable::Mux(
                ports
                    .into_iter()
                    .map(|(number, candidates)| {
                        let candidates = candidates.into();
                        Some(MuxPort { number, candidates, sessions: 0, state: PortState::Open })
                    })
                    .collect(),
            ),
            StartingPorts::Range { first, last } => PortTable::Range(RangePorts {
                first,
                last,
                free: (first..=last).collect(),
                exhausted: 0,
                skipped: 0,
            }),
        }
    }

    /// A port for one more session.
    pub fn take(&mut self) -> Result<GivenPort, ControlError> {
        match self {
            PortTable::Mux(slots) => {
                let open = slots.iter_mut().enumerate().filter_map(|(slot, port)| {
                    let port = port.as_mut().filter(|port| port.state == PortState::Open)?;
                    Some((slot, port))
                });
                let (slot, port) = open
                    .min_by_key(|(_, port)| port.sessions)
                    .ok_or_else(|| ControlError::overloaded("no UDP port is open"))?;
                port.sessions += 1;
                let (number, candidates) = (port.number, port.candidates.clone());
                Ok(GivenPort { slot: Some(slot), number, candidates })
            }
            PortTable::Range(range) => {
                let number = range.free.pop_front();
                let number = number.ok_or_else(|| range.exhausted())?;
                Ok(GivenPort { slot: None, number, candidates: Arc::new([]) })
            }
        }
    }

    /// The slot of a mux port that links may go through, and its addresses.
    pub fn for_link(&self) -> Option<(usize, Arc<[SocketAddr]>)> {
        let PortTable::Mux(slots) = self else { return None };
        slots.iter().enumerate().find_map(|(slot, port)| {
            let port = port.as_ref().filter(|port| port.state == PortState::Open)?;
            Some((slot, port.candidates.clone()))
        })
    }

    /// Whether every port of a range is given out.
    pub fn is_used_up(&self) -> bool {
        matches!(self, PortTable::Range(range) if range.free.is_empty())
    }

    /// Sessions to come are named other addresses: `at` says which, by port.
    pub fn announce(&mut self, at: impl Fn(u16) -> Vec<SocketAddr>) {
        if let PortTable::Mux(slots) = self {
            for port in slots.iter_mut().flatten() {
                port.candidates = at(port.number).into();
            }
        }
    }

    /// The session that was given `port` is no more.
    pub fn give_back(&mut self, port: &GivenPort) {
        match self {
            PortTable::Mux(slots) => {
                let given = port.slot.and_then(|slot| slots.get_mut(slot)?.as_mut());
                if let Some(port) = given {
                    port.sessions -= 1;
                }
            }
            PortTable::Range(range) => range.free.push_back(port.number),
        }
    }

    /// Somebody else has the port that was taken: it goes behind all others, and another is taken.
    pub fn skip(&mut self, port: &GivenPort) -> Result<GivenPort, ControlError> {
        self.give_back(port);
        if let PortTable::Range(range) = self {
            range.skipped += 1;
        }
        self.take()
    }

    /// Takes a draining mux port back into service. Returns its slot and its sessions; `None` where
    /// `number` does not drain.
    pub fn reopen(&mut self, number: u16) -> Option<(usize, usize)> {
        let PortTable::Mux(slots) = self else { return None };
        let (slot, port) = slots.iter_mut().enumerate().find_map(|(slot, port)| {
            let port = port.as_mut().filter(|port| port.number == number)?;
            matches!(port.state, PortState::Draining(_)).then_some((slot, port))
        })?;
        port.state = PortState::Open;
        Some((slot, port.sessions))
    }

    /// Reserves a slot for a mux port to come.
    pub fn reserve(&mut self, number: u16) -> Result<usize, ControlError> {
        let PortTable::Mux(slots) = self else { return Err(not_muxed()) };
        let same = slots.iter().flatten().find(|port| port.number == number && number != 0);
        if let Some(same) = same {
            let state = match same.state {
                PortState::Opening => "is being opened",
                PortState::Open => "is open",
                PortState::Draining(_) | PortState::Closing => "is being closed",
            };
            return Err(ControlError::conflict(format!("UDP port {number} {state}")));
        }
        let free = slots.iter().position(Option::is_none).unwrap_or(slots.len());
        if free >= MAX_MUX_PORTS {
            return Err(ControlError::conflict(format!(
                "there are {MAX_MUX_PORTS} ports, the most"
            )));
        }
        if free == slots.len() {
            slots.push(None);
        }
        let (candidates, state) = (Arc::new([]), PortState::Opening);
        slots[free] = Some(MuxPort { number, candidates, sessions: 0, state });
        Ok(free)
    }

    /// The mux port in a slot.
    pub fn mux(&mut self, slot: usize) -> Option<&mut MuxPort> {
        match self {
            PortTable::Mux(slots) => slots.get_mut(slot)?.as_mut(),
            PortTable::Range(_) => None,
        }
    }

    /// Frees the slot of a mux port that every shard has closed.
    pub fn free(&mut self, slot: usize) {
        if let PortTable::Mux(slots) = self {
            slots[slot] = None;
        }
    }

    /// Gives the mux port `number` to no new session, and says which slot it is in.
    pub fn drain(&mut self, number: u16, until: SystemTime) -> Result<usize, ControlError> {
        let PortTable::Mux(slots) = self else { return Err(not_muxed()) };
        let open = slots.iter().flatten().filter(|port| port.state == PortState::Open).count();
        let found = slots.iter_mut().enumerate().find_map(|(slot, port)| {
            let port = port.as_mut().filter(|port| port.number == number)?;
            Some((slot, port))
        });
        let (slot, port) = found
            .ok_or_else(|| ControlError::not_found(format!("UDP port {number} is none of ours")))?;
        match port.state {
            PortState::Draining(_) | PortState::Closing => {
                Err(ControlError::conflict(format!("UDP port {number} is draining already")))
            }
            PortState::Opening => {
                Err(ControlError::conflict(format!("UDP port {number} is still being opened")))
            }
            PortState::Open if open == 1 => Err(ControlError::conflict(format!(
                "UDP port {number} is the last one that is open: new sessions could not be \
                 served; open another one first"
            ))),
            PortState::Open => {
                port.state = PortState::Draining(until);
                Ok(slot)
            }
        }
    }
}

fn not_muxed() -> ControlError {
    ControlError::conflict(
        "this server gives each session a port of its own (--port-range): its ports come and go \
         with the sessions",
    )
}

impl RangePorts {
    /// Ports not given out.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Ports given out.
    pub fn used(&self) -> usize {
        usize::from(self.last - self.first) + 1 - self.free.len()
    }

    /// Counts a set-up that is refused for want of a port.
    pub fn exhausted(&mut self) -> ControlError {
        self.exhausted += 1;
        let (first, last) = (self.first, self.last);
        ControlError::no_room(format!(
            "every UDP port of {first}-{last} is in use; a port comes free when a session ends"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn muxed(numbers: &[u16]) -> PortTable {
        PortTable::new(StartingPorts::Mux(numbers.iter().map(|n| (*n, Vec::new())).collect()))
    }

    fn numbers(table: &mut PortTable, count: usize) -> Vec<u16> {
        (0..count).map(|_| table.take().expect("there is one").number).collect()
    }

    #[test]
    fn the_port_with_the_fewest_sessions_is_given() {
        let mut table = muxed(&[1, 2, 3]);
        assert_eq!(numbers(&mut table, 4), [1, 2, 3, 1]);
        let second = GivenPort { slot: Some(1), number: 2, candidates: Arc::new([]) };
        table.give_back(&second);
        assert_eq!(numbers(&mut table, 2), [2, 2]);
    }

    #[test]
    fn a_slot_keeps_its_number_until_it_is_empty_and_a_new_port_is_given_once_it_is_open() {
        let mut table = muxed(&[1, 2]);
        let until = SystemTime::now();
        assert_eq!(table.drain(1, until).unwrap(), 0);
        assert!(table.reopen(2).is_none(), "it does not drain");
        assert_eq!(table.reopen(1), Some((0, 0)));
        assert_eq!(table.drain(1, until).unwrap(), 0);
        assert!(table.drain(1, until).is_err() && table.drain(9, until).is_err());
        assert!(table.drain(2, until).is_err(), "the last one that is open");
        assert_eq!(numbers(&mut table, 2), [2, 2]);
        let slot = table.reserve(7).unwrap();
        assert_eq!(slot, 2, "the first slot is still in use");
        assert!(
            table.reserve(7).is_err() && table.reserve(1).is_err() && table.reserve(2).is_err()
        );
        assert_eq!(numbers(&mut table, 1), [2], "nobody is given one that is being opened");
        table.mux(slot).unwrap().state = PortState::Open;
        assert_eq!(numbers(&mut table, 1), [7]);
        table.free(0);
        assert_eq!(table.reserve(1).unwrap(), 0);
    }

    #[test]
    fn a_range_gives_each_port_once_the_longest_free_first() {
        let mut table = PortTable::new(StartingPorts::Range { first: 10, last: 12 });
        assert_eq!(numbers(&mut table, 3), [10, 11, 12]);
        assert!(table.take().is_err());
        let given = |number| GivenPort { slot: None, number, candidates: Arc::new([]) };
        table.give_back(&given(12));
        table.give_back(&given(10));
        assert_eq!(table.skip(&given(11)).unwrap().number, 12, "11 is somebody else's");
        assert_eq!(numbers(&mut table, 2), [10, 11]);
        let PortTable::Range(range) = &table else { panic!("it is one") };
        assert_eq!((range.free(), range.used(), range.exhausted, range.skipped), (0, 3, 1, 1));
        assert!(table.reserve(1).is_err() && table.drain(10, SystemTime::now()).is_err());
    }
}
