//! A process of its own for one test: the test program again, for that test alone.

use std::process::{Command, Stdio};

/// Set, to the test's name, in the process that runs it alone.
const ALONE: &str = "MONOPORT_TEST_ALONE";

/// Whether this process runs the test `name` and no other. The name has the test's module in it, as
/// in `failures::a_peer_that_vanishes_is_told_of`.
pub fn is_alone(name: &str) -> bool {
    std::env::var(ALONE).as_deref() == Ok(name)
}

/// Runs `body` in a process where nothing else happens: what it reads of the process, as its log,
/// is its own.
pub fn alone(name: &str, body: impl FnOnce()) {
    if is_alone(name) {
        return body();
    }
    let program = std::env::current_exe().expect("this program has a path");
    run_alone(name, Command::new(program));
}

/// Runs the test `name` alone, with `program`: this one, or one that is given this one's path and
/// starts it. Fails as the test does.
pub fn run_alone(name: &str, mut program: Command) {
    let output = program
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, name)
        .stderr(Stdio::piped())
        .output()
        .expect("the test program starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("running 1 test"), "is {name} its name?\n{said}");
    eprint!("{said}");
    assert!(output.status.success(), "{name} in a process of its own, see above");
}
