//! How others speak to a shard: two bounded queues and a bell.
//!
//! Media has a queue of its own, so that a flood of it cannot keep a command out. When a queue is
//! full the sender keeps what it has: a datagram or a media packet is dropped and counted as
//! [`crate::drop::DropReason::RingFull`] or [`crate::drop::DropReason::MediaRingFull`], a note is
//! counted as lost, a command is refused and its request answered with 503.
//!
//! A shard that is about to sleep says so, looks once more, and sleeps. A sender puts its message
//! in, then looks whether the shard sleeps, and rings if so. Whichever comes second sees the other.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Instant;

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use tokio::sync::Notify;

use super::Command;
use crate::demux::FlowKey;
use crate::id::TrackKey;
use crate::limits::{COMMAND_QUEUE, MAIL_QUEUE};
use crate::media::{ClockReport, MediaPacket};
use crate::net::{Bell, BellRope};

/// What shards send one another.
#[derive(Debug)]
pub enum Mail {
    /// A datagram that reached the wrong shard.
    Datagram(HandedOver),
    /// A media packet for this shard's viewers.
    Media(MediaPacket),
    /// The publisher's clock, for this shard's viewers.
    Clock(ClockReport),
    /// A viewer elsewhere needs a key frame of a layer published here.
    Keyframe {
        /// The track.
        track: TrackKey,
        /// The layer.
        layer: u8,
    },
    /// A session of the sender has proved that this flow is its own.
    FlowLost(FlowKey),
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
    asleep: CachePadded<AtomicBool>,
    bell: Notify,
    /// Where shards that have a ring of their own ring, when this one has one too.
    rope: OnceLock<BellRope>,
}

impl Default for Mailbox {
    fn default() -> Mailbox {
        Mailbox {
            mail: ArrayQueue::new(MAIL_QUEUE),
            commands: ArrayQueue::new(COMMAND_QUEUE),
            asleep: CachePadded::new(AtomicBool::new(false)),
            bell: Notify::new(),
            rope: OnceLock::new(),
        }
    }
}

impl Mailbox {
    /// Puts mail in without ringing; [`Mailbox::ring`] follows once per turn.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub fn post(&self, mail: Mail) -> Result<(), QueueFull> {
        self.mail.push(mail).map_err(|_mail| QueueFull)
    }

    /// Puts a command in and rings.
    ///
    /// # Errors
    /// The command, when the queue is full.
    pub fn command(&self, command: Command) -> Result<(), Command> {
        self.commands.push(command)?;
        self.ring();
        Ok(())
    }

    /// Wakes the shard if it sleeps.
    pub fn ring(&self) {
        if self.must_ring() {
            self.bell.notify_one();
        }
    }

    /// Whether the shard sleeps and nobody else is about to wake it: the caller must.
    pub(super) fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }

    /// Lets other shards ring by `rope` from here on.
    pub(super) fn hang_up(&self, rope: BellRope) {
        // A shard has one bell; a second rope would be one to the same.
        let _ = self.rope.set(rope);
    }

    /// Wakes the shards in `posted` that sleep: by one system call from `bell`, where both have
    /// one, else one each.
    pub(super) fn ring_all(
        mailboxes: &[Mailbox],
        posted: impl Iterator<Item = usize>,
        bell: Option<&mut Bell>,
    ) {
        let asleep = posted.filter(|shard| mailboxes[*shard].must_ring());
        let Some(bell) = bell else {
            return asleep.for_each(|shard| mailboxes[shard].bell.notify_one());
        };
        let ropes = asleep.filter_map(|shard| {
            let rope = mailboxes[shard].rope.get();
            if rope.is_none() {
                mailboxes[shard].bell.notify_one();
            }
            Some((shard, rope?))
        });
        bell.ring(ropes, |shard| mailboxes[shard].bell.notify_one());
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
    pub(super) fn lie_down(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.mail.is_empty() && self.commands.is_empty() {
            return true;
        }
        self.asleep.store(false, Ordering::Relaxed);
        false
    }

    /// Says that the shard is awake.
    pub(super) fn get_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Sleeps until somebody rings.
    pub(super) async fn wait(&self) {
        self.bell.notified().await;
    }
}
