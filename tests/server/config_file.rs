//! The configuration file, beside flags and variables, and what of it changes while the server
//! runs.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::process::Process;
use crate::support::{eventually, request};

/// A file that is gone in the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path =
            std::env::temp_dir().join(format!("monoport-{name}-{}.toml", std::process::id()));
        std::fs::write(&path, text).expect("the file is written");
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn monoport(flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monoport"));
    command.args(flags).env_remove("MONOPORT_TOKEN").envs(variables.iter().copied());
    command.output().expect("the binary runs")
}

/// What the options come to.
fn printed(flags: &[&str], variables: &[(&str, &str)]) -> String {
    let output = monoport(&[flags, &["--print-config"]].concat(), variables);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("text")
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|one| one == line)
}

#[test]
fn a_flag_counts_before_a_variable_before_the_file_before_the_default() {
    let text = "max-sessions = 100\ngather = 5\nbatch = 32\ndeny = [\"192.0.2.0/24\", \"::1\"]\n\
                no-tcp = true\ntoken = \"hidden\"\n";
    let file = File::new("order", text);
    let (flags, variables) =
        (["--config", file.path(), "--max-sessions", "7"], ["MONOPORT_GATHER"]);
    let given = [(variables[0], "6"), ("MONOPORT_MAX_SESSIONS", "8"), ("MONOPORT_WHEP_WAIT", "1")];
    let text = printed(&flags, &given);
    for line in [
        "max-sessions = 7 # flag",
        "gather = 6 # environment",
        "whep-wait = true # environment",
        "batch = 32 # file",
        "deny = [\"192.0.2.0/24\", \"::1\"] # file",
        "no-tcp = true # file",
        "train-us = 5000 # default",
        "# shards is not set",
        "# token is set and not shown # file",
    ] {
        assert!(has_line(&text, line), "{line}: {text}");
    }
    assert!(!text.contains("hidden"), "{text}");
    let by_variable = printed(&[], &[("MONOPORT_CONFIG", file.path())]);
    assert!(has_line(&by_variable, "max-sessions = 100 # file"), "{by_variable}");

    // What is printed is a file that says the same.
    let again = File::new("again", &text);
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split(" # ").next().unwrap_or_default().to_owned()).collect()
    };
    let read = printed(&["--config", again.path()], &[]);
    assert_eq!(values(&read), values(&text));
}

#[test]
fn a_flag_takes_the_place_of_what_it_excludes_in_the_file() {
    let file = File::new("excludes", "udp-port = \"7000-7003\"\nannounce = [\"192.0.2.1\"]\n");
    let flags = ["--config", file.path(), "--port-range", "50000-50010"];
    let text = printed(&flags, &[]);
    assert!(has_line(&text, "port-range = \"50000-50010\" # flag"), "{text}");
    assert!(has_line(&text, "# udp-port is not set"), "{text}");
    assert!(has_line(&text, "announce = [\"192.0.2.1\"] # file"), "{text}");
    // The commands that plan a server take it too.
    let plan = monoport(&["ports", "--config", file.path(), "--no-tcp"], &[]);
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(plan.contains("udp 7003 media") && plan.contains("192.0.2.1:7003"), "{plan}");
}

#[test]
fn what_is_wrong_in_the_file_is_told_with_its_line_and_the_nearest_name() {
    for (text, words) in [
        ("gather = 5\nmax-session = 1\n", "line 2: there is no option `max-session`; did you mean"),
        ("max_sessions = 1\n", "did you mean `max-sessions`?"),
        ("takeover = true\n", "line 1: `takeover` is about one start: it goes on the command line"),
        ("\ntokn = 1\naardvark = 1\n", "line 2: there is no option `tokn`; did you mean `token`?"),
        ("[section]\n", "line 1: there is no option `section`; monoport --help has all of them"),
        ("\nno-tcp = \"yes\"\n", "line 2: no-tcp takes true or false"),
        ("gather = 1.5\n", "line 1: gather takes text, a whole number"),
        ("shards = 1\ngather = \"many\"\n", "line 2: invalid value 'many' for '--gather"),
        ("[http]\naddress = 1\n", "line 1: http takes text"),
        ("gather 5\n", "line 1"),
        ("udp-port = 1\nport-range = \"2-3\"\n", "cannot be used with"),
        (
            "http = 7\n",
            "line 1: invalid value '7' for '--http <ADDR:PORT>': a port needs an address",
        ),
    ] {
        let file = File::new("wrong", text);
        let output = monoport(&["--config", file.path(), "--print-config"], &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{text}");
        assert!(said.contains(words), "{text}: {said}");
        assert!(said.contains(file.path()), "it says which file: {said}");
    }
    let gone = monoport(&["--config", "/nowhere/monoport.toml"], &[]);
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(!gone.status.success() && said.contains("/nowhere/monoport.toml"), "{said}");
}

#[test]
fn a_file_that_changes_is_taken_as_far_as_a_running_server_changes_and_the_rest_is_said() {
    let file = File::new("reload", "token = \"first\"\nmax-sessions = 100\n");
    let server = Process::start(&["--shards", "1", "--config", file.path()]);
    let status =
        |token: &str| request("GET", &format!("{}/live?token={token}", server.url), &[], "").status;
    assert_eq!((status("first"), status("second")), (200, 401));
    let put = |text: &str| std::fs::write(&file.0, text).expect("the file is written");
    put("token = \"second\"\nmax-sessions = 200\n");
    server.signal("-HUP");
    eventually("the new token counts", || status("second") == 200);
    // A broken one changes nothing, and one that is whole again is taken without a signal.
    put("token = \"third\"\nmax-sesions = 1\n");
    server.signal("-HUP");
    eventually("it is refused", || server.log().contains("did you mean `max-sessions`?"));
    assert_eq!((status("second"), status("third")), (200, 401));
    // Nor does an empty one, which is what a full disk leaves.
    put("");
    server.signal("-HUP");
    eventually("it is refused", || server.log().contains("it says nothing any more"));
    assert_eq!(status("second"), 200);
    put("token = \"third\"\nmax-sessions = 200\ndeny = [\"192.0.2.0/24\"]\n");
    eventually("it is looked at", || status("third") == 200);
    let log = server.stop();
    assert!(log.contains("max-sessions counts from the next start on"), "{log}");
}
