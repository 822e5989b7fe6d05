//! Who holds a port. `SO_REUSEPORT` would silently share a UDP port with another process of the
//! same user, and half of the packets would go missing; this finds out before we bind. Of a TCP
//! port it says who is in the way.

use std::collections::BTreeSet;
use std::fs;
use std::io;

/// The column of a socket's own address in `/proc/net/udp`.
const LOCAL_ADDRESS: usize = 1;

/// The process behind a socket, as far as `/proc` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortHolder {
    /// Its process id; `None` when its descriptors may not be read or it is in another namespace.
    pub pid: Option<u32>,
    /// Its command name (`/proc/PID/comm`).
    pub command: Option<String>,
}

/// Whether any socket of this network namespace is bound to UDP `port`, on any address of either
/// family. A holder in another process is named before one in ours.
///
/// # Errors
///
/// When neither `/proc/net/udp` nor `/proc/net/udp6` can be read.
pub fn udp_port_holder(port: u16) -> io::Result<Option<PortHolder>> {
    holder_of("udp", port, |_state| true)
}

/// Whether any socket of this network namespace listens on TCP `port`, as [`udp_port_holder`] does
/// for UDP.
///
/// # Errors
///
/// When neither `/proc/net/tcp` nor `/proc/net/tcp6` can be read.
pub fn tcp_port_holder(port: u16) -> io::Result<Option<PortHolder>> {
    // TCP_LISTEN of include/net/tcp_states.h.
    holder_of("tcp", port, |state| state == "0A")
}

fn holder_of(
    protocol: &str,
    port: u16,
    holds: impl Fn(&str) -> bool + Copy,
) -> io::Result<Option<PortHolder>> {
    let tables = tables(protocol)?;
    let inodes: Vec<u64> = tables.iter().flat_map(|table| inodes_on(table, port, holds)).collect();
    if inodes.is_empty() {
        return Ok(None);
    }
    let own = std::process::id();
    let mut holders: Vec<u32> = process_ids().filter(|pid| holds_any(*pid, &inodes)).collect();
    holders.sort_by_key(|pid| (*pid == own, *pid));
    let pid = holders.first().copied();
    let command = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    let command = command.map(|name| name.trim_end().to_owned());
    Ok(Some(PortHolder { pid, command }))
}

/// The UDP ports of this network namespace that any socket is bound to.
///
/// # Errors
///
/// When neither `/proc/net/udp` nor `/proc/net/udp6` can be read.
pub fn udp_ports_in_use() -> io::Result<BTreeSet<u16>> {
    let tables = tables("udp")?;
    let port = |line: &str| {
        let (_, port) = line.split_whitespace().nth(LOCAL_ADDRESS)?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    Ok(tables.iter().flat_map(|table| table.lines().skip(1).filter_map(port)).collect())
}

/// What the kernel says about the sockets of a protocol, in either family (columns: proc_net(5)).
fn tables(protocol: &str) -> io::Result<[String; 2]> {
    let v4 = fs::read_to_string(format!("/proc/net/{protocol}"));
    // Absent where IPv6 is switched off.
    let v6 = fs::read_to_string(format!("/proc/net/{protocol}6")).unwrap_or_default();
    Ok([if v6.is_empty() { v4? } else { v4.unwrap_or_default() }, v6])
}

/// Inodes of the sockets on `port` in a state that holds it, in the text of `/proc/net/udp` or
/// `/proc/net/tcp` (their columns: proc_net(5)).
fn inodes_on(table: &str, port: u16, holds: impl Fn(&str) -> bool) -> impl Iterator<Item = u64> {
    const STATE_AFTER_IT: usize = 1;
    const INODE_AFTER_THAT: usize = 5;
    table.lines().skip(1).filter_map(move |line| {
        let mut columns = line.split_whitespace().skip(LOCAL_ADDRESS);
        let (_, found) = columns.next()?.rsplit_once(':')?;
        let same = u16::from_str_radix(found, 16) == Ok(port);
        let holding = holds(columns.nth(STATE_AFTER_IT)?);
        let inode = columns.nth(INODE_AFTER_THAT)?.parse().ok()?;
        (same && holding).then_some(inode)
    })
}

fn process_ids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether a descriptor of the process is one of the sockets: links read `socket:[INODE]`.
fn holds_any(pid: u32, inodes: &[u64]) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    let mut sockets = links.filter_map(|link| {
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    });
    sockets.any(|inode| inodes.contains(&inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found_and_named() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let socket = std::net::UdpSocket::bind(address).unwrap();
            let port = socket.local_addr().unwrap().port();
            assert!(udp_ports_in_use().unwrap().contains(&port), "{address}");
            let holder = udp_port_holder(port).unwrap().expect("the socket above");
            assert_eq!(holder.pid, Some(std::process::id()), "{address}");
            let own = fs::read_to_string("/proc/self/comm").unwrap();
            assert_eq!(holder.command.as_deref(), Some(own.trim_end()));
        }
    }

    #[test]
    fn a_tcp_port_is_held_by_its_listener_alone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = Some(std::process::id());
        assert_eq!(tcp_port_holder(port).unwrap().map(|holder| holder.pid), Some(own));
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let accepted = listener.accept().unwrap();
        drop(listener);
        assert_eq!(tcp_port_holder(port).unwrap(), None, "connections hold nothing");
        drop((client, accepted));
    }

    #[test]
    fn a_table_is_read_by_its_columns() {
        let rest = "00000000:00000000 00:00000000 00000000  1000        0";
        let table = format!(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt ...
 1234: 0100007F:1F90 00000000:0000 07 {rest} 31337 2 0000000000000000 0
 1235: 00000000:1F91 0100007F:1F90 07 {rest} 4711 2 0000000000000000 0
broken"
        );
        assert_eq!(inodes_on(&table, 8080, |_| true).collect::<Vec<_>>(), [31337]);
        assert_eq!(inodes_on(&table, 8081, |state| state == "07").collect::<Vec<_>>(), [4711]);
        assert_eq!(inodes_on(&table, 8081, |state| state == "0A").count(), 0);
        assert_eq!(inodes_on(&table, 53, |_| true).count(), 0);
    }
}
