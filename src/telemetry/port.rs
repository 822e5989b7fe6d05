//! Counters by mux port.

use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam::utils::CachePadded;

use super::Counter;
use super::counters::Kind;
use crate::limits::MAX_MUX_PORTS;

/// No port: the place is free.
const FREE: u32 = u32::MAX;
/// All ports of a range together.
const AGGREGATE: u32 = u32::MAX - 1;

/// Which port a place counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortName {
    /// A mux port.
    Port(u16),
    /// All ports of a range: a port per session is too many to be told apart.
    All,
}

impl std::fmt::Display for PortName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PortName::Port(port) => port.fmt(f),
            PortName::All => f.write_str("all"),
        }
    }
}

/// Declares the counters of a port once, with kind and help.
macro_rules! port_counters {
    ($($name:ident: $kind:ident, $help:literal;)*) => {
        /// What one shard counts at one mux port.
        #[derive(Debug)]
        pub struct PortCounters {
            name: AtomicU32,
            $(#[doc = $help] pub $name: Counter,)*
        }

        impl Default for PortCounters {
            fn default() -> PortCounters {
                PortCounters { name: AtomicU32::new(FREE), $($name: Counter::default(),)* }
            }
        }

        impl PortCounters {
            /// Metric's name, kind, help and value of every counter.
            pub fn each(&self, mut visit: impl FnMut(&'static str, Kind, &'static str, u64)) {
                $({
                    let name = concat!("port_", stringify!($name));
                    visit(name, Kind::$kind, $help, self.$name.get());
                })*
            }

            fn clear(&self) {
                $(self.$name.set(0);)*
            }
        }
    };
}

port_counters! {
    datagrams_in: Counter, "Datagrams received from the kernel at the port";
    bytes_in: Counter, "Bytes of UDP payload received from the kernel at the port";
    datagrams_out: Counter, "Datagrams handed to the kernel at the port";
    bytes_out: Counter, "Bytes of UDP payload handed to the kernel at the port";
    receive_drops: Counter, "Datagrams the kernel dropped because the receive queue was full";
    would_block: Counter, "Times the kernel took no more datagrams at the port (EAGAIN, ENOBUFS)";
    send_drops: Counter, "Datagrams dropped at the port on their way out: queue full or refused";
    sessions: Gauge, "Sessions whose answer named the port";
}

impl PortCounters {
    /// Which port this counts for; `None` while the place is free.
    #[must_use]
    pub fn name(&self) -> Option<PortName> {
        match self.name.load(Ordering::Acquire) {
            FREE => None,
            AGGREGATE => Some(PortName::All),
            port => Some(PortName::Port(port as u16)),
        }
    }

    /// Counts for `port` from here on, starting at zero. Only the owning thread may call this.
    pub fn open(&self, port: PortName) {
        self.clear();
        let name = match port {
            PortName::Port(port) => u32::from(port),
            PortName::All => AGGREGATE,
        };
        self.name.store(name, Ordering::Release);
    }

    /// The port is closed: readers see it no more. Only the owning thread may call this.
    pub fn close(&self) {
        self.name.store(FREE, Ordering::Release);
    }
}

/// A place for every mux port one shard can have, by the port's index on the shard.
#[derive(Debug)]
pub struct PortTable(Box<[CachePadded<PortCounters>]>);

impl Default for PortTable {
    fn default() -> PortTable {
        PortTable((0..MAX_MUX_PORTS).map(|_| CachePadded::default()).collect())
    }
}

impl PortTable {
    /// The counters of the port with this index.
    ///
    /// # Panics
    /// When the index is not below [`MAX_MUX_PORTS`].
    #[must_use]
    pub fn at(&self, index: usize) -> &PortCounters {
        &self.0[index]
    }

    /// The ports that are open, with their names.
    pub fn open(&self) -> impl Iterator<Item = (PortName, &PortCounters)> {
        self.0.iter().filter_map(|place| Some((place.name()?, &**place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_starts_anew_with_each_port() {
        let table = PortTable::default();
        assert_eq!(table.open().count(), 0);
        table.at(3).open(PortName::Port(7_882));
        table.at(3).datagrams_in.add(5);
        table.at(5).open(PortName::All);
        let open: Vec<_> =
            table.open().map(|(name, port)| (name, port.datagrams_in.get())).collect();
        assert_eq!(open, [(PortName::Port(7_882), 5), (PortName::All, 0)]);
        table.at(3).close();
        table.at(3).open(PortName::Port(0));
        assert_eq!(table.at(3).datagrams_in.get(), 0, "another port, another count");
        assert_eq!(table.open().next().map(|(name, _)| name.to_string()), Some("0".into()));
    }
}
