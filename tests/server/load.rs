//! The load generator against the server, both as a user runs them: a few viewers for a few
//! seconds, every packet opened, none lost.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A server on ports the kernel chose.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(shards: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_monoport"))
            .args(["--no-auth", "--bind", "127.0.0.1", "--udp-port", "0", "--no-tcp"])
            .args(["--http", "127.0.0.1:0", "--shards", shards])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stdout = child.stdout.take().expect("its output is piped");
        let mut url = None;
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("its banner is text");
            if let Some(page) = line.trim().strip_prefix("page") {
                url = Some(page.trim().to_owned());
            }
            if line.starts_with("ready") {
                break;
            }
        }
        Self { child, url: url.expect("the banner names the page") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that is gone already has failed the test in another way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the load generator and returns its exit status and its report.
fn load(server: &Server, name: &str, arguments: &[&str]) -> (ExitStatus, serde_json::Value) {
    let json = std::env::temp_dir().join(format!("monoport-load-{name}-{}", std::process::id()));
    let status = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["run", "--url", &server.url, "--ramp", "100", "--threads", "1"])
        .args(["--server-pid", &server.child.id().to_string()])
        .args(["--json".as_ref(), json.as_os_str()])
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .expect("the load generator starts");
    let text = std::fs::read_to_string(&json).expect("it wrote its report");
    let _ = std::fs::remove_file(&json);
    (status, serde_json::from_str(&text).expect("the report is JSON"))
}

/// Latency is not a matter of this test: a busy machine is late, but loses nothing.
const PATIENT: [&str; 2] = ["--max-p99-ms", "60000"];

#[test]
fn ten_viewers_lose_nothing() {
    let server = Server::start("2");
    let run = ["--streams", "2", "--viewers", "5", "--duration", "2s", "--audio"];
    let (status, report) = load(&server, "ten", &[&run[..], &PATIENT[..]].concat());
    assert!(status.success(), "{report:#}");
    assert_eq!(report["sessions_connected"], 12, "{report:#}");
    assert_eq!(report["viewers_with_video"], 10, "{report:#}");
    assert_eq!(report["packets_received"], report["packets_expected"], "{report:#}");
    assert_eq!(report["loss_ratio"], 0.0, "{report:#}");
    // 2 s of 30 frames in 8 packets and 50 packets of audio, ten times.
    assert!(report["packets_received"].as_u64() > Some(5_000), "{report:#}");
    for flaw in ["duplicates", "unauthentic", "unstamped", "unknown", "stamps_disagreeing"] {
        assert_eq!(report[flaw], 0, "{flaw}: {report:#}");
    }
    for key in ["setup_ms", "egress_pps", "client_cpu_s", "server_cpu_s"] {
        assert!(report[key].as_f64().is_some_and(|number| number >= 0.0), "{key}: {report:#}");
    }
    assert!(report["server_cpu_ns_per_egress_packet"].is_number(), "{report:#}");
    assert!(report["latency_us"]["p999"].as_u64() > Some(0), "{report:#}");
}

/// Offers, payloads and key frames of each are what the server forwards, and it reports by
/// transport-wide numbers on what it gets.
#[test]
fn every_codec_is_published_and_watched() {
    let server = Server::start("1");
    for codec in ["vp8", "h264", "vp9", "av1", "opus-only"] {
        let run = ["--codec", codec, "--viewers", "2", "--audio", "--duration", "1s"];
        let run = [&run[..], &PATIENT[..], &["--prefix", codec]].concat();
        let (status, report) = load(&server, codec, &run);
        assert!(status.success(), "{codec}: {report:#}");
        assert_eq!(report["packets_received"], report["packets_expected"], "{codec}: {report:#}");
        let video = if codec == "opus-only" { 0 } else { 2 };
        assert_eq!(report["viewers_with_video"], video, "{codec}: {report:#}");
        assert_eq!(report["key_frames"].as_u64() > Some(0), video > 0, "{codec}: {report:#}");
        for flaw in ["unstamped", "media_counted_by_sequence", "renumbered", "unknown"] {
            assert_eq!(report[flaw], 0, "{codec}: {flaw}: {report:#}");
        }
        assert!(report["publisher_transport_feedback"].as_u64() > Some(0), "{codec}: {report:#}");
    }
}

/// Opening one packet in 16 counts the same packets, none of which goes without a send time.
#[test]
fn a_sample_counts_as_well() {
    let server = Server::start("1");
    let run = ["--viewers", "3", "--duration", "1s", "--authenticate", "1/16"];
    let (status, report) = load(&server, "sample", &[&run[..], &PATIENT[..]].concat());
    assert!(status.success(), "{report:#}");
    assert_eq!(report["packets_received"], report["packets_expected"], "{report:#}");
    assert_eq!(report["renumbered"], 0, "{report:#}");
}

#[test]
fn a_missed_threshold_is_the_exit_code() {
    let server = Server::start("1");
    let run = ["--viewers", "1", "--duration", "500ms", "--max-p99-ms", "0"];
    let (status, report) = load(&server, "missed", &run);
    assert_eq!(status.code(), Some(1), "{report:#}");
    assert_eq!(report["loss_ratio"], 0.0, "{report:#}");
}

/// What is lost on the way is seen as lost, and mended when viewers ask for it.
#[test]
fn loss_is_seen_and_mended() {
    let server = Server::start("1");
    let run = ["--viewers", "5", "--duration", "2s", "--drop", "0.02"];
    let run = [&run[..], &PATIENT[..]].concat();
    let (status, seen) = load(&server, "seen", &run);
    assert_eq!(status.code(), Some(1), "{seen:#}");
    let (status, mended) = load(&server, "mended", &[&run[..], &["--nack"][..]].concat());
    assert!(mended["repairs"].as_u64() > Some(0), "{mended:#}");
    for report in [&seen, &mended] {
        assert!(report["dropped_on_purpose"].as_u64() > Some(20), "{report:#}");
        assert_eq!(report["publisher_nacks"], report["publisher_resent"], "{report:#}");
    }
    let lost = |report: &serde_json::Value| report["loss_ratio"].as_f64().unwrap_or(1.0);
    assert!((0.01..0.04).contains(&lost(&seen)), "{seen:#}");
    assert!(lost(&mended) < lost(&seen) / 2.0, "{status}: {mended:#}");
}

/// The page holds what the JSON says, needs nothing from elsewhere, and is well-formed.
#[test]
fn the_page_says_what_the_json_says_and_stands_alone() {
    let server = Server::start("1");
    let page = std::env::temp_dir().join(format!("monoport-load-{}.html", std::process::id()));
    let html = page.to_str().expect("a temporary folder's name is text");
    let run = ["--viewers", "2", "--duration", "3s", "--max-loss", "0.5", "--html", html];
    let (status, report) = load(&server, "page", &[&run[..], &PATIENT[..]].concat());
    let text = std::fs::read_to_string(&page).expect("it wrote its page");
    let _ = std::fs::remove_file(&page);
    assert!(status.success(), "{report:#}");

    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let parsed = roxmltree::Document::parse_with_options(&text, options).expect("well-formed");
    let all = |name: &'static str| parsed.descendants().filter(move |n| n.has_tag_name(name));
    let json = all("pre").find(|node| node.attribute("id") == Some("json"));
    let json = json.and_then(|node| node.text()).expect("the page has the figures");
    let shown: serde_json::Value = serde_json::from_str(json).expect("they are JSON");
    assert_eq!(shown, report);

    assert!(text.contains("passed: every threshold was kept"), "{text}");
    let cells: Vec<&str> = all("td").filter_map(|node| node.text()).collect();
    for key in ["sessions_connected", "packets_received", "loss_ratio"] {
        let wanted = Some(report[key].as_f64().expect("a number"));
        assert!(cells.iter().any(|cell| cell.parse().ok() == wanted), "{key}: {cells:?}");
    }
    // Every chart was drawn, from more than one point.
    let lines: Vec<_> = all("polyline").filter_map(|line| line.attribute("points")).collect();
    assert_eq!((all("svg").count(), all("figure").count()), (8, 8), "{text}");
    // Without --server-pid the server's line would be missing; `load` passes it.
    assert_eq!(lines.len(), 10, "{text}");
    assert!(lines.iter().all(|points| points.split(' ').count() > 1), "{lines:?}");

    for outside in ["<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import"] {
        assert!(!text.contains(outside), "{outside}");
    }
    // Addresses stand there as text, never to be fetched: once in the title, once in the heading.
    assert_eq!(text.matches("http").count(), 2, "{text}");
    assert!(text.contains("prefers-color-scheme: dark") && text.contains("@media print"));
}

#[test]
fn the_run_is_drawn_or_told_in_lines() {
    let server = Server::start("1");
    let progress = |option: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
            .args(["run", "--url", &server.url, "--duration", "2500ms", option])
            .args(["--threads", "1", "--max-p99-ms", "60000"])
            .output()
            .expect("the load generator starts");
        String::from_utf8(output.stderr).expect("it is text")
    };
    let drawn = progress("--live");
    // Each picture but the first goes up over the one before.
    assert!(drawn.contains("\x1b[12A") && drawn.contains("1 publishers, 1 viewers"), "{drawn}");
    let told = progress("--live=auto");
    assert!(!told.contains('\x1b') && told.contains("measure: 1 publishers, 1 viewers"), "{told}");
}

/// Nothing to measure: no ten seconds of zeros, but the reason.
#[test]
fn a_run_without_a_session_ends_at_once_and_says_why() {
    let nobody = format!("http://{}", crate::support::free_port());
    let server = Server::start("1");
    let unknown = format!("{}nowhere/{{name}}", server.url);
    for (url, streams, words) in [
        (&["--url", &nobody][..], "1", "1 × "),
        (&["--url", &nobody], "100", "Connection refused"),
        (&["--whip-url", &unknown, "--whep-url", &unknown], "2", "2 × status 404"),
    ] {
        let started = std::time::Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
            .args(["run", "--streams", streams, "--viewers", "3"])
            .args(url)
            .output()
            .expect("the load generator starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("no session could be set up: ") && told.contains(words), "{told}");
        // A second on an idle machine, of which half is the program's start here.
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{told}");
    }
}

/// Offers are taken, and UDP leads nowhere.
#[test]
fn a_server_that_no_datagram_reaches_is_given_up_after_three_seconds() {
    let nowhere = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = nowhere.local_addr().expect("it is bound").port();
    let fingerprint = ["AB"; 32].join(":");
    let answer = format!(
        "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:abcd\r\na=ice-pwd:secretsecret\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:passive\r\na=rtpmap:96 VP8/90000\r\n\
         a=candidate:1 1 udp 1 127.0.0.1 {port} typ host\r\n"
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("one comes"));
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                let head = std::mem::take(&mut line).to_lowercase();
                let value = head.strip_prefix("content-length:").map(str::trim);
                length = value.and_then(|value| value.parse().ok()).unwrap_or(length);
            }
            stream.read_exact(&mut vec![0; length]).expect("the offer comes whole");
            let head = "HTTP/1.1 201 x\r\nLocation: /s\r\nConnection: close";
            let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            stream.get_mut().write_all(text.as_bytes()).expect("it listens");
        }
    });
    let started = std::time::Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["run", "--url", &url])
        .output()
        .expect("the load generator starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("in 3 s none was connected: is UDP let through?"), "{told}");
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{told}");
}

#[test]
fn urls_and_tokens_of_any_server_lead_to_its_streams() {
    let server = Server::start("1");
    let (whip, whep) =
        (format!("{}whip/{{name}}", server.url), format!("{}whep/{{name}}", server.url));
    let json = std::env::temp_dir().join(format!("monoport-load-any-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["run", "--whip-url", &whip, "--whep-url", &whep, "--token", "for-{name}"])
        .args(["--streams", "2", "--duration", "500ms", "--threads", "1"])
        .args(["--json".as_ref(), json.as_os_str()])
        .args(PATIENT)
        .output()
        .expect("the load generator starts");
    let _ = std::fs::remove_file(&json);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// That a wait ends between two milliseconds is shown where waits are: here a busy machine would
/// make both late.
#[test]
fn spread_and_in_bursts_nothing_is_lost_and_the_report_says_how_late_frames_left() {
    let server = Server::start("1");
    for arrivals in ["spread", "burst"] {
        let run = ["--streams", "20", "--video-kbps", "100", "--audio", "--duration", "2s"];
        let run = [&run[..], &PATIENT[..], &["--arrivals", arrivals]].concat();
        let (status, report) = load(&server, arrivals, &run);
        assert!(status.success(), "{report:#}");
        assert_eq!(report["packets_received"], report["packets_expected"], "{report:#}");
        // 2 s of 20 times 30 frames of video and 50 of audio, some left out by a busy machine.
        assert!(report["publisher_frames"].as_u64() > Some(1_000), "{report:#}");
        assert!(report["publisher_lateness_us"]["p50"].as_u64() > Some(0), "{report:#}");
    }
}

/// Sessions that come and go, vanish, move, take over names and lose packets, and ports that open
/// and close: one round of it, and nothing is left behind.
#[test]
fn a_soak_leaves_no_trace_and_the_untouched_lose_nothing() {
    let server = Server::start("2");
    let output = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
        .args(["soak", "--url", &server.url, "--minutes", "1", "--streams", "2", "--viewers", "5"])
        .args(["--server-pid", &server.child.id().to_string(), "--max-p99-ms", "60000"])
        .output()
        .expect("the load generator starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect(&told);
    assert!(output.status.success(), "{told}\n{found:#}");
    assert!(found["rounds"].as_u64() >= Some(1), "{found:#}");
    assert!(found["untouched"]["packets_received"].as_u64() > Some(10_000), "{found:#}");
    assert_eq!(found["before"]["tables"]["sessions"], 12, "{found:#}");
    let all = found["disturbances"].as_array().expect("a list");
    assert_eq!(all.len(), 6, "{found:#}");
    for one in all {
        assert_eq!(one["done"], one["tried"], "{found:#}");
    }
}

/// A long run is not lost for a folder that is not there: nobody is asked at this address.
#[test]
fn a_report_that_cannot_be_written_is_told_before_the_run() {
    for flag in ["--json", "--html"] {
        let output = Command::new(env!("CARGO_BIN_EXE_monoport-load"))
            .args(["run", "--url", "http://127.0.0.1:9", flag, "/nope/report"])
            .output()
            .expect("the load generator starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let told = format!("monoport-load: {flag} /nope/report: No such file");
        assert!(said.starts_with(&told), "{said}");
    }
}
