//! Bounds of what nodes tell the directory of streams.

use std::time::Duration;

/// How long a node counts as alive after it has told the directory so.
pub const DIRECTORY_LEASE: Duration = Duration::from_secs(10);

/// How often it does.
pub const DIRECTORY_BEAT: Duration = Duration::from_secs(2);

const _: () = assert!(
    DIRECTORY_BEAT.as_millis() * 4 < DIRECTORY_LEASE.as_millis(),
    "a lease survives three beats that are lost"
);

/// How long a node that is no longer alive is remembered.
pub const DIRECTORY_NODE_KEPT: Duration = Duration::from_secs(60);

/// How long a claim on a stream lasts that nobody renews.
pub const DIRECTORY_CLAIM_KEPT: Duration = Duration::from_secs(3_600);

/// How often claims are renewed.
pub const DIRECTORY_REASSERT: Duration = Duration::from_secs(600);

/// Streams in one call to the directory.
pub const DIRECTORY_BATCH: usize = 1_000;
