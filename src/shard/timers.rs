//! A timer wheel for the sessions of one shard.
