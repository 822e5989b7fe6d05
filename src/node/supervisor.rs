//! What a service manager is told: a datagram to the socket it names (sd_notify(3)). Without one
//! nothing happens.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::telemetry::limited;

/// The way to the service manager, if there is one.
pub(super) struct Supervisor {
    to: Option<(UnixDatagram, SocketAddr)>,
}

impl Supervisor {
    /// The one that started this process, by `NOTIFY_SOCKET`: a path, or `@` and a name.
    pub fn of_process() -> Supervisor {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Supervisor { to: None } };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(&name),
        };
        let socket = address.and_then(|to| {
            let socket = UnixDatagram::unbound()?;
            // It must not hold up the server.
            socket.set_nonblocking(true)?;
            Ok((socket, to))
        });
        if let Err(error) = &socket {
            tracing::warn!("NOTIFY_SOCKET {name:?} can't be written to: {error}");
        }
        Supervisor { to: socket.ok() }
    }

    /// Tells it `state`, as in `READY=1`.
    pub fn tell(&self, state: &str) {
        let Some((socket, to)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), to) {
            limited!(WARN, "the service manager was not told {state:?}: {error}");
        }
    }

    /// Tells it that the server lives, for as long as `lives` says so, twice in the time after
    /// which it would be started anew (`WATCHDOG_USEC`, sd_watchdog_enabled(3)).
    pub async fn keep_telling(self, lives: impl Fn() -> bool) {
        let Some(limit) = watchdog_time() else { return };
        loop {
            if lives() {
                self.tell("WATCHDOG=1");
            }
            tokio::time::sleep(limit / 2).await;
        }
    }
}

/// After how long without a word this process would be ended.
fn watchdog_time() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let micros = number("WATCHDOG_USEC").filter(|micros| *micros > 0)?;
    // A child of the process that is watched has its environment.
    let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    meant.then(|| Duration::from_micros(micros))
}
