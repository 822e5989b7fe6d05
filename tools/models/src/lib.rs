//! The lock-free parts of the server under loom, which runs every order in which threads may act,
//! and every value that the memory model lets them read.
//!
//! Files are included by path instead of depending on the server, as the fuzz targets do: the
//! models then build in seconds. Each file has its model at its end. The flag is our own, because
//! where the server is built `--cfg loom` takes the network out of tokio.
//!
//! ```text
//! cargo test --release --manifest-path tools/models/Cargo.toml --target-dir target/models
//! ```

#[path = "../../../src/paths/directory.rs"]
pub mod directory;
#[path = "../../../src/paths/flows.rs"]
pub mod flows;
#[path = "../../../src/limits/mod.rs"]
pub mod limits;
#[path = "../../../src/shard/sleep.rs"]
pub mod sleep;
