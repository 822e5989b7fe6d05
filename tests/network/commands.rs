//! The commands beside the server: `monoport ports`, `monoport check` and `monoport help`.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::support::namespace::{in_namespace, run};

fn monoport(options: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_monoport"))
        .args(options)
        .env_remove("MONOPORT_TOKEN")
        .output();
    output.expect("the binary runs")
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr]
        .iter()
        .map(|bytes| String::from_utf8_lossy(bytes))
        .collect()
}

const PLAN: [&str; 7] =
    ["ports", "--udp-port", "7882-7884", "--announce", "198.51.100.7", "--bind", "127.0.0.1"];

#[test]
fn ports_are_printed_as_text_and_json() {
    let output = monoport(&PLAN);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for port in 7882..=7884 {
        let line = text.lines().find(|line| line.starts_with(&format!("udp {port} media")));
        let line = line.unwrap_or_else(|| panic!("no {port}: {text}"));
        assert!(line.contains("on 127.0.0.1") && line.contains(&format!("198.51.100.7:{port}")));
    }
    assert!(text.contains("tcp 7880 http"), "{text}");
    let tcp = "tcp 7881 media, 1 socket on 127.0.0.1, reached at 198.51.100.7:7881";
    assert!(text.lines().any(|line| line == tcp), "{text}");
    assert_eq!(text.lines().count(), 5);

    let output = monoport(&[&PLAN[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let ports = json.as_array().expect("an array").iter().map(|one| one["port"].as_u64());
    assert_eq!(ports.collect::<Vec<_>>(), [7882, 7883, 7884, 7881, 7880].map(Some));

    let output = monoport(&["ports", "--udp-port", "0"]);
    assert!(!output.status.success() && said(&output).contains("--udp-port"));
}

#[test]
fn the_rules_are_taken_by_nft() {
    let name = "commands::the_rules_are_taken_by_nft";
    let table = [
        "ip link set lo up",
        "nft add table inet filter",
        "nft add chain inet filter input { type filter hook input priority 0 ; policy drop ; }",
    ];
    in_namespace(name, &table, || {
        let output = monoport(&[
            "ports",
            "--nft",
            "--udp-port",
            "7882,3478",
            "--announce",
            "192.0.2.1",
            "--http",
            "[::]:80",
            "--no-auth",
        ]);
        assert!(output.status.success(), "{}", said(&output));
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().expect("it is piped").write_all(&output.stdout).unwrap();
        assert!(nft.wait().unwrap().success(), "{}", said(&output));
        let list = Command::new("nft").args(["list", "chain", "inet", "filter", "input"]).output();
        let list = said(&list.unwrap());
        assert!(
            list.contains("udp dport { 3478, 7882 }") && list.contains("tcp dport { 80, 7881 }"),
            "{list}"
        );
    });
}

#[test]
fn a_check_has_a_line_per_respect_and_fails_when_something_does() {
    let options = ["check", "--udp-port", "0", "--shards", "2", "--http", "127.0.0.1:0"];
    let output = monoport(&options);
    let text = said(&output);
    for what in
        ["kernel", "GSO", "GRO", "io_uring", "eBPF", "buffers", "open files", "TCP port", "queues"]
    {
        let verdict = text.lines().find_map(|line| {
            let (verdict, rest) = line.split_once(' ')?;
            rest.trim_start().starts_with(what).then_some(verdict)
        });
        assert!(["ok", "warn", "fail"].map(Some).contains(&verdict), "{what}: {text}");
    }
    let failed = |text: &str| text.lines().any(|line| line.starts_with("fail"));
    assert_eq!(output.status.code(), Some(i32::from(failed(&text))), "{text}");

    // 64 descriptors are fewer than the shards take.
    let program = env!("CARGO_BIN_EXE_monoport");
    let script = format!("ulimit -n 64; exec {program} {}", options.join(" "));
    let output = Command::new("sh").args(["-c", &script]).output().expect("there is a shell");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = text.lines().find(|line| line.contains("open files")).unwrap_or_default();
    assert!(line.starts_with("fail") && text.contains("fix: ulimit -n 2048"), "{text}");
}

#[test]
fn the_command_against_tracking_is_one_that_works() {
    let name = "commands::the_command_against_tracking_is_one_that_works";
    let tracking = [
        "ip link set lo up",
        "nft add table inet t",
        "nft add chain inet t input { type filter hook input priority 0 ; }",
        "nft add rule inet t input ct state established accept",
    ];
    in_namespace(name, &tracking, || {
        let send = || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.send_to(b"?", "127.0.0.1:7882").expect("loopback takes it");
        };
        let conntrack = || {
            let options = ["check", "--shards", "1", "--announce", "127.0.0.1"];
            let text = said(&monoport(&options));
            let mut lines = text.lines().skip_while(|line| !line.contains("conntrack"));
            let found = lines.next().unwrap_or_default().to_owned();
            (found, lines.next().and_then(|line| line.split_once("fix: ")).map(|f| f.1.to_owned()))
        };
        send();
        let (found, fix) = conntrack();
        if found.starts_with("ok") {
            eprintln!("not tested: this kernel tracks nothing: {found}");
            return;
        }
        assert!(found.starts_with("warn") && found.contains("1 of them on UDP 7882"), "{found}");
        let fix = fix.expect("a warning has a command");
        let mended = Command::new("sh").args(["-c", &fix]).status();
        assert!(mended.expect("there is a shell").success(), "{fix}");
        send();
        let (found, _) = conntrack();
        assert!(found.contains("1 of them on UDP 7882"), "no new entry: {found}");
        assert!(run("nft list table inet monoport"));
    });
}

#[test]
fn help_lists_the_topics_shows_one_and_refuses_what_it_does_not_have() {
    let list = monoport(&["help"]);
    assert!(list.status.success() && said(&list).contains("\n  security "), "{}", said(&list));
    let page = monoport(&["help", "ports"]);
    assert!(page.status.success() && said(&page).contains("`monoport ports --help`"));
    let unknown = monoport(&["help", "port"]);
    assert!(!unknown.status.success() && said(&unknown).contains("`monoport help ports`"));
}
