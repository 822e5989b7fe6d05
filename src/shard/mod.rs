//! One core's share of the server: its sockets, its sessions, its loop.
//!
//! A shard is one pinned thread. It owns its sessions and everything a packet touches; nobody else
//! reads or writes them. Others speak to it through its `mailbox`: control threads with
//! [`Command`]s, other shards with [`Mail`].
//!
//! ```text
//! turn.rs      the loop: receive → mail → commands → timers → deliver → flush → wait
//!   reactor.rs    at the kernel: what sockets have received, whom it wakes, ports that come and go
//!   runtime.rs    its thread, and how that sleeps (sleep.rs)
//!   simulated.rs  the same shard, driven by hand; audit.rs: whether its tables agree
//! panics.rs    a panic while one session is at hand ends that session
//! inbound.rs   a datagram reaches its session, or another shard (tcp.rs: out of a connection)
//! commands.rs  what control threads ask for (command.rs)
//! deliver.rs   packets to viewers, key frame requests to publishers
//! outputs.rs   what a session wants: datagrams out, keys, media, its end
//! publish.rs   a publisher's packets go to the shards that have viewers
//! links.rs     streams from other nodes (relay.rs), and to them (feed.rs, sending.rs);
//!              lineage.rs, whence; taking.rs and wishes.rs, which layers of them; asked.rs,
//!              what the other end wants
//! viewers.rs   what viewers report and are told
//! lifecycle.rs a session comes and ends
//! subscribe.rs streams that a session takes
//! watch.rs     how a session fares: phases, quality, its card
//! survey.rs    what its memory is
//! takeover.rs  sockets and strays between two processes
//! core.rs      everything it owns; post.rs what it tells others; sessions.rs, timers.rs
//! ```
//!
//! Files call downwards in this list, never back up (`tests/tidy.rs` checks it). What `paths`,
//! `session` and `track` want of one another they say as values, and it is carried out here.

mod ahead;
mod arrival;
mod asked;
mod audit;
#[expect(
    clippy::disallowed_types,
    reason = "a stream's shared part is counted when somebody comes or goes"
)]
mod command;
mod commands;
#[expect(clippy::disallowed_types, reason = "what shards share is counted when one starts")]
mod core;
#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a control thread's part is played")]
mod cost;
mod deliver;
mod feed;
mod feedback;
mod gap;
mod handshakes;
mod inbound;
#[expect(
    clippy::disallowed_types,
    reason = "a stream's shared part is counted when somebody comes or goes"
)]
mod lifecycle;
#[expect(clippy::disallowed_types, reason = "what a link shows is counted when it comes or goes")]
mod lineage;
#[expect(clippy::disallowed_types, reason = "what a link shows is counted when it comes or goes")]
mod links;
mod mailbox;
mod metrics;
mod outputs;
mod panics;
mod port_changes;
#[expect(clippy::disallowed_types, reason = "what shards share is counted when one starts")]
mod post;
mod publish;
mod reactor;
mod relay;
#[expect(clippy::disallowed_types, reason = "what shards share is counted when one starts")]
mod runtime;
mod sending;
mod sessions;
#[expect(clippy::disallowed_types, reason = "what shards share is counted when one starts")]
mod simulated;
mod sleep;
#[expect(
    clippy::disallowed_types,
    reason = "a stream's shared part is counted when somebody comes or goes"
)]
mod subscribe;
mod survey;
mod takeover;
mod taking;
mod tcp;
pub mod timers;
mod trial;
mod turn;
mod viewers;
mod watch;
mod wishes;

pub use command::{BoundPort, Command, EndReason, Ended, Report, SessionPort};
pub use links::LinkSetup;
pub use mailbox::{HandedOver, Mail, Mailbox, QueueFull};
pub use relay::Brings;
pub use runtime::{Serving, Spawned, spawn};
pub use simulated::Simulated;
pub use subscribe::NotSubscribed;
pub use takeover::{Earlier, TakeoverStep};
pub use turn::{ShardConfig, Wiring};
pub use viewers::NotWished;
