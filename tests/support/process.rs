//! The server as a process of its own, with what it logs.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{PATIENCE, eventually};

/// A server on ports the kernel chose; killed when dropped.
pub struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    /// Where its HTTP is, as in `http://127.0.0.1:7880`.
    pub url: String,
}

impl Process {
    /// Starts one with `options` besides its addresses, and waits until it is ready.
    pub fn start(options: &[&str]) -> Process {
        Process::start_with(options, &[])
    }

    /// The same, with these variables in its environment.
    pub fn start_with(options: &[&str], environment: &[(&str, &str)]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_monoport"))
            .args(["--bind", "127.0.0.1", "--udp-port", "0", "--http", "127.0.0.1:0"])
            .args(["--no-tcp"])
            .args(options)
            .env_remove("MONOPORT_TOKEN")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let log = child.stderr.take().expect("its log is piped");
        let said = Arc::new(Mutex::new(String::new()));
        let kept = said.clone();
        let reader = std::thread::spawn(move || read_all(log, &kept));
        let mut url = None;
        for line in BufReader::new(child.stdout.take().expect("its output is piped")).lines() {
            let line = line.expect("its banner is text");
            if let Some(page) = line.trim().strip_prefix("page") {
                url = Some(page.trim().trim_end_matches('/').to_owned());
            }
            if line.starts_with("ready") {
                break;
            }
        }
        Process {
            child,
            log: said,
            reader: Some(reader),
            url: url.expect("the banner names the page"),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, by its option for kill(1).
    pub fn signal(&self, option: &str) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args([option, &id]).status().expect("kill(1) runs");
        assert!(kill.success());
    }

    /// Ends it as a service manager would, and returns all it has logged.
    pub fn stop(mut self) -> String {
        self.signal("-TERM");
        eventually(&format!("the server ends within {PATIENCE:?}"), || {
            self.child.try_wait().expect("it is our child").is_some()
        });
        self.reader.take().expect("stopped once").join().expect("the log is text");
        self.log()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that is gone already was stopped, or has failed the test in another way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(log: ChildStderr, kept: &Mutex<String>) {
    for line in BufReader::new(log).lines() {
        let line = line.expect("the log is text");
        let mut kept = kept.lock().expect("nobody panics with it");
        kept.push_str(&line);
        kept.push('\n');
    }
}
