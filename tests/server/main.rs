//! A server and its clients over loopback: everything that needs no network but this host's.
//!
//! One module for one subject; `cargo test --test server delivery::` runs those of one. The tests
//! are threads of one process, so each takes a server of its own and asks that server, not the
//! process, what has happened. What counts for the whole process, as the log does, is read in a
//! process of its own ([`support::alone`]).

#![expect(clippy::disallowed_types, reason = "a test may wait for its threads")]

mod access;
mod addresses;
mod alike;
mod api;
mod attacks;
mod authority;
mod awaited;
mod certificates;
mod checks;
mod cluster;
mod config_file;
mod connecting;
mod conservation;
mod corpora;
mod delivery;
mod differential;
mod failover;
mod failures;
mod https;
mod layers;
mod links;
mod links_layers;
mod live;
mod load;
mod load_cluster;
mod logs;
mod memory;
mod meters;
mod modes;
mod nodes;
mod nonsense;
mod observability;
mod offers;
mod peer;
mod peer_from;
mod placement;
mod places;
mod playing;
mod port_plan;
mod ports;
mod processes;
mod ready;
mod rebind;
mod redundant;
mod renegotiation;
mod rest;
mod scarce;
mod signalling;
mod speakers;
mod stderr;
mod steering;
mod strangers;
mod takeover;
mod tcp;
mod top;
mod tree;
mod trust;
mod turn;
mod webhooks;
mod whip_letter;

#[path = "../support/mod.rs"]
mod support;
