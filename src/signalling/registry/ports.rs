//! Which port a new session is given: the mux port with the fewest sessions, or one of its own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::limits::MAX_MUX_PORTS;
use crate::signalling::{Problem, StartingPorts};

/// The ports of the server, as the control side knows them.
pub(super) enum PortBook {
    /// Mux ports by slot; the slot is the same on every shard.
    Mux(Vec<Option<MuxPort>>),
    /// A port per session.
    Range(RangePorts),
}

/// A mux port.
pub(super) struct MuxPort {
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
pub(super) struct RangePorts {
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
pub(super) struct GivenPort {
    /// The slot of a mux port; nothing with a range.
    pub slot: Option<usize>,
    pub number: u16,
    /// Addresses for the answer. Empty for a port of a range that is not bound yet.
    pub candidates: Arc<[SocketAddr]>,
}

impl PortBook {
    pub fn new(starting: StartingPorts) -> PortBook {
        match starting {
            StartingPorts::Mux(ports) => PortBook::Mux(
                ports
                    .into_iter()
                    .map(|(number, candidates)| {
                        let candidates = candidates.into();
                        Some(MuxPort { number, candidates, sessions: 0, state: PortState::Open })
                    })
                    .collect(),
            ),
            StartingPorts::Range { first, last } => PortBook::Range(RangePorts {
                first,
                last,
                free: (first..=last).collect(),
                exhausted: 0,
                skipped: 0,
            }),
        }
    }

    /// A port for one more session.
    pub fn take(&mut self) -> Result<GivenPort, Problem> {
        match self {
            PortBook::Mux(slots) => {
                let open = slots.iter_mut().enumerate().filter_map(|(slot, port)| {
                    let port = port.as_mut().filter(|port| port.state == PortState::Open)?;
                    Some((slot, port))
                });
                let (slot, port) = open
                    .min_by_key(|(_, port)| port.sessions)
                    .ok_or_else(|| Problem::overloaded("no UDP port is open"))?;
                port.sessions += 1;
                let (number, candidates) = (port.number, port.candidates.clone());
                Ok(GivenPort { slot: Some(slot), number, candidates })
            }
            PortBook::Range(range) => {
                let number = range.free.pop_front();
                let number = number.ok_or_else(|| range.exhausted())?;
                Ok(GivenPort { slot: None, number, candidates: Arc::new([]) })
            }
        }
    }

    /// The session that was given `port` is no more.
    pub fn give_back(&mut self, port: &GivenPort) {
        match self {
            PortBook::Mux(slots) => {
                let given = port.slot.and_then(|slot| slots.get_mut(slot)?.as_mut());
                if let Some(port) = given {
                    port.sessions -= 1;
                }
            }
            PortBook::Range(range) => range.free.push_back(port.number),
        }
    }

    /// Somebody else has the port that was taken: it goes behind all others, and another is taken.
    pub fn skip(&mut self, port: &GivenPort) -> Result<GivenPort, Problem> {
        self.give_back(port);
        if let PortBook::Range(range) = self {
            range.skipped += 1;
        }
        self.take()
    }

    /// Takes a draining mux port back into service. Returns its slot and its sessions; `None` where
    /// `number` does not drain.
    pub fn reopen(&mut self, number: u16) -> Option<(usize, usize)> {
        let PortBook::Mux(slots) = self else { return None };
        let (slot, port) = slots.iter_mut().enumerate().find_map(|(slot, port)| {
            let port = port.as_mut().filter(|port| port.number == number)?;
            matches!(port.state, PortState::Draining(_)).then_some((slot, port))
        })?;
        port.state = PortState::Open;
        Some((slot, port.sessions))
    }

    /// Reserves a slot for a mux port to come.
    pub fn reserve(&mut self, number: u16) -> Result<usize, Problem> {
        let PortBook::Mux(slots) = self else { return Err(not_muxed()) };
        let same = slots.iter().flatten().find(|port| port.number == number && number != 0);
        if let Some(same) = same {
            let state = match same.state {
                PortState::Opening => "is being opened",
                PortState::Open => "is open",
                PortState::Draining(_) | PortState::Closing => "is being closed",
            };
            return Err(Problem::conflict(format!("UDP port {number} {state}")));
        }
        let free = slots.iter().position(Option::is_none).unwrap_or(slots.len());
        if free >= MAX_MUX_PORTS {
            return Err(Problem::conflict(format!("there are {MAX_MUX_PORTS} ports, the most")));
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
            PortBook::Mux(slots) => slots.get_mut(slot)?.as_mut(),
            PortBook::Range(_) => None,
        }
    }

    /// Frees the slot of a mux port that every shard has closed.
    pub fn free(&mut self, slot: usize) {
        if let PortBook::Mux(slots) = self {
            slots[slot] = None;
        }
    }

    /// Gives the mux port `number` to no new session, and says which slot it is in.
    pub fn drain(&mut self, number: u16, until: SystemTime) -> Result<usize, Problem> {
        let PortBook::Mux(slots) = self else { return Err(not_muxed()) };
        let open = slots.iter().flatten().filter(|port| port.state == PortState::Open).count();
        let found = slots.iter_mut().enumerate().find_map(|(slot, port)| {
            let port = port.as_mut().filter(|port| port.number == number)?;
            Some((slot, port))
        });
        let (slot, port) = found
            .ok_or_else(|| Problem::not_found(format!("UDP port {number} is none of ours")))?;
        match port.state {
            PortState::Draining(_) | PortState::Closing => {
                Err(Problem::conflict(format!("UDP port {number} is draining already")))
            }
            PortState::Opening => {
                Err(Problem::conflict(format!("UDP port {number} is still being opened")))
            }
            PortState::Open if open == 1 => Err(Problem::conflict(format!(
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

fn not_muxed() -> Problem {
    Problem::conflict(
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
    pub fn exhausted(&mut self) -> Problem {
        self.exhausted += 1;
        let (first, last) = (self.first, self.last);
        Problem::no_room(format!(
            "every UDP port of {first}-{last} is in use; a port comes free when a session ends"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn muxed(numbers: &[u16]) -> PortBook {
        PortBook::new(StartingPorts::Mux(numbers.iter().map(|n| (*n, Vec::new())).collect()))
    }

    fn numbers(book: &mut PortBook, count: usize) -> Vec<u16> {
        (0..count).map(|_| book.take().expect("there is one").number).collect()
    }

    #[test]
    fn the_port_with_the_fewest_sessions_is_given() {
        let mut book = muxed(&[1, 2, 3]);
        assert_eq!(numbers(&mut book, 4), [1, 2, 3, 1]);
        let second = GivenPort { slot: Some(1), number: 2, candidates: Arc::new([]) };
        book.give_back(&second);
        assert_eq!(numbers(&mut book, 2), [2, 2]);
    }

    #[test]
    fn a_slot_keeps_its_number_until_it_is_empty_and_a_new_port_is_given_once_it_is_open() {
        let mut book = muxed(&[1, 2]);
        let until = SystemTime::now();
        assert_eq!(book.drain(1, until).unwrap(), 0);
        assert!(book.reopen(2).is_none(), "it does not drain");
        assert_eq!(book.reopen(1), Some((0, 0)));
        assert_eq!(book.drain(1, until).unwrap(), 0);
        assert!(book.drain(1, until).is_err() && book.drain(9, until).is_err());
        assert!(book.drain(2, until).is_err(), "the last one that is open");
        assert_eq!(numbers(&mut book, 2), [2, 2]);
        let slot = book.reserve(7).unwrap();
        assert_eq!(slot, 2, "the first slot is still in use");
        assert!(book.reserve(7).is_err() && book.reserve(1).is_err() && book.reserve(2).is_err());
        assert_eq!(numbers(&mut book, 1), [2], "nobody is given one that is being opened");
        book.mux(slot).unwrap().state = PortState::Open;
        assert_eq!(numbers(&mut book, 1), [7]);
        book.free(0);
        assert_eq!(book.reserve(1).unwrap(), 0);
    }

    #[test]
    fn a_range_gives_each_port_once_the_longest_free_first() {
        let mut book = PortBook::new(StartingPorts::Range { first: 10, last: 12 });
        assert_eq!(numbers(&mut book, 3), [10, 11, 12]);
        assert!(book.take().is_err());
        let given = |number| GivenPort { slot: None, number, candidates: Arc::new([]) };
        book.give_back(&given(12));
        book.give_back(&given(10));
        assert_eq!(book.skip(&given(11)).unwrap().number, 12, "11 is somebody else's");
        assert_eq!(numbers(&mut book, 2), [10, 11]);
        let PortBook::Range(range) = &book else { panic!("it is one") };
        assert_eq!((range.free(), range.used(), range.exhausted, range.skipped), (0, 3, 1, 1));
        assert!(book.reserve(1).is_err() && book.drain(10, SystemTime::now()).is_err());
    }
}
