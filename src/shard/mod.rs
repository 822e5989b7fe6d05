//! One core's share of the server: its sockets, its sessions, its loop.
//!
//! A shard is one pinned thread. It owns its sessions and everything a packet touches; nobody else
//! reads or writes them. Others speak to it through its `mailbox`: control threads with
//! [`Command`]s, other shards with [`Mail`].
//!
//! ```text
//! turn.rs      the loop: receive → mail → commands → timers → deliver → flush → wait
//! reactor.rs   what comes from the kernel, whom it wakes, mux ports that come and go
//! inbound.rs   a datagram reaches its session, or another shard
//! outputs.rs   what a session wants: datagrams out, keys, media, its end
//! publish.rs   a publisher's packets go to the shards that have viewers
//! relay.rs     streams whose publisher is elsewhere
//! deliver.rs   packets to viewers, key frame requests to publishers
//! port_changes.rs  mux ports that come and go while it runs
//! viewers.rs   what viewers report: repair, key frames
//! simulated.rs the same shard, driven by hand, for simulations
//! metrics.rs   what all shards show to a scraper
//! watch.rs     how a session fares: phases, quality, its card
//! tcp.rs       the same over TCP
//! ```

mod arrival;
#[expect(
    clippy::disallowed_types,
    reason = "a stream's shared part is counted when somebody comes or goes"
)]
mod command;
#[expect(clippy::disallowed_types, reason = "what shards share is counted when one starts")]
mod core;
mod deliver;
mod inbound;
mod mailbox;
mod metrics;
mod outputs;
mod port_changes;
mod publish;
mod reactor;
#[expect(
    clippy::disallowed_types,
    reason = "a stream's shared part is counted when somebody comes or goes"
)]
mod relay;
#[expect(clippy::disallowed_types, reason = "what shards share is counted when one starts")]
mod runtime;
mod sessions;
#[expect(clippy::disallowed_types, reason = "what shards share is counted when one starts")]
mod simulated;
mod sleep;
mod tcp;
pub mod timers;
mod turn;
mod viewers;
mod watch;

pub use command::{BoundPort, Command, EndReason, Ended, Report, SessionPort};
pub use mailbox::{HandedOver, Mail, Mailbox, QueueFull};
pub use relay::Wishes;
pub use runtime::{Serving, Spawned, spawn};
pub use simulated::Simulated;
pub use turn::{ShardConfig, Wiring};
