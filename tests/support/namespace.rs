//! A network namespace for one test: its own interfaces, addresses and firewall, and no way out.

use std::process::{Command, Stdio};

use super::alone::{is_alone, run_alone};

/// Runs `body` in a new network namespace that `commands` have prepared, in a process of its own:
/// that of [`run_alone`]. Says so and passes over it where that is not allowed or a command is not
/// there.
pub fn in_namespace(name: &str, commands: &[&str], body: impl FnOnce()) {
    if is_alone(name) {
        match commands.iter().find(|command| !run(command)) {
            Some(command) => eprintln!("{name} is not tested: `{command}` fails here"),
            None => body(),
        }
        return;
    }
    // With a user namespace around it, nobody need be root; some hosts forbid that.
    let ways: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
    let Some(way) = ways.into_iter().find(|way| unshare(way).arg("true").status().is_ok_and(ok))
    else {
        eprintln!("{name} is not tested: network namespaces are not allowed here");
        return;
    };
    let mut inside = unshare(way);
    inside.arg(std::env::current_exe().expect("this program has a path"));
    run_alone(name, inside);
}

/// Runs a command of words without spaces; whether it succeeded.
pub fn run(command: &str) -> bool {
    let mut words = command.split(' ');
    let program = words.next().expect("a command has a first word");
    Command::new(program).args(words).stderr(Stdio::null()).status().is_ok_and(ok)
}

fn unshare(way: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(way).stderr(Stdio::null());
    command
}

fn ok(status: std::process::ExitStatus) -> bool {
    status.success()
}
