//! Addresses: between the kernel's `sockaddr` bytes and ours, and those of this host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

use super::sys;

/// Bytes of the longer of the two `sockaddr`s we speak, `sockaddr_in6`.
pub(super) const RAW_BYTES: usize = size_of::<libc::sockaddr_in6>();

/// One address of one network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name, for example `eth0`.
    pub name: String,
    /// The address.
    pub address: IpAddr,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Whether it is administratively up.
    pub up: bool,
}

/// The addresses of this host, in the kernel's order.
///
/// IPv6 link-local addresses (fe80::/10) are left out: they mean nothing without a zone, and ICE
/// candidates carry none (RFC 8839 section 5.1).
///
/// # Errors
///
/// Those of `getifaddrs(3)`.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let ip = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().to_canonical()))
    };
    let found = getifaddrs()?.filter_map(|entry| {
        let address = ip(entry.address?)?;
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        (!link_local).then_some(Interface {
            name: entry.interface_name,
            address,
            loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
            up: entry.flags.contains(InterfaceFlags::IFF_UP),
        })
    });
    Ok(found.collect())
}

/// Whether the card behind interface `name` has UDP ports in the hash that picks a receive queue
/// (`ethtool -n NAME rx-flow-hash udp4`).
///
/// # Errors
///
/// `ENODEV`, or `EOPNOTSUPP` and the like from drivers that do not tell.
pub fn udp_hash_has_ports(name: &str) -> io::Result<bool> {
    // include/uapi/linux/ethtool.h: RXH_L4_B_0_1 and RXH_L4_B_2_3, the two ports.
    const BOTH_PORTS: u64 = 1 << 6 | 1 << 7;
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let fields = sys::udp_hash_fields(socket.as_fd(), name)?;
    Ok(fields & BOTH_PORTS == BOTH_PORTS)
}

/// The address family of a socket, which decides how addresses are written for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`, dual-stack: IPv4 peers are written as `::ffff:a.b.c.d`.
    V6,
}

/// Writes `address` as the `sockaddr` a socket of `family` wants; returns its length in bytes.
///
/// An IPv6 address for an IPv4 socket is written as it is: the kernel refuses it with
/// `EAFNOSUPPORT`, and the refusal is reported like any other.
pub(super) fn encode(address: SocketAddr, family: Family, out: &mut [u8; RAW_BYTES]) -> u32 {
    match (address, family) {
        (SocketAddr::V4(v4), Family::V4) => {
            out[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            out[2..4].copy_from_slice(&v4.port().to_be_bytes());
            out[4..8].copy_from_slice(&v4.ip().octets());
            // sin_zero, which the kernel does not look at.
            out[8..16].fill(0);
            size_of::<libc::sockaddr_in>() as u32
        }
        (SocketAddr::V4(v4), Family::V6) => {
            encode_v6(&SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0), out)
        }
        (SocketAddr::V6(v6), _) => encode_v6(&v6, out),
    }
}

fn encode_v6(address: &SocketAddrV6, out: &mut [u8; RAW_BYTES]) -> u32 {
    out[0..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
    out[2..4].copy_from_slice(&address.port().to_be_bytes());
    out[4..8].copy_from_slice(&address.flowinfo().to_be_bytes());
    out[8..24].copy_from_slice(&address.ip().octets());
    out[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
    RAW_BYTES as u32
}

/// Reads a `sockaddr`, turning `::ffff:a.b.c.d` into the IPv4 address it stands for. `None` when
/// the bytes are too short or of another family.
pub(super) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some(SocketAddr::from((Ipv4Addr::from(octets), port)))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
            Some(match Ipv6Addr::from(octets).to_canonical() {
                IpAddr::V4(v4) => SocketAddr::from((v4, port)),
                IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, scope).into(),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernel_form() {
        let cases: [SocketAddr; 3] = [
            "192.0.2.1:65535".parse().unwrap(),
            "[2001:db8::1]:443".parse().unwrap(),
            SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 0, 7).into(),
        ];
        for address in cases {
            for family in [Family::V4, Family::V6] {
                let mut raw = [0xAA; RAW_BYTES];
                let length = encode(address, family, &mut raw) as usize;
                assert_eq!(decode(&raw[..length]), Some(address), "{family:?}");
                assert_eq!(decode(&raw[..length - 13]), None, "a cut address is no address");
            }
        }
    }

    #[test]
    fn other_families_are_no_address() {
        let mut raw = [0; RAW_BYTES];
        raw[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
        assert_eq!(decode(&raw), None);
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn this_host_has_a_loopback_address_and_no_link_local_one() {
        let found = interfaces().unwrap();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(found.iter().any(|one| one.loopback && one.up && one.address == loopback));
        let v6 = |one: &Interface| match one.address {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        };
        assert!(!found.iter().filter_map(v6).any(|address| address.is_unicast_link_local()));
    }
}
