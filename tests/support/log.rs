//! What is logged in this process, for tests that have it to themselves ([`super::alone`]): another
//! test's lines would stand between, and a flood of them may keep one's own out.

use std::io;
use std::sync::{Arc, Mutex};

/// Everything logged since [`Log::listen`].
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Begins to listen.
    pub fn listen() -> Log {
        let log = Log::default();
        let writer = log.clone();
        let logging =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        logging.try_init().expect("the process is this test's own");
        log
    }

    pub fn lines_with(&self, words: &str) -> Vec<String> {
        let log = self.0.lock().expect("nobody panics with it");
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with it").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
