//! From datagram to session: by 4-tuple, once STUN has proved whose it is.
//!
//! [`flows`] is a shard's own table and answers for nearly every packet. [`directory`] is shared by
//! all shards and read only when the own table does not know the flow, as after a rebinding of a
//! NAT, when the kernel hands a known peer's packets to another shard.

pub mod directory;
pub mod flows;

pub use directory::Directory;
pub use flows::{FlowKey, Flows};
