//! Datagrams in TCP connections: the shard's side. What a connection is, and when it is over, is
//! decided in [`crate::paths`].

use std::time::Instant;

use super::core::Core;
use crate::limits::TCP_READS_PER_TURN;

impl Core {
    /// Takes in what connections have, a bounded number of reads; true when there may be more.
    pub fn receive_tcp(&mut self, now: Instant) -> bool {
        let more = self.paths.ways.tcp.look();
        let mut buffer = std::mem::take(&mut self.scratch.tcp_buffer);
        for _ in 0..TCP_READS_PER_TURN {
            let Some(mut reading) = self.paths.read(&mut buffer) else { break };
            let index = usize::from(self.post.index);
            while let Some(frame) = {
                let counters = &self.post.wiring.counters[index];
                self.paths.next_frame(now, &mut reading, &mut buffer, counters)
            } {
                self.on_datagram(now, frame);
            }
            let moved = self.paths.end_reading(&reading, &self.post.wiring.counters[index]);
            if let Some(moved) = moved {
                self.follow(now, moved);
            }
        }
        self.scratch.tcp_buffer = buffer;
        more || self.paths.ways.tcp.has_more()
    }

    /// Hands the kernel what waits for connections, and closes those that have had their time.
    pub fn flush_tcp(&mut self, now: Instant) {
        let counters = self.post.counters();
        for moved in self.paths.flush_connections(now, counters) {
            self.follow(now, moved);
        }
    }
}
