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

/// Of a file with certificate authorities, in bytes: all that browsers come with are 250 KB.
pub const MAX_ROOTS_FILE_BYTES: u64 = 1 << 20;

/// How long a service that is told of something may take to say that it has heard it.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// Events that are told at a time; one that is to be told again keeps its place until then.
pub const MAX_HOOKS_IN_FLIGHT: usize = 8;

/// Events that wait to be told, some 500 bytes each: those of a thousand viewers who come and go.
/// Those that find no place are counted, and nobody is told of them.
pub const HOOK_QUEUE: usize = 4_096;

/// How often an event is told before it is given up.
pub const HOOK_TRIES: u32 = 6;

/// The pause before an event is told for the second time; each after that is twice as long.
pub const HOOK_PAUSE: Duration = Duration::from_secs(1);

/// How long the end of the server waits for what is still to be told.
pub const HOOK_FLUSH: Duration = Duration::from_secs(3);
