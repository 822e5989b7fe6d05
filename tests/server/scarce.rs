//! A server that is given next to nothing serves all the same.

use std::process::{Command, Stdio};

use crate::ready::Process;

#[test]
fn with_34_descriptors_and_300_megabytes_of_addresses_viewers_are_served() {
    let mut shell = Command::new("sh");
    let script = "ulimit -n 34; ulimit -v 300000; exec \"$0\" \"$@\"";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_monoport")]);
    let server = Process::spawn(shell, &["--shards", "1"]);
    let file = std::env::temp_dir().join(format!("monoport-scarce-{}.json", std::process::id()));
    let load = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["run", "--url", &server.url(""), "--viewers", "5", "--audio", "--threads", "1"])
        .args(["--duration", "2s", "--max-p99-ms", "60000"])
        .args(["--json".as_ref(), file.as_os_str()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the load generator runs");
    assert!(load.success(), "{load}");
    let text = std::fs::read_to_string(&file).expect("it wrote its report");
    std::fs::remove_file(&file).expect("it is there");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let number = |key: &str| report[key].as_u64().expect(key);
    assert_eq!((&report["failures"], number("sessions_lost")), (&serde_json::json!({}), 0));
    let lost = number("packets_expected") - number("packets_received");
    assert!(lost <= number("client_receive_overflows"), "{report:#}");
}
