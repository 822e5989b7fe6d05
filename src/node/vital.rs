//! Tasks without which the server only looks alive.

use std::future::Future;

use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;

use crate::telemetry::EndsAll;

/// Runs `task` beside requests, for as long as the server runs. One that panics ends the process,
/// so that whoever supervises it starts it anew: sessions that nobody takes in when they have ended
/// keep their slots, until the server refuses everybody.
pub(super) fn spawn_vital(
    runtime: &Runtime,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    spawn_vital_on(runtime.handle(), name, task)
}

/// As [`spawn_vital`], for who has no more than a handle.
pub(super) fn spawn_vital_on(
    runtime: &Handle,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    runtime.spawn(async move {
        let _ends_all = EndsAll(name);
        task.await;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: &str = "MONOPORT_TEST_ALONE";

    #[test]
    fn housekeeping_that_panics_ends_the_process() {
        if std::env::var_os(ALONE).is_some() {
            let runtime = Runtime::new().expect("a runtime");
            let task = spawn_vital(&runtime, "taking reports", async { panic!("the impossible") });
            let _panicked = runtime.block_on(task);
            return;
        }
        let name = "node::vital::tests::housekeeping_that_panics_ends_the_process";
        let program = std::env::current_exe().expect("this program has a path");
        let output = std::process::Command::new(program)
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .expect("it starts");
        // A test that fails ends its program with 101 as well, and says so.
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("running 1 test") && !said.contains("test result"), "{said}");
        assert_eq!(output.status.code(), Some(101), "{said}");
    }
}
