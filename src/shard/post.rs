//! What a shard tells others: mail to other shards, reports to the control side, and counters and
//! meters for whoever looks.

use std::sync::Arc;

use super::{Mail, Mailbox, QueueFull, Report, Wiring};
use crate::drop::DropReason;
use crate::media::{Bytes, MediaPacket};
use crate::net::WakeRing;
use crate::telemetry::{Meters, ShardCounters};

/// A shard's way to the others.
pub(super) struct Post {
    /// The shard's own number.
    pub index: u16,
    pub wiring: Arc<Wiring>,
    /// Shards that got mail this turn.
    posted: Vec<bool>,
}

impl Post {
    pub fn new(index: u16, wiring: Arc<Wiring>) -> Post {
        let posted = vec![false; wiring.mailboxes.len()];
        Post { index, wiring, posted }
    }

    pub fn counters(&self) -> &ShardCounters {
        &self.wiring.counters[usize::from(self.index)]
    }

    pub fn meters(&self) -> &Meters {
        &self.wiring.meters[usize::from(self.index)]
    }

    pub fn dropped(&self, reason: DropReason) {
        self.counters().dropped(reason);
    }

    /// The shard's own mailbox.
    pub fn mailbox(&self) -> &Mailbox {
        &self.wiring.mailboxes[usize::from(self.index)]
    }

    /// Whether there is a shard of this number.
    pub fn knows(&self, shard: u16) -> bool {
        usize::from(shard) < self.posted.len()
    }

    /// Posts mail to another shard, which must exist; it is woken at the end of the turn.
    ///
    /// # Errors
    /// [`QueueFull`]: the mail is gone, and whoever posted it says what that means.
    pub fn mail(&mut self, shard: u16, mail: Mail) -> Result<(), QueueFull> {
        self.posted[usize::from(shard)] = true;
        self.wiring.mailboxes[usize::from(shard)].post(mail)
    }

    /// Posts a note whose loss costs time and no packet: it is counted, and that is all.
    pub fn note(&mut self, shard: u16, note: Mail) {
        if self.mail(shard, note).is_err() {
            self.counters().mail_lost.add(1);
        }
    }

    /// Posts a copy of a media packet for the viewers of another shard.
    pub fn copy<P: Bytes + Clone>(&mut self, shard: u16, packet: &MediaPacket<P>) {
        match self.mail(shard, Mail::Media(packet.copy_for_other_shard())) {
            Ok(()) => self.counters().media_handed_over.add(1),
            Err(_full) => self.dropped(DropReason::MediaRingFull),
        }
    }

    pub fn tell_control(&self, report: Report) {
        // The queue has room for all that is told of one tenant of every slot, and a slot has the
        // next tenant only when all of it was taken in.
        let pushed = self.wiring.reports[usize::from(self.index)].push(report);
        debug_assert!(pushed.is_ok(), "more was reported than there are slots for");
        self.wiring.reported.notify_one();
    }

    /// Wakes the shards that got mail since the last call.
    pub fn wake_readers(&mut self, wake_ring: Option<&mut WakeRing>) {
        let got = self.posted.iter_mut().enumerate();
        let got = got.filter_map(|(shard, posted)| std::mem::take(posted).then_some(shard));
        Mailbox::wake_all(&self.wiring.mailboxes, got, wake_ring);
    }
}
