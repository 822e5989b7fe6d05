//! The thread a shard runs on, and how it waits.
//!
//! Each shard runs on a tokio-uring current-thread runtime. Where io_uring is forbidden, as in
//! many containers, a plain tokio one takes its place; the loop is the same.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::arrival::KernelClock;
use super::core::Core;
use super::gap::Gap;
use super::reactor::Reactor;
use super::turn::Next;
use super::{BoundPort, Earlier, ShardConfig, Wiring};
use crate::cpu::{self, ThreadLoad};
use crate::net::{Backend, Receiver, Transmitter, WakeRing, uring_available};
use crate::paths::Sharing;
use crate::telemetry::EndsAll;

/// A running shard.
pub struct Spawned {
    /// Its thread; it ends after [`super::Command::Stop`].
    pub thread: JoinHandle<()>,
    /// How busy it is, where the kernel tells.
    pub load: Option<ThreadLoad>,
}

/// The ports a shard serves.
pub enum Serving {
    /// Mux ports, in the slots of their order; more may come.
    Mux(Vec<BoundPort>),
    /// One per session, which comes with it.
    PortPerSession,
}

/// Starts the thread of a shard and waits until it is ready to serve. What is not this process's
/// may be the `earlier` one's.
///
/// # Errors
/// When the thread, its runtime or its registration of the sockets fails.
pub fn spawn(
    config: ShardConfig,
    serving: Serving,
    receiver: Receiver,
    wiring: Arc<Wiring>,
    earlier: Option<Earlier>,
) -> io::Result<Spawned> {
    let (sharing, ports, transmitter) = match serving {
        Serving::Mux(ports) => {
            let numbers = ports.iter().map(|port| port.socket.port()).collect();
            let sockets = ports.into_iter().map(|port| port.socket).collect();
            (Sharing::Mux, numbers, Transmitter::muxed(sockets))
        }
        Serving::PortPerSession => (Sharing::Session, Vec::new(), Transmitter::of_sessions()?),
    };
    let (ready, is_ready) = mpsc::channel();
    let name = format!("shard-{}", config.index);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let _ends_all = EndsAll("a shard");
        if let Some(core) = config.core
            && let Err(error) = cpu::pin_current_thread(core)
        {
            tracing::warn!("shard {} is not pinned to core {core}: {error}", config.index);
        }
        wiring.meters[usize::from(config.index)].thread.adopt_current_thread();
        let mut core = match Core::new(&config, sharing, ports, transmitter, wiring, Instant::now())
        {
            Ok(core) => core,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        core.set_earlier(earlier);
        let clock = kernel_clock;
        let shard = Reactor { core, receiver, wake_ring: None, clock, found: false, later: None };
        let load = ThreadLoad::of_current_thread().ok();
        if let Err(error) = cpu::sleep_exactly() {
            tracing::warn!("shard {} rests longer than it should: {error}", config.index);
        }
        let waits = Waits { busy_poll: config.busy_poll, gap: config.wake_gap };
        let serve = serve(shard, waits, load, ready.clone());
        let result = if uring_available().is_ok() {
            tokio_uring::start(serve)
        } else {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .and_then(|runtime| runtime.block_on(serve))
        };
        if let Err(error) = result {
            let _ = ready.send(Err(error));
        }
    })?;
    let started = is_ready.recv();
    let load = started.map_err(|_gone| io::Error::other("the shard's thread died at start"))??;
    Ok(Spawned { thread, load })
}

/// How a shard waits.
struct Waits {
    /// How long it spins before it sleeps.
    busy_poll: Duration,
    /// The least time between the beginnings of two turns; `None` goes by the load.
    gap: Option<Duration>,
}

async fn serve(
    mut shard: Reactor,
    waits: Waits,
    load: Option<ThreadLoad>,
    ready: mpsc::Sender<io::Result<Option<ThreadLoad>>>,
) -> io::Result<()> {
    // io_uring belongs to the thread that first receives.
    shard.turn(Instant::now());
    let Reactor { core, receiver, .. } = &mut shard;
    core.paths.ways.transmitter.sockets_mut().watch(receiver)?;
    let mut readiness = vec![core.paths.ways.tcp.watch().readiness()?];
    let wiring = shard.core.post.wiring.clone();
    let mailbox = &wiring.mailboxes[usize::from(shard.core.post.index)];
    if shard.receiver.backend() == Backend::Uring {
        let ring = WakeRing::new()?;
        readiness.push(ring.readiness()?);
        mailbox.set_waker(ring.waker()?);
        shard.wake_ring = Some(ring);
    }
    let _ = ready.send(Ok(load));
    let mut busy_since = Instant::now();
    let mut gap = Gap::new(waits.gap, busy_since, cpu::thread_cpu_time());
    show(&shard, &gap);
    loop {
        let now = Instant::now();
        let next = shard.turn(now);
        let ended = Instant::now();
        shard.core.time_turn(now, ended);
        if gap.look(ended, cpu::thread_cpu_time) {
            show(&shard, &gap);
        }
        let (until, write) = match next {
            Next::Stop => return Ok(()),
            Next::Now => {
                busy_since = now;
                tokio::task::yield_now().await;
                continue;
            }
            Next::At(at) => (at, false),
            Next::WhenWritable(at) => (at, true),
        };
        if now.saturating_duration_since(busy_since) < waits.busy_poll {
            std::hint::spin_loop();
            continue;
        }
        if shard.found && !write && !gap.length().is_zero() {
            let until = until.min(now + gap.length());
            shard.core.post.counters().turn_gaps.add(1);
            // The runtime is not asked: its sockets would wake it.
            std::thread::sleep(until.saturating_duration_since(ended));
            continue;
        }
        if !mailbox.prepare_to_sleep() {
            continue;
        }
        let later = shard.later.as_ref().map(|later| &later.readiness);
        let readable = readiness.iter().chain(later);
        tokio::select! {
            () = shard.core.paths.ways.transmitter.sockets().readable(readable) => {}
            () = shard.core.paths.ways.transmitter.writable(), if write => {}
            () = mailbox.notified() => {}
            () = tokio::time::sleep_until(until.into()) => {}
        }
        mailbox.finish_sleep();
        if let Some(ring) = &mut shard.wake_ring {
            ring.drain(|shard| wiring.mailboxes[shard].notify());
        }
        busy_since = Instant::now();
    }
}

/// The gap is shown as it changes, and what is received into.
fn show(shard: &Reactor, gap: &Gap) {
    shard.show_slots();
    shard.core.post.counters().turn_gap_microseconds.set(gap.length().as_micros() as u64);
}

/// This moment, on the clock that the kernel stamps arrivals by and on the loop's.
fn kernel_clock() -> KernelClock {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    KernelClock::new(Instant::now(), since.as_nanos() as u64)
}
