//! Control messages: what the kernel says beside a datagram, and what we say beside ours.
//!
//! Reading is done on bytes with checked offsets. Writing needs no pointer arithmetic either: a
//! [`SendControl`] holds ready-made messages laid out as `cmsg(3)` wants them, of which a send only
//! patches the values.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::addr::Family;

/// What the kernel said about one received message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReceiveControl {
    /// The destination address of the packet, canonical: the address that was hit.
    pub local: Option<IpAddr>,
    /// `UDP_GRO`: bytes of each datagram coalesced into the message, the last may be shorter.
    pub segment_bytes: Option<usize>,
    /// `SCM_TIMESTAMPNS`: when the packet came in from the network, in nanoseconds of Unix time; of
    /// datagrams coalesced into one message, when the first did.
    pub arrived_ns: Option<u64>,
    /// `SO_RXQ_OVFL`: datagrams dropped by a full receive queue since the socket exists, modulo
    /// 2^32; absent while it is zero.
    pub overflow: Option<u32>,
}

/// Room for every control message we ask for: `IPV6_PKTINFO` 40 or, on sockets that are IPv4 alone,
/// `IP_PKTINFO` 32, `SCM_TIMESTAMPNS` 32, `UDP_GRO` 24 and `SO_RXQ_OVFL` 24 bytes.
pub(super) const RECEIVE_CONTROL_BYTES: usize = 120;

const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();

/// Reads the control messages of one received message. What is cut short or unknown is skipped.
pub(super) fn parse(mut control: &[u8]) -> ReceiveControl {
    let mut found = ReceiveControl::default();
    while let Some((level, kind, data, rest)) = next(control) {
        match (level, kind) {
            (libc::SOL_IP, libc::IP_PKTINFO) => {
                let octets = data.get(offset_of!(libc::in_pktinfo, ipi_addr)..);
                let octets: Option<&[u8; 4]> = octets.and_then(<[u8]>::first_chunk);
                found.local = octets.map(|octets| Ipv4Addr::from(*octets).into()).or(found.local);
            }
            (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                let octets: Option<&[u8; 16]> = data.first_chunk();
                let address = octets.map(|octets| Ipv6Addr::from(*octets).to_canonical());
                found.local = address.or(found.local);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let size = data.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
                found.segment_bytes = size.and_then(|size| usize::try_from(size).ok());
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                found.arrived_ns = nanoseconds(data);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                found.overflow = data.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
            }
            _ => {}
        }
        control = rest;
    }
    found
}

/// A `timespec` of the kernel's realtime clock.
fn nanoseconds(timespec: &[u8]) -> Option<u64> {
    let field = |at: usize| timespec.get(at..)?.first_chunk().map(|b| i64::from_ne_bytes(*b));
    let seconds = field(offset_of!(libc::timespec, tv_sec))?;
    let nanoseconds = field(offset_of!(libc::timespec, tv_nsec))?;
    u64::try_from(seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)?).ok()
}

/// Level, type and data of the first control message, and what follows it.
fn next(control: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let length = control.get(offset_of!(libc::cmsghdr, cmsg_len)..)?.first_chunk()?;
    let level = control.get(offset_of!(libc::cmsghdr, cmsg_level)..)?.first_chunk()?;
    let kind = control.get(offset_of!(libc::cmsghdr, cmsg_type)..)?.first_chunk()?;
    let length = usize::from_ne_bytes(*length);
    let data = control.get(HEADER_BYTES..length)?;
    // CMSG_ALIGN: each message starts at a multiple of a word. The last may lack its padding.
    let rest = control.get(length.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
    Some((i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind), data, rest))
}

/// A control message and its data, padded as `CMSG_SPACE` says (proved below).
#[repr(C)]
#[derive(Clone, Copy)]
struct Message<T> {
    header: libc::cmsghdr,
    data: T,
}

impl<T> Message<T> {
    fn new(level: i32, kind: i32, data: T) -> Message<T> {
        let cmsg_len = (HEADER_BYTES + size_of::<T>()) as _;
        Message { header: libc::cmsghdr { cmsg_len, cmsg_level: level, cmsg_type: kind }, data }
    }
}

/// The control messages one outgoing message can need, ready-made, with only values to patch:
/// source address and segment size side by side for each family, so that any subset that is
/// wanted is contiguous.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct SendControl {
    source_v4: Message<libc::in_pktinfo>,
    segment_v4: Message<u16>,
    source_v6: Message<libc::in6_pktinfo>,
    segment_v6: Message<u16>,
}

impl SendControl {
    pub(super) fn new() -> SendControl {
        let nowhere = libc::in_addr { s_addr: 0 };
        let v4 = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: nowhere, ipi_addr: nowhere };
        // Interface index 0 lets routing choose the interface for the source address.
        let v6 =
            libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: [0; 16] }, ipi6_ifindex: 0 };
        let segment = Message::new(libc::SOL_UDP, libc::UDP_SEGMENT, 0u16);
        SendControl {
            source_v4: Message::new(libc::SOL_IP, libc::IP_PKTINFO, v4),
            segment_v4: segment,
            source_v6: Message::new(libc::SOL_IPV6, libc::IPV6_PKTINFO, v6),
            segment_v6: segment,
        }
    }

    /// Patches the values and says where in `self` the control data are, as `(offset, length)` in
    /// bytes; a length of zero means none are needed.
    ///
    /// An unspecified `source` leaves the choice to the kernel. `segment` is the segment size of a
    /// train, or `None` for a single datagram.
    pub(super) fn patch(
        &mut self,
        family: Family,
        source: IpAddr,
        segment: Option<u16>,
    ) -> (usize, usize) {
        let pinned = !source.is_unspecified();
        let (source_at, segment_at, end) = match (family, source) {
            (Family::V4, IpAddr::V4(v4)) => {
                // ipi_spec_dst is the source: "used as the local source address" (ip(7)).
                self.source_v4.data.ipi_spec_dst.s_addr = u32::from_ne_bytes(v4.octets());
                self.segment_v4.data = segment.unwrap_or_default();
                SendControl::V4
            }
            (_, address) => {
                // A dual-stack socket takes the IPv4 source in IPv6 clothes: ip_cmsg_send in
                // net/ipv4/ip_sockglue.c reads IPV6_PKTINFO when it is v4-mapped.
                let v6 = match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                self.source_v6.data.ipi6_addr.s6_addr = v6.octets();
                self.segment_v6.data = segment.unwrap_or_default();
                SendControl::V6
            }
        };
        let start = if pinned { source_at } else { segment_at };
        let end = if segment.is_some() { end } else { segment_at };
        (start, end - start)
    }

    /// Offsets of the source message, the segment message and the end, for each family.
    const V4: (usize, usize, usize) =
        (0, offset_of!(SendControl, segment_v4), offset_of!(SendControl, source_v6));
    const V6: (usize, usize, usize) = (
        offset_of!(SendControl, source_v6),
        offset_of!(SendControl, segment_v6),
        size_of::<SendControl>(),
    );
}

const fn space<T>() -> usize {
    // SAFETY: CMSG_SPACE is arithmetic on its argument; it is unsafe only for being foreign.
    unsafe { libc::CMSG_SPACE(size_of::<T>() as u32) as usize }
}

const _: () = assert!(size_of::<Message<libc::in_pktinfo>>() == space::<libc::in_pktinfo>());
const _: () = assert!(size_of::<Message<libc::in6_pktinfo>>() == space::<libc::in6_pktinfo>());
const _: () = assert!(size_of::<Message<u16>>() == space::<u16>());
const _: () = assert!(
    offset_of!(Message<u16>, data) == HEADER_BYTES,
    "CMSG_DATA follows the header at once where both are word-aligned"
);
const _: () = assert!(
    space::<libc::in6_pktinfo>() + space::<libc::timespec>() + 2 * space::<i32>()
        <= RECEIVE_CONTROL_BYTES,
    "every control message we ask for must fit at once"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut out = (HEADER_BYTES + data.len()).to_ne_bytes().to_vec();
        out.extend(level.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(data);
        out.resize(out.len().next_multiple_of(8), 0xEE);
        out
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let mut control = message(libc::SOL_UDP, libc::UDP_GRO, &1_200i32.to_ne_bytes());
        control.extend(message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &7u32.to_ne_bytes()));
        let time = [1_795_000_000i64.to_ne_bytes(), 5i64.to_ne_bytes()].concat();
        control.extend(message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &time));
        let mapped: Ipv6Addr = "::ffff:127.0.0.2".parse().unwrap();
        let mut pktinfo = mapped.octets().to_vec();
        pktinfo.extend(1u32.to_ne_bytes());
        control.extend(message(libc::SOL_IPV6, libc::IPV6_PKTINFO, &pktinfo));
        let expected = ReceiveControl {
            local: Some("127.0.0.2".parse().unwrap()),
            segment_bytes: Some(1_200),
            arrived_ns: Some(1_795_000_000_000_000_005),
            overflow: Some(7),
        };
        assert_eq!(parse(&control), expected);
        // The kernel leaves the last message's padding out of msg_controllen.
        assert_eq!(parse(&control[..control.len() - 4]), expected);
    }

    #[test]
    fn unwanted_control_messages_are_left_out() {
        let mut control = SendControl::new();
        let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let one = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(control.patch(Family::V4, any, None).1, 0);
        assert_eq!(control.patch(Family::V6, any, None).1, 0);
        assert_eq!(control.patch(Family::V4, one, None).1, space::<libc::in_pktinfo>());
        assert_eq!(control.patch(Family::V6, any, Some(9)).1, space::<u16>());
        let both = space::<libc::in6_pktinfo>() + space::<u16>();
        assert_eq!(control.patch(Family::V6, one, Some(9)).1, both);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let _ = parse(&bytes);
        }
    }
}
