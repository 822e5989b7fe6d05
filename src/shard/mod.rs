//! shard

pub mod timers;
