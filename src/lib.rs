//! # Monoport
//!
//! A WebRTC media server for bare-metal Linux: WHIP in, WHEP out, one UDP port, every core.

pub mod config;
pub mod cpu;
pub mod dashboard;
pub mod demux;
pub mod drop;
pub mod egress;
pub mod id;
pub mod limits;
pub mod media;
pub mod net;
pub mod node;
pub mod session;
pub mod shard;
pub mod signalling;
pub mod srtp;
pub mod stream;
pub mod telemetry;
pub mod wire;
