//! SIGUSR2: the server starts its program anew, as it was started itself, to be taken over by it.
//! An upgrade puts the new program in the old one's place first.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tokio::signal::unix::{Signal, SignalKind, signal};

const TAKEOVER: &str = "--takeover";

/// Listens for the signal.
pub(in crate::node) struct Renewal {
    signals: Signal,
    /// The program by its name at the start: later the kernel calls it deleted.
    program: PathBuf,
}

impl Renewal {
    /// Listens from here on.
    ///
    /// # Errors
    /// When the signal can't be listened to, or the program has no name.
    pub fn new() -> io::Result<Renewal> {
        let program = std::env::current_exe()?;
        Ok(Renewal { signals: signal(SignalKind::user_defined2())?, program })
    }

    /// Starts the program for every signal. Never ends.
    pub async fn whenever_asked(mut self) {
        loop {
            self.signals.recv().await;
            if let Err(error) = self.start() {
                let program = self.program.display();
                tracing::error!("SIGUSR2: {program} was not started: {error}; this server goes on");
            }
        }
    }

    fn start(&self) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(std::env::args_os().skip(1).filter(|argument| argument != TAKEOVER));
        // It is about this process, and the other one would not take it for itself.
        command.arg(TAKEOVER).env_remove("WATCHDOG_PID").stdin(Stdio::null());
        let mut child = command.spawn()?;
        tracing::info!("SIGUSR2: process {} is to take over", child.id());
        // It is our child until we end, and nobody else's to wait for.
        std::thread::Builder::new().name("renewal".into()).spawn(move || match child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::error!("process {} ended: {status}", child.id()),
            Err(error) => tracing::debug!("process {}: {error}", child.id()),
        })?;
        Ok(())
    }
}
