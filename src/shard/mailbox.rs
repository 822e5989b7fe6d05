//! How others speak to a shard: two bounded queues, and a way to wake it.
//!
//! Media has a queue of its own, so that a flood of it cannot keep a command out. When a queue is
//! full the sender keeps what it has: a datagram or a media packet is dropped and counted as
//! [`crate::drop::DropReason::RingFull`] or [`crate::drop::DropReason::MediaRingFull`], a note is
//! counted as lost, a command is refused and its request answered with 503.
//!
//! No message is slept over: see [`super::sleep`].

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Instant;

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use tokio::sync::Notify;

use super::Command;
use super::sleep::Sleep;
use crate::id::TrackKey;
use crate::limits::{COMMAND_QUEUE, MAIL_QUEUE};
use crate::media::{ClockReport, MediaPacket};
use crate::net::{RingWaker, WakeRing};
use crate::paths::FlowKey;

/// What shards send one another.
#[derive(Debug)]
pub enum Mail {
    /// A datagram that reached the wrong shard.
    Datagram(HandedOver),
    /// A media packet for this shard's viewers.
    Media(MediaPacket),
    /// The publisher's clock, for this shard's viewers.
    Clock(ClockReport),
    /// Layers of a track have come, fallen silent or changed, as is told where all read it.
    LayersChanged(TrackKey),
    /// A viewer elsewhere needs a key frame of a layer published here.
    Keyframe {
        /// The track.
        track: TrackKey,
        /// The layer.
        layer: u8,
        /// The shard of those who have just come, for whom the last one will do.
        newcomers: Option<u16>,
    },
    /// What came of a track since its last key frame, for viewers here who wait for one.
    Past(TrackKey, Vec<MediaPacket>),
    /// A session of the sender has proved that this flow is its own.
    FlowLost(FlowKey),
    /// A session of the sender would prove that this flow is its own, once nobody speaks by it.
    FlowWanted(FlowKey),
}

/// A datagram on its way to the shard that owns its session.
#[derive(Debug)]
pub struct HandedOver {
    /// Slot of the mux port it came in at, which is the same on every shard.
    pub port: u32,
    /// Our address that was hit.
    pub local: IpAddr,
    /// The sender.
    pub remote: SocketAddr,
    /// The datagram.
    pub bytes: Box<[u8]>,
    /// When the kernel had it.
    pub arrived: Instant,
}

/// The queue is full; the message did not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// One shard's mailbox.
pub struct Mailbox {
    mail: ArrayQueue<Mail>,
    commands: ArrayQueue<Command>,
    sleep: CachePadded<Sleep>,
    notify: Notify,
    /// How shards that have a ring of their own wake this one, when it has one too.
    waker: OnceLock<RingWaker>,
}

impl Default for Mailbox {
    fn default() -> Mailbox {
        Mailbox {
            mail: ArrayQueue::new(MAIL_QUEUE),
            commands: ArrayQueue::new(COMMAND_QUEUE),
            sleep: CachePadded::new(Sleep::new()),
            notify: Notify::new(),
            waker: OnceLock::new(),
        }
    }
}

impl Mailbox {
    /// Puts mail in and wakes nobody; [`Mailbox::wake`] follows once per turn.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub fn post(&self, mail: Mail) -> Result<(), QueueFull> {
        self.mail.push(mail).map_err(|_mail| QueueFull)
    }

    /// Puts a command in and wakes the shard.
    ///
    /// # Errors
    /// The command, when the queue is full.
    pub fn command(&self, command: Command) -> Result<(), Command> {
        self.commands.push(command)?;
        self.wake();
        Ok(())
    }

    /// Wakes the shard if it sleeps.
    pub fn wake(&self) {
        if self.sleep.must_wake() {
            self.notify.notify_one();
        }
    }

    /// Lets other shards wake this one by `waker` from here on.
    pub(super) fn set_waker(&self, waker: RingWaker) {
        // A shard has one ring to be woken by; a second waker would be one of the same.
        let _ = self.waker.set(waker);
    }

    /// Wakes a shard that sleeps without a ring, or whose ring the kernel did not wake.
    pub(super) fn notify(&self) {
        self.notify.notify_one();
    }

    /// Wakes the shards in `posted` that sleep: by one system call from `ring`, where both have
    /// one, else one each.
    pub(super) fn wake_all(
        mailboxes: &[Mailbox],
        posted: impl Iterator<Item = usize>,
        ring: Option<&mut WakeRing>,
    ) {
        let asleep = posted.filter(|shard| mailboxes[*shard].sleep.must_wake());
        let Some(ring) = ring else {
            return asleep.for_each(|shard| mailboxes[shard].notify());
        };
        let wakers = asleep.filter_map(|shard| {
            let waker = mailboxes[shard].waker.get();
            if waker.is_none() {
                mailboxes[shard].notify();
            }
            Some((shard, waker?))
        });
        ring.wake_all(wakers, |shard| mailboxes[shard].notify());
    }

    /// The next piece of mail.
    pub fn next_mail(&self) -> Option<Mail> {
        self.mail.pop()
    }

    /// The next command.
    pub fn next_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// Pieces of mail that wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.mail.len()
    }

    /// Says that the shard is about to sleep; false when something waits, and it must not.
    pub(super) fn prepare_to_sleep(&self) -> bool {
        self.sleep.prepare(|| self.mail.is_empty() && self.commands.is_empty())
    }

    /// Says that the shard is awake.
    pub(super) fn finish_sleep(&self) {
        self.sleep.finish();
    }

    /// Sleeps until somebody wakes the shard.
    pub(super) async fn notified(&self) {
        self.notify.notified().await;
    }
}
