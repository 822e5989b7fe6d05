//! The rules of the architecture, checked: what may depend on what, and how a file looks.
//!
//! The tables below are the rules; change them in the commit that has a reason to. Comments and
//! string contents are blanked before anything is looked for, so prose may say what code may not.

use std::fs;

use source::{root, sources};

#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/source.rs"]
mod source;

/// What each module of `src/` may name besides itself and the [`LEAVES`]. Read downwards, every
/// edge points down: `main → node → api → {control, whip}; whip → {control, hooks}; control
/// ─Command→ shard → {net
/// paths session ingest egress track} → media, srtp, wire`. The six in braces never name one
/// another: `shard` composes them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["check", "config", "cpu", "manual", "node", "top"]),
    // `monoport check` tries what the node would use, and reads what sessions answer.
    ("check", &["access", "config", "net", "session"]),
    // `monoport top` is a client: it knows the server by its API alone.
    ("top", &["access"]),
    ("lib", &[]),
    // Text. Its tests hold it against the real flags.
    ("manual", &["config"]),
    // The composition root: opens sockets, starts shards and HTTP, drains in order.
    (
        "node",
        &[
            "access",
            "api",
            "cluster",
            "config",
            "control",
            "cpu",
            "dashboard",
            "hooks",
            "net",
            "paths",
            "session",
            "shard",
            "srtp",
            "whip",
            "wire",
        ],
    ),
    // Reads what the control side and the shards keep; nobody below knows of it.
    ("api", &["access", "cluster", "control", "shard", "track", "whip"]),
    // Who may do what: HTTP asks, it answers.
    ("access", &[]),
    // HTTP, turned into the verbs of `control`; another protocol would stand beside it.
    ("whip", &["access", "cluster", "control", "hooks"]),
    // What nodes ask one another: signed, within bounds. One tries another as `check` does.
    ("cluster", &["check", "control", "link"]),
    // Other services, asked about who may, and told what control has seen happen.
    ("hooks", &["access", "control"]),
    // SDP is answered and an `Rtc` built on the control threads, hence `session`.
    ("control", &["link", "session", "shard", "track"]),
    ("dashboard", &[]),
    (
        "shard",
        &[
            "cpu", "egress", "ingest", "link", "media", "net", "paths", "session", "srtp", "track",
            "wire",
        ],
    ),
    // A stream between two nodes, sans-IO.
    ("link", &["media", "srtp", "wire"]),
    ("net", &["wire"]),
    ("paths", &["net", "wire"]),
    ("session", &["media", "srtp", "wire"]),
    ("ingest", &["media", "srtp", "wire"]),
    ("egress", &["media", "srtp", "wire"]),
    // A viewer's egress lies in the order of fan-out, and a packet says where it goes. Tests make
    // viewers with keys.
    ("track", &["egress", "media", "net", "srtp"]),
    ("media", &["wire"]),
    ("srtp", &["wire"]),
    ("wire", &[]),
    // Keys are read once, into what decides by them.
    ("config", &["access"]),
    // Pinning and thread times are system calls, and those live in `net`.
    ("cpu", &["net"]),
    ("telemetry", &[]),
    ("drop", &[]),
    ("id", &[]),
    ("limits", &[]),
];

/// Modules that anyone may name and that name only one another.
const LEAVES: &[&str] = &["drop", "id", "limits", "telemetry"];

/// Where `unsafe` may stand: the system calls of the server.
const UNSAFE_FOLDER: &str = "src/net/";
/// The load tool may keep its own system calls, in one file.
const UNSAFE_FILE_FOLDER: &str = "tools/load/";
/// Single files beside these, each for a reason of its own.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("tests/alloc.rs", "an allocator that counts: `GlobalAlloc` is an unsafe trait"),
    ("tests/server/ready/thread.rs", "one thread is stopped and the others go on: ptrace(2)"),
];

/// What stands at the top of the repository, besides dotfiles and the build folder.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "src",
    "tests",
    "tools",
];

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_LINE_CHARS: usize = 100;

/// Code that says "later", or a test that is left out and does not say why.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore]"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"];

#[test]
fn modules_depend_only_downwards() {
    let mut faults = Vec::new();
    for file in sources().iter().filter(|file| file.path.starts_with("src/")) {
        let module = file.module();
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            faults.push(format!("{}: give module `{module}` a row in MAY_USE", file.path));
            continue;
        };
        for (line, named) in file.modules_named() {
            let known = MAY_USE.iter().any(|(name, _)| *name == named);
            if known && named != module && !allowed.contains(&&*named) && !leaf(&named) {
                faults.push(format!(
                    "{}:{line}: `{module}` must not name `{named}`; let a module above both pass \
                     the value, or move the type to where both may see it",
                    file.path
                ));
            }
        }
        for (line, text) in file.code.lines().enumerate() {
            if text.contains("super::super::") {
                faults.push(format!(
                    "{}:{}: write `crate::…` instead, so that the edge can be seen",
                    file.path,
                    line + 1
                ));
            }
        }
    }
    report(&faults);
}

#[test]
fn edges_of_the_table_make_no_circle() {
    let mut settled: Vec<&str> = Vec::new();
    let mut open: Vec<_> = MAY_USE.to_vec();
    while !open.is_empty() {
        let before = open.len();
        open.retain(|(name, uses)| {
            let ready = uses.iter().all(|used| settled.contains(used));
            if ready {
                settled.push(name);
            }
            !ready
        });
        assert!(open.len() < before, "MAY_USE has a circle among {open:?}: turn an edge round");
    }
}

/// What a thing can do is looked for beside it: in its file, or in its folder.
#[test]
fn methods_stand_in_the_file_or_folder_of_their_thing() {
    let files = sources();
    let folder = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("src/")) {
        for (name, _body) in file.inherent_impls() {
            let defines = |other: &&source::Source| {
                let defined = ["struct", "enum"].iter().any(|word| {
                    other.code.match_indices(&format!("{word} {name}")).any(|(at, found)| {
                        let next = other.code[at + found.len()..].chars().next();
                        !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
                    })
                });
                // What stands at the top has the file of its name and the folder of its name.
                let home = folder(&other.path);
                let within = format!("{}/", file.path).starts_with(&format!("{home}/"));
                let stem = other.path.trim_end_matches(".rs");
                let own = file.path.starts_with(&format!("{stem}/")) || other.path == file.path;
                defined && (own || (home != "src" && within))
            };
            let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            if is_name && !files.iter().any(|other| defines(&other)) {
                faults.push(format!(
                    "{}: `impl {name}` stands apart from `{name}`; move it there, or make it a \
                     function",
                    file.path
                ));
            }
        }
    }
    report(&faults);
}

/// A thing whose methods stand in several files is read file by file: so these call one another in
/// one direction.
#[test]
fn files_of_one_thing_call_one_another_in_one_direction() {
    let files = sources();
    let mut faults = Vec::new();
    let mut things: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("src/")) {
        for (name, body) in file.inherent_impls() {
            let place = (file.path.clone(), body);
            let thing = format!("{} {name}", file.module());
            match things.iter_mut().find(|(known, _)| *known == thing) {
                Some((_, places)) => places.push(place),
                None => things.push((thing, vec![place])),
            }
        }
    }
    for (thing, places) in things {
        let methods = |body: &str| -> Vec<String> {
            let after = body.split("fn ").skip(1);
            after.filter_map(|rest| rest.split(['(', '<']).next().map(str::to_owned)).collect()
        };
        let mut calls: Vec<(&str, &str)> = Vec::new();
        for (from, body) in &places {
            for (to, other) in places.iter().filter(|(to, _)| to != from) {
                let called = methods(other).into_iter();
                if called.into_iter().any(|name| body.contains(&format!("self.{name}("))) {
                    calls.push((from, to));
                }
            }
        }
        // Whoever calls nobody that is left is at the bottom, and is taken away.
        let mut left: Vec<&str> = places.iter().map(|(path, _)| path.as_str()).collect();
        left.dedup();
        loop {
            let before = left.len();
            let calls_somebody =
                |path: &str| calls.iter().any(|(from, to)| *from == path && left.contains(to));
            left = left.iter().copied().filter(|path| calls_somebody(path)).collect();
            if left.len() == before {
                break;
            }
        }
        if !left.is_empty() {
            faults.push(format!("{thing}: these call one another in a circle: {left:?}"));
        }
    }
    report(&faults);
}

#[test]
fn files_functions_and_lines_stay_short() {
    let mut faults = Vec::new();
    for file in sources() {
        let lines = file.text.lines().count();
        if lines > MAX_FILE_LINES {
            faults.push(format!(
                "{}: {lines} lines; split it by direction or by decision, or give the tests a file \
                 of their own",
                file.path
            ));
        }
        for (line, text) in file.text.lines().enumerate() {
            let chars = text.chars().count();
            if chars > MAX_LINE_CHARS {
                faults.push(format!("{}:{}: {chars} characters; wrap it", file.path, line + 1));
            }
        }
        for (line, length) in file.functions() {
            if length > MAX_FUNCTION_LINES {
                faults.push(format!(
                    "{}:{line}: a function of {length} lines; name its phases as functions",
                    file.path
                ));
            }
        }
    }
    report(&faults);
}

#[test]
fn every_module_begins_with_what_it_is_for() {
    let faults: Vec<String> = sources()
        .iter()
        .filter(|file| !file.text.starts_with("//!"))
        .map(|file| format!("{}: begin with a `//!` sentence on what it is for", file.path))
        .collect();
    report(&faults);
}

#[test]
fn unsafe_stays_at_the_kernel_boundary() {
    let mut faults = Vec::new();
    let mut tool: Option<String> = None;
    for file in sources() {
        let Some(line) = file.line_of_word("unsafe") else { continue };
        let excepted = UNSAFE_FILES.iter().any(|(path, _reason)| *path == file.path);
        if file.path.starts_with(UNSAFE_FOLDER) || excepted {
            continue;
        }
        if file.path.starts_with(UNSAFE_FILE_FOLDER) && tool.is_none() {
            tool = Some(file.path);
            continue;
        }
        let place = tool.as_deref().filter(|_| file.path.starts_with(UNSAFE_FILE_FOLDER));
        faults.push(format!(
            "{}:{line}: move the system call to {}",
            file.path,
            place.unwrap_or(UNSAFE_FOLDER)
        ));
    }
    report(&faults);
}

/// A counter nobody counts up, or a reason nobody gives, reads as zero where nothing was looked at.
#[test]
fn every_counter_and_every_drop_reason_is_used() {
    let files = sources();
    let mut faults = Vec::new();
    let mut check = |path: &str, declared: fn(&str) -> Option<&str>, prefix: &str| {
        let declaring = files.iter().find(|file| file.path == path).expect("the file is there");
        let names: Vec<&str> = declaring.text.lines().filter_map(declared).collect();
        assert!(names.len() > 5, "{path}: the declarations look different now; read them anew");
        for name in names {
            let word = format!("{prefix}{name}");
            let names_it = |code: &str| {
                code.match_indices(&word).any(|(at, _)| {
                    let next = code[at + word.len()..].chars().next();
                    !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
                })
            };
            let others = files.iter().filter(|file| file.path != path);
            if !others.filter(|file| file.path.starts_with("src/")).any(|f| names_it(&f.code)) {
                faults.push(format!("{path}: nothing in src uses `{name}`; use it or take it out"));
            }
        }
    };
    check("src/telemetry/counters.rs", declared_counter, ".");
    check("src/telemetry/port.rs", declared_counter, ".");
    check("src/telemetry/meters.rs", declared_histogram, ".");
    check("src/drop.rs", declared_reason, "DropReason::");
    report(&faults);
}

/// The name in a line `name: Counter, "help";`.
fn declared_counter(line: &str) -> Option<&str> {
    let (name, kind) = line.strip_prefix("    ")?.split_once(": ")?;
    let is_kind = kind.starts_with("Counter,") || kind.starts_with("Gauge,");
    (is_kind && !name.contains(' ')).then_some(name)
}

/// The name in a line `name: "metric" [labels] Unit, …`.
fn declared_histogram(line: &str) -> Option<&str> {
    let (name, metric) = line.strip_prefix("    ")?.split_once(": \"")?;
    (metric.contains("\" [") && !name.contains(' ')).then_some(name)
}

/// The name in a line `Name = "label",`.
fn declared_reason(line: &str) -> Option<&str> {
    let (name, label) = line.strip_prefix("    ")?.split_once(" = ")?;
    let is_name = name.starts_with(char::is_uppercase) && !name.contains(' ');
    (is_name && label.starts_with('"')).then_some(name)
}

#[test]
fn nothing_is_left_unfinished() {
    let mut faults = Vec::new();
    for file in sources() {
        for (line, text) in file.code.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|word| text.contains(**word)) {
                faults.push(format!(
                    "{}:{}: `{word}`: finish it or take it out",
                    file.path,
                    line + 1
                ));
            }
        }
    }
    report(&faults);
}

#[test]
fn names_say_what_is_inside() {
    let mut faults = Vec::new();
    for file in sources() {
        let parts = file.path.trim_end_matches(".rs").split('/');
        for name in parts.filter(|part| EMPTY_NAMES.contains(part)) {
            faults.push(format!("{}: `{name}` names nothing; say what it does", file.path));
        }
    }
    report(&faults);
}

#[test]
fn the_top_level_is_fixed() {
    let mut found: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    found.sort();
    assert_eq!(
        found, TOP_LEVEL,
        "left: what is there; right: what belongs there. Put new things \
        into one of the folders"
    );
}

fn leaf(module: &str) -> bool {
    LEAVES.contains(&module)
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
