//! From the first signal to the end: no new sessions, time for those there are, then the stop.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Node;
use super::supervisor::Supervisor;
use super::takeover::{Given, Renewal, Standing};
use crate::control::Control;
use crate::hooks::Webhooks;
use crate::limits::{DRAIN_PUBLISHERS, DRAIN_SPREAD};
use crate::telemetry::flush_log;

/// How often it is looked whether the last session has gone.
const LOOK: Duration = Duration::from_millis(100);

/// How long it takes at most until control has heard of what shards have reported.
const REPORTS_WAIT: Duration = Duration::from_millis(500);

/// Signals that come within this time of the first are the same one.
const ONE_SIGNAL: Duration = Duration::from_millis(50);

/// SIGINT and SIGTERM, both listened to from the start, so that none between two waits is lost.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        self.any().await;
        // What comes with it is the same: timeout(1) signals the process, and then its group.
        let deadline = tokio::time::Instant::now() + ONE_SIGNAL;
        while tokio::time::timeout_at(deadline, self.any()).await.is_ok() {}
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Lets webhooks tell of the sessions that the end of the shards has ended.
pub(super) async fn tell_the_end(control: &Control, webhooks: &Webhooks) {
    // Control hears of them by and by, or does not where a shard has failed.
    let deadline = Instant::now() + REPORTS_WAIT;
    while control.counts().0 > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    webhooks.finish().await;
}

/// Sessions are being ended, which takes no time. A signal that comes now comes from somebody who
/// sees that it does.
async fn end_at(mut signals: Signals) {
    signals.next().await;
    tracing::warn!("one more signal: the server ends, though its sessions were not told");
    flush_log();
    std::process::exit(1);
}

/// How much longer than viewers publishers have where a node drains for so long.
fn publishers_for(timeout: Duration) -> Duration {
    DRAIN_PUBLISHERS.min(timeout / 4)
}

impl Node {
    /// Refuses new sessions from here on, and has players go elsewhere, as the first signal does.
    pub fn refuse_new_sessions(&self) {
        self.control.stop();
        if let Some(earlier) = &self.doors.earlier {
            earlier.stop();
        }
    }

    /// Serves until SIGINT or SIGTERM, then drains: new sessions are refused with 503 and
    /// `/readyz` says 503 at once, while the sessions there are go on until the last has ended,
    /// `drain_timeout` is over, or a second signal comes. Calls `ready` once signals are heard.
    ///
    /// # Errors
    /// When the signals can't be listened to.
    pub fn serve_until_drained(
        &self,
        drain_timeout: Duration,
        ready: impl FnOnce(),
    ) -> io::Result<()> {
        let supervisor = Supervisor::of_process();
        self.runtime.block_on(async {
            let mut signals = Signals::new()?;
            let renewal = Renewal::new()?;
            // Whoever is told may send a signal at once.
            ready();
            supervisor.tell("READY=1\nSTATUS=serving");
            tokio::select! {
                () = signals.next() => {}
                () = renewal.whenever_asked() => {}
                nothing_left = self.outlived() => {
                    if nothing_left {
                        self.runtime.spawn(end_at(signals));
                        return Ok(());
                    }
                }
            }
            if self.control.member().has_others {
                let over = (drain_timeout - publishers_for(drain_timeout)) / 2;
                self.control.spread_viewers(over.min(DRAIN_SPREAD));
            }
            self.refuse_new_sessions();
            let (sessions, _streams) = self.counts();
            if self.standing() == Standing::Serving {
                supervisor.tell(&format!("STOPPING=1\nSTATUS={sessions} sessions are left"));
            }
            if drain_timeout.is_zero() || (sessions == 0 && self.control.passed_on_to() == 0) {
                self.runtime.spawn(end_at(signals));
                return Ok(());
            }
            tracing::info!(
                "draining: {sessions} sessions may go on for {} s; a second signal ends them",
                drain_timeout.as_secs()
            );
            tokio::select! {
                () = self.drained(drain_timeout) => {}
                () = signals.next() => tracing::info!("a second signal: sessions are ended now"),
            }
            self.runtime.spawn(end_at(signals));
            Ok(())
        })
    }

    /// How this process stands to one that may have taken over.
    fn standing(&self) -> Standing {
        self.given.as_ref().map_or(Standing::Serving, Given::standing)
    }

    /// Waits until another process has taken over and nothing is left to do for this one: its
    /// sessions have ended, and so has the process it had taken over itself. False when that other
    /// process was told to stop before, and this one with it.
    async fn outlived(&self) -> bool {
        loop {
            tokio::time::sleep(LOOK).await;
            let (sessions, _streams) = self.counts();
            match self.standing() {
                Standing::Orphaned => return true,
                Standing::Stopping => return false,
                Standing::Given if sessions == 0 && self.control.earlier().is_none() => {
                    tracing::info!("the last session has ended, and another process serves");
                    return true;
                }
                Standing::Given | Standing::Serving => {}
            }
        }
    }

    /// Waits for the last session to end, no longer than `timeout`. Where there are other nodes
    /// viewers are ended before publishers: they come to those, which take the streams from here.
    async fn drained(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let last = publishers_for(timeout);
        let mut viewers_until = self.control.member().has_others.then(|| deadline - last);
        loop {
            if viewers_until.take_if(|until| Instant::now() >= *until).is_some() {
                let viewers = self.control.end_viewers();
                let seconds = last.as_secs_f64();
                tracing::info!("{viewers} viewers are ended; publishers have {seconds:.1} s more");
            }
            let (sessions, _streams) = self.counts();
            // Other nodes that have a stream from here take it from elsewhere.
            let links = self.control.passed_on_to();
            if sessions == 0 && links == 0 {
                return tracing::info!("the last session has ended");
            }
            if Instant::now() >= deadline {
                return tracing::info!(
                    "{sessions} sessions and {links} links are left, and are ended now"
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
