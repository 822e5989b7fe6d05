//! Steering in the kernel: each datagram goes to the socket of the shard that owns its session.
//!
//! Without it the kernel spreads datagrams over the sockets of a port by a hash, and a shard hands
//! over what is not its own. With it an eBPF [`program`] per port chooses the socket: a STUN
//! request's by the shard in its ufrag, anything else's by a map from flow to shard, which shards
//! fill when a flow is proved. One system call per proved and ended flow, none per datagram.
//!
//! What it saves is the hand-overs, and with them a copy, a wake-up and a wait in a mailbox: over
//! two shards with 400 viewers, 5,000 to 12,000 of 16,000 datagrams by hash and none with it. The
//! CPU time is the same within the noise, because viewers send little.
//!
//! The instructions are built here, from readable code: no compiler is needed to run the server,
//! and there is no binary in the tree.

mod asm;
mod bpf;
mod program;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use self::bpf::{Map, MapKind, PerCpuCounter};
use self::program::{KEY_BYTES, Maps};
use super::sys;
use crate::limits::STEERING_SLACK_PER_SHARD;

/// The maps of the running programs. The sockets hold the programs; closing the last socket of a
/// port ends its program.
#[derive(Debug)]
pub struct Steering {
    flows: Map<KEY_BYTES, 4>,
    drops: Option<PerCpuCounter>,
}

impl Steering {
    /// Puts a program on every port. `sockets_by_port` has the bound sockets of each, the one of
    /// shard `i` at index `i`; the map has room for `flows` flows. With `drop_unknown` the kernel
    /// drops what is neither STUN nor of a known flow. It answers such datagrams like those to a
    /// closed port: with ICMP, as often as `net.ipv4.icmp_ratelimit` allows.
    ///
    /// # Errors
    ///
    /// Why not, in words, and what to grant. No program is left behind.
    pub fn load(
        sockets_by_port: &[Vec<BorrowedFd<'_>>],
        flows: usize,
        drop_unknown: bool,
    ) -> Result<Steering, String> {
        let shards = sockets_by_port.iter().map(Vec::len).max().unwrap_or(0);
        let entries = flows + shards * STEERING_SLACK_PER_SHARD;
        let entries = u32::try_from(entries).unwrap_or(u32::MAX);
        let flows = Map::create(MapKind::LruHash, entries, c"monoport_flows");
        let flows = flows.map_err(|error| refusal(&error))?;
        let drops = drop_unknown.then(|| PerCpuCounter::create(c"monoport_drops")).transpose();
        let drops = drops.map_err(|error| refusal(&error))?;
        let steering = Steering { flows, drops };
        for (port, sockets) in sockets_by_port.iter().enumerate() {
            if let Err(reason) = steering.attach(sockets) {
                // Half of the ports steered would be neither one thing nor the other.
                for sockets in &sockets_by_port[..port] {
                    detach(sockets);
                }
                return Err(reason);
            }
        }
        Ok(steering)
    }

    /// The steering of another process, by its maps: programs of both claim in one and the same.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where there are not one or two descriptors.
    pub fn adopt(maps: Vec<OwnedFd>) -> io::Result<Steering> {
        let mut maps = maps.into_iter();
        let flows = maps.next().ok_or(io::ErrorKind::InvalidInput)?;
        let drops = maps.next().map(PerCpuCounter::adopt);
        Ok(Steering { flows: Map::adopt(flows), drops })
    }

    /// The maps, for [`Steering::adopt`].
    #[must_use]
    pub fn maps(&self) -> Vec<BorrowedFd<'_>> {
        let drops = self.drops.as_ref().map(PerCpuCounter::as_fd);
        [self.flows.as_fd()].into_iter().chain(drops).collect()
    }

    /// Datagrams between `local` and `remote` go to `shard` from now on.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. The hash decides then, or the kernel drops what is not STUN.
    pub fn claim(&self, local: SocketAddr, remote: SocketAddr, shard: u16) -> io::Result<()> {
        self.flows.update(&key(local, remote), &u32::from(shard).to_ne_bytes())
    }

    /// Forgets the flow between `local` and `remote`, whoever has it; one that is not known (the
    /// map may have forgotten it) is as good.
    pub fn release(&self, local: SocketAddr, remote: SocketAddr) {
        // NotFound is the only error there is for a key of the right size.
        let _ = self.flows.delete(&key(local, remote));
    }

    /// Whether the kernel drops datagrams of unknown flows.
    #[must_use]
    pub fn drops_unknown(&self) -> bool {
        self.drops.is_some()
    }

    /// Datagrams dropped in the kernel because their flow is unknown. Takes a system call.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.drops.as_ref().map_or(0, |drops| drops.sum().unwrap_or(0))
    }

    /// Puts a program on one more port, whose bound sockets are `sockets`, the one of shard `i` at
    /// index `i`. Closing the last of them ends it.
    ///
    /// # Errors
    ///
    /// Why not, in words. The kernel's hash spreads the port's datagrams then.
    pub fn attach(&self, sockets: &[BorrowedFd<'_>]) -> Result<(), String> {
        let refused = |error| refusal(&error);
        let Some(first) = sockets.first() else { return Ok(()) };
        let count = u32::try_from(sockets.len()).unwrap_or(u32::MAX);
        let kind = MapKind::ReuseportSockets;
        let by_shard: Map<4, 4> = Map::create(kind, count, c"monoport_shards").map_err(refused)?;
        for (shard, socket) in (0u32..).zip(sockets) {
            let socket = socket.as_raw_fd().to_ne_bytes();
            by_shard.update(&shard.to_ne_bytes(), &socket).map_err(refused)?;
        }
        let program = program::steering(&Maps {
            sockets: by_shard.as_fd(),
            flows: self.flows.as_fd(),
            drops: self.drops.as_ref().map(PerCpuCounter::as_fd),
        });
        let program = bpf::load_program(&program, &mut []).map_err(|error| {
            if error.raw_os_error() == Some(libc::EPERM) {
                return refusal(&error);
            }
            // The verifier's log costs the loading of a program a second time.
            let mut log = vec![0; LOG_BYTES];
            let _ = bpf::load_program(&program, &mut log);
            format!("{}: {}", refusal(&error), last_line(&log))
        })?;
        let program = program.as_raw_fd();
        sys::set_option(*first, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF, program)
            .map_err(refused)
    }
}

/// Enough for the verifier's log of a program of ours; what is longer loses its end.
const LOG_BYTES: usize = 1 << 20;

/// Takes the program off the port that `sockets` share.
fn detach(sockets: &[BorrowedFd<'_>]) {
    if let Some(first) = sockets.first() {
        // Fails where there is no program, which is what is wanted.
        let _ = sys::set_option(*first, libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, 0);
    }
}

/// What the kernel's refusal means to the person who starts the server.
fn refusal(error: &io::Error) -> String {
    match error.raw_os_error() {
        // The kernel asks for CAP_BPF alone since Linux 5.8 (kernel/bpf/syscall.c,
        // is_net_admin_prog_type), whatever kernel.unprivileged_bpf_disabled says.
        Some(libc::EPERM) => "eBPF needs CAP_BPF (setcap cap_bpf+ep FILE, AmbientCapabilities= in \
             systemd, --cap-add BPF in containers; before Linux 5.8 CAP_SYS_ADMIN)"
            .into(),
        Some(libc::ENOSYS) => "this kernel is without eBPF".into(),
        _ => format!("the kernel refuses eBPF: {error}"),
    }
}

/// The last line of the verifier's log that says something.
fn last_line(log: &[u8]) -> String {
    let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().rev().map(str::trim);
    // It ends with statistics.
    let telling = lines.find(|line| !line.is_empty() && !line.starts_with("processed "));
    telling.unwrap_or("no reason given").into()
}

/// The key of a flow, as [`program`] puts it together.
fn key(local: SocketAddr, remote: SocketAddr) -> [u8; KEY_BYTES] {
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let mut key = [0; KEY_BYTES];
    key[..16].copy_from_slice(&octets(remote));
    key[16..32].copy_from_slice(&octets(local));
    key[32..34].copy_from_slice(&remote.port().to_be_bytes());
    key[34..].copy_from_slice(&local.port().to_be_bytes());
    key
}
