//! Hosts made of a few files, and what is said about them.

use std::fs;
use std::path::PathBuf;

use clap::Parser;

use super::*;
use crate::config::Args;

/// A directory with files, gone with the value.
struct Made(PathBuf);

impl Made {
    fn host(name: &str, files: &[(&str, &str)]) -> (Made, Host) {
        let root = std::env::temp_dir().join(format!("monoport-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (Made(root.clone()), Host::at(root))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config(options: &str) -> Config {
    let words = options.split(' ').filter(|word| !word.is_empty());
    let args = Args::try_parse_from(["monoport"].into_iter().chain(words)).unwrap();
    Config::new(args, &[0, 1, 2, 3]).unwrap()
}

fn judged(finding: &Finding) -> (Verdict, &str) {
    (finding.verdict, finding.fix.as_deref().unwrap_or_default())
}

#[test]
fn old_kernels_are_told_from_new_ones() {
    for (release, verdict) in [
        ("6.18.44-x", Verdict::Ok),
        ("10.0", Verdict::Ok),
        ("5.15.0-91-generic", Verdict::Warn),
        ("5.10.0", Verdict::Fail),
        ("4.19", Verdict::Fail),
        ("?", Verdict::Fail),
    ] {
        let (_made, host) = Made::host("kernel", &[("proc/sys/kernel/osrelease", release)]);
        assert_eq!(files::kernel(&host).verdict, verdict, "{release}");
    }
}

#[test]
fn too_few_descriptors_are_a_failure_and_few_are_a_warning() {
    let config = config("--udp-port 1-10 --shards 4");
    for (limit, verdict, fix) in [
        ("unlimited", Verdict::Ok, ""),
        ("65536", Verdict::Ok, ""),
        ("1024", Verdict::Warn, "ulimit -n 2048  # LimitNOFILE= in systemd"),
        ("64", Verdict::Fail, "ulimit -n 2048  # LimitNOFILE= in systemd"),
    ] {
        let line = format!("Max processes  1  1  processes\nMax open files  {limit}  9  files");
        let (_made, host) = Made::host("files", &[("proc/self/limits", &line)]);
        assert_eq!(judged(&files::open_files(&config, &host)), (verdict, fix));
    }
}

#[test]
fn a_slow_clock_is_named_with_the_better_one() {
    let folder = "sys/devices/system/clocksource/clocksource0";
    let (current, available) =
        (format!("{folder}/current_clocksource"), format!("{folder}/available_clocksource"));
    let (_made, host) = Made::host("tsc", &[(&current, "tsc\n")]);
    assert_eq!(judged(&files::clock(&host)), (Verdict::Ok, ""));
    let (_made, host) = Made::host("hpet", &[(&current, "hpet\n"), (&available, "hpet tsc \n")]);
    let fix = "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource";
    assert_eq!(judged(&files::clock(&host)), (Verdict::Warn, fix));
    let (_made, host) = Made::host("pm", &[(&current, "acpi_pm"), (&available, "acpi_pm")]);
    assert!(files::clock(&host).fix.is_some_and(|fix| fix.contains("clocksource=tsc")));
}

#[test]
fn tracked_media_is_counted_and_a_full_table_is_a_failure() {
    let (count, most) =
        ("proc/sys/net/netfilter/nf_conntrack_count", "proc/sys/net/netfilter/nf_conntrack_max");
    let table = "ipv4 2 udp 17 29 src=192.0.2.9 dst=192.0.2.1 sport=5 dport=7882 [UNREPLIED]\n\
                 ipv4 2 udp 17 29 src=192.0.2.9 dst=192.0.2.1 sport=7882 dport=78820 mark=0\n\
                 ipv4 2 tcp 6 29 src=192.0.2.9 dst=192.0.2.1 sport=5 dport=7882 mark=0";
    let config = config("--max-sessions 1000");
    let (_made, host) = Made::host("untracked", &[(count, "0"), (most, "9")]);
    assert_eq!(judged(&files::conntrack(&config, &host)), (Verdict::Ok, ""));
    let (_made, host) =
        Made::host("tracked", &[(count, "3"), (most, "262144"), ("proc/net/nf_conntrack", table)]);
    let finding = files::conntrack(&config, &host);
    assert_eq!(finding.verdict, Verdict::Warn);
    assert_eq!(finding.found, "3 of 262144 entries, 1 of them on UDP 7882");
    let fix = finding.fix.unwrap();
    assert!(fix.contains("udp dport { 7882 } notrack"), "{fix}");
    let (_made, host) = Made::host("full", &[(count, "100"), (most, "1099")]);
    assert_eq!(files::conntrack(&config, &host).verdict, Verdict::Fail);
}

#[test]
fn queues_are_counted_against_the_cores_of_the_shards() {
    let card = |queues: usize, rps: &str| {
        let mut files = vec![
            ("sys/class/net/c0/device/vendor".to_owned(), "1".to_owned()),
            ("sys/class/net/c0/operstate".to_owned(), "up\n".to_owned()),
            ("sys/class/net/c1/device/vendor".to_owned(), "1".to_owned()),
            ("sys/class/net/c1/operstate".to_owned(), "down\n".to_owned()),
            ("sys/class/net/veth0/operstate".to_owned(), "up\n".to_owned()),
            ("sys/class/net/c0/queues/tx-0/x".to_owned(), String::new()),
        ];
        for queue in 0..queues {
            files.push((format!("sys/class/net/c0/queues/rx-{queue}/rps_cpus"), rps.to_owned()));
        }
        files
    };
    let config = config("--cores 0,2,3");
    for (queues, rps, verdict, fix) in [
        (1, "0", Verdict::Warn, "echo d > /sys/class/net/c0/queues/rx-0/rps_cpus"),
        (1, "00,0000000d", Verdict::Ok, ""),
        (3, "0", Verdict::Ok, ""),
        (0, "", Verdict::Warn, "ethtool -L c0 combined 3"),
    ] {
        let files = card(queues, rps);
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (&**path, &**text)).collect();
        let (_made, host) = Made::host("cards", &files);
        let findings = network::cards(&config, &host);
        // The card that is down and the one without hardware are not judged.
        assert_eq!(findings.len(), 1 + usize::from(queues > 1), "{findings:?}");
        let (found, mended) = judged(&findings[0]);
        assert!(found == verdict && mended.contains(fix), "{queues}: {findings:?}");
    }
    let (_made, host) = Made::host("no-cards", &[("sys/class/net/lo/operstate", "unknown")]);
    assert_eq!(network::cards(&config, &host)[0].verdict, Verdict::Ok);
}

#[test]
fn a_port_that_is_taken_is_named_with_its_holder() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let finding = ports::free_ports(&config(&format!("--udp-port {port}")));
    assert_eq!(finding.verdict, Verdict::Warn);
    assert!(finding.fix.unwrap().starts_with(&format!("kill {}", std::process::id())));
    let chosen_later = ports::free_ports(&config("--udp-port 0"));
    assert_eq!(judged(&chosen_later), (Verdict::Ok, ""));
}

#[test]
fn http_has_a_line_and_a_server_that_runs_is_not_to_be_killed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let finding = ports::http(&config(&format!("--http {address}")));
    assert_eq!(finding.verdict, Verdict::Warn, "{finding:?}");
    assert!(finding.fix.unwrap().starts_with(&format!("kill {}", std::process::id())));
    drop(listener);
    let free = ports::http(&config(&format!("--http {address}")));
    assert!(free.verdict == Verdict::Ok && free.found.contains("this machine alone"), "{free:?}");
    let both = ports::http(&config("--http 127.0.0.1:4321 --tcp-port 4321"));
    assert_eq!(both.verdict, Verdict::Fail, "{both:?}");
}

#[test]
fn what_may_not_be_bound_is_named_with_one_command_for_all_capabilities() {
    use std::io::{Error, ErrorKind};
    let low = |_: ports::Protocol, address: std::net::SocketAddr| match address.port() {
        0..1024 => Err(Error::from(ErrorKind::PermissionDenied)),
        _ => Ok(()),
    };
    let options = config("--udp-port 443,7882 --tcp-port 443 --http 127.0.0.1:80 --cores 0,1");
    let finding = ports::judge_permission(&options, low);
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(finding.found, "may not bind UDP 443, TCP 443, TCP 80");
    let all = "setcap cap_bpf,cap_net_bind_service+ep \"$(command -v monoport)\"";
    assert_eq!(finding.fix.as_deref(), Some(all));
    assert_eq!(ports::judge_permission(&config(""), low).verdict, Verdict::Ok);
    let in_use = |_: ports::Protocol, _| Err(Error::from(ErrorKind::AddrInUse));
    assert_eq!(ports::judge_permission(&options, in_use).verdict, Verdict::Ok, "another line's");
    // An address for documentation (RFC 5737) is nobody's.
    let foreign = ports::permission(&config("--bind 192.0.2.77"));
    assert_eq!(foreign.verdict, Verdict::Fail, "{foreign:?}");
    assert!(foreign.found.contains("192.0.2.77 is no address of this host"), "{foreign:?}");
}

#[test]
fn buffers_are_judged_by_what_a_socket_is_given() {
    let host = Host::at("/");
    let small = config("--receive-buffer 4608 --send-buffer 4608");
    assert_eq!(attempts::buffers(&small, &host).verdict, Verdict::Ok);
    // Half of INT_MAX is the most there is, privileged or not.
    let huge = config("--receive-buffer 2147483647");
    let finding = attempts::buffers(&huge, &host);
    assert_eq!(finding.verdict, Verdict::Warn, "{finding:?}");
    assert!(finding.fix.unwrap().starts_with("sysctl -w net.core.rmem_max=2147483647"));
}

#[test]
fn every_finding_has_a_line_and_every_fault_a_command() {
    let findings = check(&config("--steering hash"), &Host::at("/"));
    assert!(findings.len() >= 11, "{findings:?}");
    let text = describe(&findings);
    for finding in &findings {
        assert_eq!(finding.fix.is_some(), finding.verdict != Verdict::Ok, "{finding:?}");
        assert!(text.contains(&finding.found) && !finding.found.is_empty(), "{finding:?}");
    }
    assert_eq!(text.matches("fix: ").count(), findings.iter().filter(|f| f.fix.is_some()).count());
    let faults =
        [Finding::ok("a", "b"), Finding::fail("a", "b", "c"), Finding::warn("a", "b", "c")];
    assert_eq!(worst(&faults), Verdict::Fail);
    assert_eq!(describe(&faults[1..2]), "fail  a              b\n                     fix: c\n");
}

#[test]
fn of_a_range_it_is_said_how_many_ports_are_to_be_had() {
    let held = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let port = held.local_addr().unwrap().port();
    let of = |range: String, sessions: &str| {
        ports::free_ports(&config(&format!("--port-range {range} --max-sessions {sessions}")))
    };
    let taken = of(format!("{port}-{port}"), "1");
    assert_eq!(taken.verdict, Verdict::Fail, "{taken:?}");
    assert!(taken.found.contains("1 in use by others"), "{taken:?}");
    let few = of("1-9".into(), "10");
    let (verdict, fix) = judged(&few);
    assert_eq!(verdict, Verdict::Warn, "{few:?}");
    assert!(fix.contains("--port-range") && fix.contains("--max-sessions"), "{fix}");
    assert_eq!(attempts::steering(&config("--port-range 1-9")).verdict, Verdict::Ok);
    let files =
        [("proc/self/limits", "Max open files            4096                 4096   files")];
    let (_made, host) = Made::host("range", &files);
    let many = config("--port-range 10000-20000");
    assert_eq!(files::open_files(&many, &host).verdict, Verdict::Fail, "a socket each");
}
