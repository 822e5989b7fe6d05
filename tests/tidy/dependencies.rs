//! What the server is made of: licences, sources and double versions, held against `.deny.toml` as
//! `cargo deny` does, for machines that have neither that nor a network.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::report;
use crate::source::root;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What the licences are that packages have as a text alone; `cargo deny` compares the text.
const OF_TEXTS: &[(&str, &str)] = &[("goog_cc", "BSD-3-Clause")];

/// One package of the tree.
struct Package {
    name: String,
    version: String,
    licence: String,
    source: Option<String>,
}

/// Everything that is built here and for the tests, as `Cargo.lock` has it.
fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &host()])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let packages = metadata["packages"].as_array().expect("a list").iter().map(|package| Package {
        name: text(&package["name"]).expect("it has a name"),
        version: text(&package["version"]).expect("it has a version"),
        licence: text(&package["license"]).unwrap_or_else(|| of_text(package)),
        source: text(&package["source"]),
    });
    packages.collect()
}

/// Names and versions of what is compiled for here: a package may be locked, and yet no feature
/// that is on asks for it. What only features ask for that are off need not have been fetched.
fn built() -> BTreeSet<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none"])
        .args(["--edges", "normal,build,dev", "--format", "{p}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let package = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let (name, version) = (words.next()?, words.next()?);
        Some((name, version.strip_prefix('v')?.to_owned()))
    };
    text.lines().filter_map(package).collect()
}

/// The licence of a package that names a file and no licence.
fn of_text(package: &Value) -> String {
    let found = OF_TEXTS.iter().find(|(name, _)| package["name"] == *name);
    let licence = found.filter(|_| package["license_file"].is_string());
    licence.map_or_else(String::new, |(_, licence)| (*licence).to_owned())
}

/// Whom this is built for: packages for others need not be here.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("it says").to_owned()
}

fn rules() -> toml::Table {
    let text = std::fs::read_to_string(root().join(".deny.toml")).expect("it is there");
    text.parse().expect("TOML")
}

#[test]
fn licences_ask_for_no_more_than_a_notice() {
    let rules = rules();
    let allowed: BTreeSet<&str> = rules["licenses"]["allow"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(toml::Value::as_str)
        .collect();
    let packages = packages();
    let faults: Vec<String> = packages
        .iter()
        .filter(|package| !is_allowed(&package.licence, &allowed))
        .map(|Package { name, version, licence, .. }| format!("{name} {version}: `{licence}`"))
        .collect();
    report(&faults);
    for used in allowed {
        let uses = |package: &Package| package.licence.contains(used);
        assert!(packages.iter().any(uses), "nothing has the licence {used} any more");
    }
}

#[test]
fn everything_comes_from_the_registry() {
    let others = packages().into_iter().filter(|package| {
        package.name != "monoport" && package.source.as_deref() != Some(REGISTRY)
    });
    let faults: Vec<String> =
        others.map(|package| format!("{}: {:?}", package.name, package.source)).collect();
    report(&faults);
}

#[test]
fn no_package_is_there_twice_without_a_reason() {
    let mut versions = BTreeMap::<String, BTreeSet<Vec<u64>>>::new();
    for (name, version) in built() {
        let numbers = version.split(['.', '-', '+']);
        let version = numbers.map(|number| number.parse().unwrap_or(0)).collect();
        versions.entry(name).or_default().insert(version);
    }
    let mut older = BTreeSet::new();
    for (name, mut versions) in versions {
        versions.pop_last();
        let dotted =
            |version: &Vec<u64>| version.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
        older.extend(versions.iter().map(|version| format!("{name}@{}", dotted(version))));
    }
    let rules = rules();
    let excepted: BTreeSet<String> = rules["bans"]["skip"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|skipped| {
            let reason = skipped["reason"].as_str().unwrap_or_default();
            let name = skipped["crate"].as_str().expect("its name and version");
            assert!(!reason.is_empty(), "{name}: why?");
            name.to_owned()
        })
        .collect();
    let new = older.difference(&excepted).map(|name| format!("{name} is there twice"));
    let gone = excepted.difference(&older).map(|name| format!("{name} needs no exception"));
    report(&new.chain(gone).collect::<Vec<_>>());
}

/// Whether an SPDX expression leaves a choice of what is allowed.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    // `/` is how it was written before expressions.
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    any_of(&mut rest, allowed) && rest.is_empty()
}

fn any_of(words: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut is_allowed = all_of(words, allowed);
    while let ["OR", rest @ ..] = words {
        *words = rest;
        // Each alternative is read, also where one has been found.
        is_allowed |= all_of(words, allowed);
    }
    is_allowed
}

fn all_of(words: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut is_allowed = one(words, allowed);
    while let ["AND", rest @ ..] = words {
        *words = rest;
        is_allowed &= one(words, allowed);
    }
    is_allowed
}

fn one(words: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let is_allowed = any_of(words, allowed);
            let [")", rest @ ..] = *words else { return false };
            *words = rest;
            is_allowed
        }
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(format!("{licence} WITH {exception}").as_str())
        }
        [licence, rest @ ..] => {
            *words = rest;
            allowed.contains(licence)
        }
        [] => false,
    }
}

#[test]
fn licences_are_read_as_expressions() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    for taken in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "ISC AND (GPL-3.0 OR MIT)",
        "Apache-2.0 WITH LLVM-exception AND MIT",
    ] {
        assert!(is_allowed(taken, &allowed), "{taken}");
    }
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "ISC AND (GPL-3.0)"] {
        assert!(!is_allowed(refused, &allowed), "{refused}");
    }
}
