//! The wire formats and what the fuzz targets demand of them.
//!
//! `src/wire` is included by path instead of depending on the server: the parsers then build under
//! the sanitizer in seconds, without the DTLS and crypto libraries.
//!
//! ```text
//! cargo install cargo-fuzz
//! cargo +nightly fuzz run --fuzz-dir tools/fuzz rtcp -- -max_total_time=60
//! ```
//!
//! Those of SDP, fragments of it and SRTP need the whole server:
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir tools/fuzz --features server offer -- -max_total_time=60
//! ```
//!
//! A corpus file is named by meaning. In `corpus/<target>/`, `ok-*` is accepted by the parser and
//! `bad-*` refused; `src/wire/corpus.rs` replays them with the stable compiler;
//! those of the hello and of the server's targets replay beside what they fuzz. `found/<target>` is
//! a part of what a run has kept, each input behind its length in two bytes; the tests read it for
//! panics alone.

#[path = "../../../src/id.rs"]
pub mod id;
#[path = "../../../src/limits/mod.rs"]
pub mod limits;
#[path = "../../../src/wire/mod.rs"]
pub mod wire;
