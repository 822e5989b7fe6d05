//! Counts over the peers of a run.

use crate::link;
use crate::publisher::Publisher;
use crate::screen::Seen;
use crate::viewer::Viewer;

/// Packet counts over peers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    pub expected: u64,
    pub received: u64,
    pub duplicates: u64,
    pub reordered: u64,
    pub renumbered: u64,
    /// Viewers whose count of video has begun.
    pub viewers_with_video: u64,
    pub packets_sent: u64,
    pub key_frames: u64,
    pub transport_feedback: u64,
    /// Media of viewers whose loss was counted by sequence numbers.
    pub by_sequence: u64,
    pub asked_again: u64,
    pub resent: u64,
    /// What those saw who are not behind a link.
    pub seen: Seen,
    pub linked: Linked,
}

/// Counts over those behind a link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Linked {
    pub seen: Seen,
    pub link: link::Counts,
}

impl Sums {
    pub fn add_publisher(&mut self, publisher: &Publisher) {
        self.packets_sent += publisher.packets_sent();
        self.key_frames += publisher.key_frames;
        self.transport_feedback += publisher.transport_feedback;
        self.asked_again += publisher.asked_again;
        self.resent += publisher.resent;
    }

    pub fn add_viewer(&mut self, viewer: &Viewer) {
        let (video, audio) = viewer.accounts();
        for (account, sent) in [video, audio] {
            self.expected += account.expected(sent);
            self.received += account.received;
            self.duplicates += account.duplicates;
            self.reordered += account.reordered;
            self.renumbered += account.renumbered;
            self.by_sequence += u64::from(account.is_by_sequence());
        }
        self.viewers_with_video += u64::from(video.0.has_begun());
        viewer.seen().iter().for_each(|seen| self.seen.add(seen));
    }

    /// The part of the packets that did not come.
    #[must_use]
    pub fn loss_ratio(&self) -> f64 {
        let lost = self.expected.saturating_sub(self.received);
        lost as f64 / self.expected.max(1) as f64
    }

    pub fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.renumbered += other.renumbered;
        self.viewers_with_video += other.viewers_with_video;
        self.packets_sent += other.packets_sent;
        self.key_frames += other.key_frames;
        self.transport_feedback += other.transport_feedback;
        self.by_sequence += other.by_sequence;
        self.asked_again += other.asked_again;
        self.resent += other.resent;
        self.seen.add(&other.seen);
        self.linked.seen.add(&other.linked.seen);
        self.linked.link.add(other.linked.link);
    }
}

impl Linked {
    pub fn add_viewer(&mut self, viewer: &Viewer, link: link::Counts) {
        viewer.seen().iter().for_each(|seen| self.seen.add(seen));
        self.link.add(link);
    }
}
