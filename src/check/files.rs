//! What is read from `/proc` and `/sys`.

use std::fs;
use std::path::PathBuf;

use super::Finding;
use crate::config::Config;

/// The files of a host, below a root directory.
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The files below `root`: `/` for this host.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Host {
        Host { root: root.into() }
    }

    /// What stands in a file, trimmed.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    /// The number a file consists of.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Names in a directory, sorted; none when it can't be read.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// The kernel: 5.11 is the least the shards' runtime waits with, 6.0 has all that is used.
pub(super) fn kernel(host: &Host) -> Finding {
    let what = "kernel";
    let Some(release) = host.text("proc/sys/kernel/osrelease") else {
        return Finding::warn(what, "its release can't be read", "mount -t proc proc /proc");
    };
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let mut part = || parts.next().and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
    let version = (part(), part());
    let fix = "upgrade to Linux 6.0 or newer (Debian 12: apt install linux-image-amd64)";
    match version {
        (6.., _) => Finding::ok(what, release),
        (5, 11..) => Finding::warn(what, format!("{release}: no multishot receive"), fix),
        _ => Finding::fail(what, format!("{release} is too old"), fix),
    }
}

/// Descriptors: sockets, rings and wake-ups of each shard, and what HTTP has open.
pub(super) fn open_files(config: &Config, host: &Host) -> Finding {
    // A socket and a ring per mux port, a socket per session with a range; runtime, mailbox and the
    // like take fewer than eight.
    let own = config.udp.range.map_or(0, |range| range.count().min(config.max_sessions));
    let shards = config.shards() * (2 * config.udp.possible_mux().len() + 8) + own;
    // Requests under way at once, and the files of the process itself.
    const HTTP: usize = 1_024;
    let needed = shards + HTTP;
    let what = "open files";
    let limits = host.text("proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    let fix = format!("ulimit -n {}  # LimitNOFILE= in systemd", needed.next_power_of_two());
    match soft {
        Some("unlimited") => Finding::ok(what, "unlimited"),
        Some(soft) => match soft.parse::<usize>() {
            Ok(soft) if soft >= needed => Finding::ok(what, format!("{soft}, {needed} needed")),
            Ok(soft) if soft > shards + 64 => {
                let found = format!("{soft}; {needed} needed when many join at once");
                Finding::warn(what, found, fix)
            }
            _ => Finding::fail(what, format!("{soft}, {needed} needed"), fix),
        },
        None => Finding::warn(what, "the limit can't be read", fix),
    }
}

/// The clock: a shard asks for the time every turn, which is a system call with some sources.
pub(super) fn clock(host: &Host) -> Finding {
    // Those the vDSO reads (arch/*/include/asm/vdso/clocksource.h).
    const FAST: &[&str] = &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];
    let what = "clock source";
    let folder = "sys/devices/system/clocksource/clocksource0";
    let Some(current) = host.text(&format!("{folder}/current_clocksource")) else {
        return Finding::warn(what, "can't be read", "mount -t sysfs sysfs /sys");
    };
    if FAST.contains(&&*current) {
        return Finding::ok(what, current);
    }
    let available = host.text(&format!("{folder}/available_clocksource")).unwrap_or_default();
    let better = available.split_whitespace().find(|name| FAST.contains(name)).unwrap_or("tsc");
    let fix = match available.contains(better) {
        true => format!("echo {better} > /{folder}/current_clocksource"),
        false => "boot with clocksource=tsc tsc=reliable, if the machine's TSC is".into(),
    };
    Finding::warn(what, format!("{current}: asking for the time is a system call"), fix)
}

/// Connection tracking: an entry per client and a lookup per datagram, for nothing.
pub(super) fn conntrack(config: &Config, host: &Host) -> Finding {
    let what = "conntrack";
    let tracked = host.number("proc/sys/net/netfilter/nf_conntrack_count");
    let Some(tracked) = tracked.filter(|count| *count > 0) else {
        return Finding::ok(what, "nothing is tracked");
    };
    let table = host.text("proc/net/nf_conntrack").unwrap_or_default();
    let mux = config.udp.possible_mux();
    let is_ours = |port: u16| match config.udp.range {
        Some(range) => (range.first..=range.last).contains(&port),
        None => mux.contains(&port),
    };
    let ours = |line: &&str| {
        let mut ports = line.split(' ').filter_map(|word| word.strip_prefix("dport="));
        line.contains(" udp ") && ports.any(|port| port.parse().is_ok_and(is_ours))
    };
    let entries = table.lines().filter(ours).count();
    let most = host.number("proc/sys/net/netfilter/nf_conntrack_max").unwrap_or(u64::MAX);
    let ports = config.udp.describe();
    let fix = untracked(&ports);
    let found = format!("{tracked} of {most} entries, {entries} of them on UDP {ports}");
    match usize::try_from(most.saturating_sub(tracked)) {
        Ok(room) if room < config.max_sessions => {
            let found = format!("{found}: no room for {} sessions", config.max_sessions);
            Finding::fail(what, found, fix)
        }
        _ if entries > 0 => Finding::warn(what, found, fix),
        _ => Finding::warn(what, format!("{found}; clients would be tracked too"), fix),
    }
}

/// The command that keeps UDP `ports` out of connection tracking. Both directions in both chains,
/// because a client on this very host passes each with each.
fn untracked(ports: &str) -> String {
    let chain = |name: &str, hook: &str| {
        let rule = |side| format!("add rule inet monoport {name} udp {side} {{ {ports} }} notrack");
        format!(
            "add chain inet monoport {name} {{ type filter hook {hook} priority raw; }}; {}; {}",
            rule("dport"),
            rule("sport")
        )
    };
    let (arriving, leaving) = (chain("arriving", "prerouting"), chain("leaving", "output"));
    format!("nft 'add table inet monoport; {arriving}; {leaving}'")
}
