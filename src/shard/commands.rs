//! What control threads have asked for is carried out, a few commands a turn.

use std::time::Instant;

use super::core::Core;
use super::port_changes::PortChange;
use super::{Command, EndReason};

impl Core {
    /// Carries out commands of control threads; true when there may be more.
    pub fn take_commands(&mut self, now: Instant) -> bool {
        while self.take_command(now) {}
        self.commands_left == 0 && !self.stopping
    }

    /// Carries out the next command; false when none waits, or this turn has had its share.
    pub fn take_command(&mut self, now: Instant) -> bool {
        if self.commands_left == 0 {
            return false;
        }
        let Some(command) = self.post.mailbox().next_command() else { return false };
        self.commands_left -= 1;
        self.at_hand.slot = None;
        match command {
            Command::Add { key, port, session, stream } => {
                self.add(now, key, port, session, &stream);
                self.at_hand.slot = Some(key.slot);
            }
            Command::Connect(arrival) => {
                let counters = self.post.counters();
                self.paths.connect(now, *arrival, counters);
            }
            Command::End(key, reason) => {
                if self.sessions.get(key).is_some() {
                    self.take_in_hand(key.slot);
                    self.close(key.slot, reason);
                }
            }
            Command::Subscribe { key, stream, terms, done } => {
                // Whoever asked may have given up waiting, here and below.
                let _ = done.send(self.subscribe(now, key, &stream, terms));
            }
            Command::Unsubscribe { key, stream } => self.unsubscribe(key, stream),
            Command::RestartIce { key, local, remote, done } => {
                if let Some(entry) = self.sessions.get(key) {
                    entry.session.restart_ice(local, remote);
                    let _ = done.send(());
                }
            }
            Command::Wish { key, mid, wish, done } => {
                let _ = done.send(self.wish(now, key, mid.as_deref(), wish));
            }
            Command::OpenLink(setup) => self.open_link(now, *setup),
            Command::CloseLink(link) => self.close_link(now, link),
            Command::OpenPort { slot, port, done } => {
                self.port_changes.push(PortChange::Open { slot, port, done });
            }
            Command::ClosePort { slot, done } => {
                self.port_changes.push(PortChange::Close { slot, done });
            }
            Command::Takeover(step) => self.takeover_steps.push(step),
            Command::Stop => {
                self.stopping = true;
                return false;
            }
        }
        true
    }

    /// Ends every session: the server stops.
    pub fn end_all(&mut self, now: Instant) {
        let slots: Vec<u32> = self.sessions.occupied().collect();
        for slot in slots {
            self.take_in_hand(slot);
            self.close(slot, EndReason::Stopping);
        }
        self.close_links(now);
    }
}
