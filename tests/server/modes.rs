//! The comparison of ports, as a reader of the README runs it, with as little load as there can be.

use std::process::Command;

use monoport::net::udp_ports_in_use;

/// Ten ports in a row that nobody has, and a range behind them.
fn free_ports() -> (String, String) {
    let taken = udp_ports_in_use().expect("/proc/net/udp");
    let mut starts = (16_000u16..23_000).step_by(100);
    let free = |start: &u16| taken.range(*start..start + 60).next().is_none();
    let start = starts.find(free).expect("nobody has all of them");
    (start.to_string(), format!("{}-{}", start + 10, start + 59))
}

#[test]
fn the_table_compares_one_port_ten_and_a_port_per_session() {
    let (first, range) = free_ports();
    let json = std::env::temp_dir().join(format!("monoport-modes-test-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["modes", "--server", env!("CARGO_BIN_EXE_monoport"), "--rounds", "1"])
        .args(["--first-port", &first, "--port-range", &range, "--shards", "2"])
        .args(["--json".as_ref(), json.as_os_str()])
        .args(["--", "--streams", "2", "--viewers", "3", "--duration", "500ms"])
        .args(["--threads", "1", "--audio"])
        .output()
        .expect("the load tool runs");
    let (table, said) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{said}");
    assert_eq!(table.lines().count(), 5, "a head and three rows:\n{table}");
    for part in ["one mux port", "ten mux ports", "a port per session", &range, "CPU per packet"] {
        assert!(table.contains(part), "{part}:\n{table}");
    }
    let text = std::fs::read_to_string(&json).expect("it wrote every run");
    let _ = std::fs::remove_file(&json);
    let compared: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let sockets = |mode: usize| compared[mode]["median"]["udp_sockets"].as_f64();
    // Two shards on one port and on ten; two publishers and six viewers.
    assert_eq!((sockets(0), sockets(1), sockets(2)), (Some(2.0), Some(20.0), Some(8.0)), "{text}");
    for mode in 0..3 {
        let median = &compared[mode]["median"];
        for number in ["cpu_ns_per_packet", "setup_ms_p50", "rss_bytes"] {
            assert!(median[number].as_f64() > Some(0.0), "{number}: {text}");
        }
        assert_eq!(median["loss_ratio"], 0.0, "{text}");
    }
}
