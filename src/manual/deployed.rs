//! What `tools/deploy` starts the server with: its flags and variables exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::shown::root;
use crate::config::command;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("tools/deploy is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// The flags a line gives the server, in whichever way its file starts one.
fn flags(line: &str) -> impl Iterator<Item = &str> {
    const STARTS: [&str; 5] = ["ExecStart=", "CMD [", "command: [", "args: [", "- --"];
    let line = line.trim();
    let is_start = STARTS.iter().any(|start| line.starts_with(start));
    let words = line.split([' ', '"', ',', '[', ']']).filter(move |_| is_start);
    words.filter_map(|word| word.strip_prefix("--"))
}

fn variables(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("MONOPORT_").map(|(at, _)| {
        let name = &line[at..];
        let end = name.find(|c: char| !c.is_ascii_uppercase() && c != '_');
        &name[..end.unwrap_or(name.len())]
    })
}

#[test]
fn what_the_server_is_deployed_with_exists() {
    let mut command = command();
    command.build();
    let known: BTreeSet<&str> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
    let environment: BTreeSet<&str> =
        command.get_arguments().filter_map(|arg| arg.get_env()?.to_str()).collect();
    let mut found = Vec::new();
    files(&root().join("tools/deploy"), &mut found);
    let mut drained = 0;
    for path in &found {
        let text = fs::read_to_string(path).expect("it is text");
        let flags_of_all: BTreeSet<&str> = text.lines().flat_map(flags).collect();
        let is_scraped = text.contains("prometheus.io/scrape");
        assert!(!is_scraped || flags_of_all.contains("metrics-open"), "{}: 403", path.display());
        for line in text.lines() {
            for flag in flags(line) {
                assert!(known.contains(flag), "{}: no flag --{flag}", path.display());
                drained += usize::from(flag == "drain-timeout");
            }
            for variable in variables(line) {
                assert!(environment.contains(variable), "{}: no {variable}", path.display());
            }
        }
    }
    let all = "the unit, the image, compose, its three nodes, Kubernetes, the cluster there, Helm";
    assert_eq!(drained, 9, "{all}: all let it drain");
}
