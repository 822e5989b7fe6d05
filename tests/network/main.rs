//! A server on a host with interfaces, a firewall or a router of its own: network namespaces, for
//! which these tests need root or a kernel that lets everybody make them.
//!
//! Where there are none the tests say so and pass. `cargo test --test network dnat::` runs those of
//! one module.

#![expect(clippy::disallowed_types, reason = "a test may wait for its threads")]

mod announce;
mod commands;
mod dnat;
mod external;
mod moving;

#[path = "../support/mod.rs"]
mod support;
