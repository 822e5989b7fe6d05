//! Bounds of what other services are asked and told over HTTP.

use std::time::Duration;

/// How long the authorization service may take, waiting for a place included: players show nothing
/// meanwhile, and people reload a page after some seconds.
pub const AUTHORITY_TIMEOUT: Duration = Duration::from_secs(2);

/// Questions to it at a time. Half of them may be from one source, which may be a proxy: a stranger
/// who makes it slow leaves the other half to others.
pub const MAX_QUESTIONS: usize = 32;

/// How long its word is taken for the same question: clients that try again and again cost it one
/// question in this time, and who has lost a right has it no longer than that.
pub const VERDICT_KEPT: Duration = Duration::from_secs(5);

/// Its words that are kept, 100 bytes each; the oldest gives way.
pub const MAX_VERDICTS: usize = 4_096;

const _: () = assert!(MAX_QUESTIONS < 512, "tokio has 512 threads for what blocks");
