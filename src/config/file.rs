//! The configuration file, and how flags, variables and it come together: a flag counts before a
//! variable, that before the file, and the file before the default.
//!
//! There is one definition of an option, its flag's. The file's keys are the flags' names, and what
//! it says is put behind the flags on the command line, unless there is a flag or a variable for
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, CommandFactory, FromArgMatches};
use toml::{Table, Value};

use super::{Args, Cli};
use crate::limits::MAX_CONFIG_FILE_BYTES;

/// What is about one start and no option of the server.
const OF_ONE_START: [&str; 5] = ["config", "help", "print-config", "takeover", "version"];

/// From where on a name looks like a mistyped one (Jaro similarity): `tokn` has 0.93, and of names
/// that have nothing in common few have more than 0.7.
const LIKE: f64 = 0.75;

/// A command line, with the variables and the file behind it.
pub struct CommandLine {
    /// What it asks for.
    pub cli: Cli,
    /// Where it was read from.
    pub origin: Origin,
}

/// Where the options were read from, and what they were.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The words of the command line.
    words: Vec<OsString>,
    /// The file, if there is one.
    file: Option<PathBuf>,
    /// Every option of the server, in the order of its help.
    pub(super) options: Vec<Setting>,
}

/// What one option is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub name: String,
    /// As it would be written on the command line; `None` where it is not set.
    pub value: Option<String>,
    /// Whether its values are a list.
    pub is_list: bool,
    /// Whether it is shown to nobody.
    pub is_secret: bool,
    pub from: From,
}

/// Who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Flag,
    Variable,
    File,
    Default,
}

/// Why the options can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The command line or a variable is wrong, or asks for help.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// The file can't be used.
    #[error("--config {path}: {problem}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl CommandLine {
    /// Reads `words`, the program's name first, with the environment and the file they name.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<CommandLine, ReadError> {
        let words: Vec<OsString> = words.into_iter().collect();
        let command = command();
        let file = file_named(&words);
        let (mut all, mut by_file) = (words.clone(), BTreeSet::new());
        if let Some(path) = &file {
            let error = |problem| ReadError::File { path: path.display().to_string(), problem };
            for (name, word) in said(&command, &words, path).map_err(error)? {
                all.extend(word.map(OsString::from));
                by_file.insert(name);
            }
        }
        let matches = match command.clone().try_get_matches_from(all) {
            Ok(matches) => matches,
            // What is wrong without the file, too, is not the file's.
            Err(error) => match (&file, command.try_get_matches_from(words.clone())) {
                (Some(path), Ok(_)) => {
                    let (problem, path) = (told(&error, path), path.display().to_string());
                    return Err(ReadError::File { path, problem });
                }
                _ => return Err(error.into()),
            },
        };
        let cli = Cli::from_arg_matches(&matches)?;
        let options = settings(&matches, &by_file);
        Ok(CommandLine { cli, origin: Origin { words, file, options } })
    }
}

impl Origin {
    /// The file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The options as they are now.
    ///
    /// # Errors
    /// What is wrong with the file; also that it says nothing any more, as where a disk was full
    /// when it was written: tokens would be gone with it.
    pub fn read_again(&self) -> Result<(Args, Origin), ReadError> {
        let CommandLine { cli, origin } = CommandLine::read(self.words.clone())?;
        let says = |origin: &Origin| origin.options.iter().any(|one| one.from == From::File);
        match &origin.file {
            Some(path) if says(self) && !says(&origin) => Err(ReadError::File {
                path: path.display().to_string(),
                problem: "it says nothing any more: was the disk full when it was written?".into(),
            }),
            _ => Ok((cli.args, origin)),
        }
    }

    /// Names of the options that are others in `now` and that a running server does not change.
    #[must_use]
    pub fn need_a_restart(&self, now: &Origin) -> Vec<String> {
        let changing = changing();
        let known: BTreeMap<&str, &Option<String>> =
            self.options.iter().map(|one| (one.name.as_str(), &one.value)).collect();
        let differs = |one: &&Setting| known.get(one.name.as_str()) != Some(&&one.value);
        let others = now.options.iter().filter(differs);
        others.filter(|one| !changing.contains(&one.name)).map(|one| one.name.clone()).collect()
    }
}

/// The options that a running server changes: who may do what, from where, and who is told.
fn changing() -> BTreeSet<String> {
    let groups = super::HookArgs::augment_args(Command::new("monoport"));
    let groups = super::AccessArgs::augment_args(groups);
    groups.get_arguments().filter_map(Arg::get_long).map(str::to_owned).collect()
}

/// The commands, each option of the server with its variable.
#[must_use]
pub fn command() -> Command {
    let names = variables();
    let with_variables = |command: Command| {
        command.mut_args(|arg| {
            let known = arg.get_long().and_then(|long| names.get(long));
            let Some(variable) = known else { return arg };
            let arg = match arg.get_action() {
                ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
                _ => arg,
            };
            match arg.get_env() {
                Some(_) => arg,
                None => arg.env(*variable).hide_env(true),
            }
        })
    };
    let mut command = with_variables(Cli::command());
    for name in ["ports", "check"] {
        command = command.mut_subcommand(name, with_variables);
    }
    command
}

/// The variable of each option of the server. Made once: clap keeps names for ever.
fn variables() -> &'static BTreeMap<String, &'static str> {
    static NAMES: OnceLock<BTreeMap<String, &'static str>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let command = Args::command();
        let options = command.get_arguments().filter_map(Arg::get_long);
        let named = options.filter(|long| !OF_ONE_START.contains(long)).map(|long| {
            let name = format!("MONOPORT_{}", long.to_uppercase().replace('-', "_"));
            (long.to_owned(), &*name.leak())
        });
        named.collect()
    })
}

/// The file that `--config` names on the command line, or its variable.
fn file_named(words: &[OsString]) -> Option<PathBuf> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        let path = word.to_str().and_then(|word| word.strip_prefix("--config="));
        if let Some(path) = path {
            return Some(path.into());
        }
    }
    std::env::var_os("MONOPORT_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// What the file says: each of its options that counts, with the word for it if it takes one.
fn said(
    command: &Command,
    words: &[OsString],
    path: &Path,
) -> Result<Vec<(String, Option<String>)>, String> {
    // Commands that start no server and plan none take none of its options.
    if words.get(1).is_some_and(|word| word == "top" || word == "help") {
        return Ok(Vec::new());
    }
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_CONFIG_FILE_BYTES {
        return Err(format!("it has more than {MAX_CONFIG_FILE_BYTES} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let options = variables();
    let arg = |name: &str| command.get_arguments().find(|arg| arg.get_long() == Some(name));
    let is_given = |name: &str| {
        let flag = format!("--{name}");
        let is_flag = |word: &OsString| {
            let word = word.to_string_lossy();
            word == flag || word.strip_prefix(&flag).is_some_and(|rest| rest.starts_with('='))
        };
        let variable = arg(name).and_then(Arg::get_env).and_then(std::env::var_os);
        words.iter().any(is_flag) || variable.is_some()
    };
    let given: Vec<&Arg> =
        options.keys().filter(|name| is_given(name)).filter_map(|n| arg(n)).collect();
    let mut said = Vec::new();
    // Of several that are wrong the first one is told.
    let mut lines: Vec<_> =
        table.iter().map(|(name, value)| (line_of(&text, name), name, value)).collect();
    lines.sort_by_key(|(line, ..)| *line);
    for (line, name, value) in lines {
        let Some(arg) = arg(name).filter(|_| options.contains_key(name)) else {
            return Err(format!("line {line}: {}", unknown(name)));
        };
        let word = word(name, arg, value).map_err(|problem| format!("line {line}: {problem}"))?;
        // A flag gives way to none of the file's, also where the two exclude one another.
        let excludes = |one: &Arg, other: &Arg| {
            let excluded = command.get_arg_conflicts_with(one);
            excluded.iter().any(|excluded| excluded.get_id() == other.get_id())
        };
        if !is_given(name) && !given.iter().any(|one| excludes(one, arg) || excludes(arg, one)) {
            said.push((name.clone(), word));
        }
    }
    Ok(said)
}

/// The word of the command line that says the same as `name = value`; none for a switch that is
/// off.
fn word(name: &str, arg: &Arg, value: &Value) -> Result<Option<String>, String> {
    let single = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(is_on) => Ok(is_on.to_string()),
        _ => Err(format!("{name} takes text, a whole number, true or false, or a list of those")),
    };
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    match value {
        Value::Boolean(is_on) if is_switch => Ok(is_on.then(|| format!("--{name}"))),
        _ if is_switch => Err(format!("{name} takes true or false")),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(single).collect::<Result<_, _>>()?;
            Ok((!values.is_empty()).then(|| format!("--{name}={}", values.join(","))))
        }
        value => Ok(Some(format!("--{name}={}", single(value)?))),
    }
}

fn unknown(name: &str) -> String {
    if OF_ONE_START.contains(&name) {
        return format!("`{name}` is about one start: it goes on the command line");
    }
    let likeness = |known: &str| strsim::jaro(known, name);
    let nearest = variables().keys().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|known| likeness(known) >= LIKE) {
        Some(nearest) => format!("there is no option `{name}`; did you mean `{nearest}`?"),
        None => format!("there is no option `{name}`; monoport --help has all of them"),
    }
}

/// The line of a key, counted from 1.
fn line_of(text: &str, name: &str) -> usize {
    let is_key = |line: &str| {
        let key = line.split('=').next().unwrap_or_default();
        key.trim().trim_matches(['"', '\'', '[', ']']) == name
    };
    text.lines().position(is_key).map_or(1, |at| at + 1)
}

/// The sentence of an error, without the usage of the command line, and the line of the file at
/// `path` that it is about.
fn told(error: &clap::Error, path: &Path) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or(&text);
    let sentence = first.trim_start_matches("error: ").trim();
    let about = match error.get(ContextKind::InvalidArg) {
        // As in `--gather <N>`.
        Some(ContextValue::String(about)) => {
            about.trim_start_matches("--").split([' ', '=']).next()
        }
        _ => None,
    };
    match about.zip(std::fs::read_to_string(path).ok()) {
        Some((name, text)) => format!("line {}: {sentence}", line_of(&text, name)),
        None => sentence.to_owned(),
    }
}

/// What each option of the server is, and who said so.
fn settings(matches: &ArgMatches, by_file: &BTreeSet<String>) -> Vec<Setting> {
    // Those of a command that plans the server are its own.
    let of_command = matches.subcommand().map(|(_, matches)| matches).unwrap_or(matches);
    let command = Args::command();
    let options = command.get_arguments().filter(|arg| {
        let long = arg.get_long().unwrap_or_default();
        !long.is_empty() && !OF_ONE_START.contains(&long)
    });
    let setting = |arg: &Arg| {
        let (id, name) = (arg.get_id().as_str(), arg.get_long().unwrap_or_default());
        let source = of_command.try_contains_id(id).ok().and_then(|_| of_command.value_source(id));
        let from = match source {
            _ if by_file.contains(name) => From::File,
            Some(ValueSource::CommandLine) => From::Flag,
            Some(ValueSource::EnvVariable) => From::Variable,
            _ => From::Default,
        };
        let value = of_command.try_get_raw(id).ok().flatten().map(|values| {
            let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
            values.join(",")
        });
        // A switch on the command line has no word of its own.
        let value = match arg.get_action() {
            ArgAction::SetTrue => Some(of_command.get_flag(id).to_string()),
            _ => value,
        };
        let (is_list, is_secret) =
            (arg.get_value_delimiter().is_some(), arg.is_hide_env_values_set());
        Setting { name: name.to_owned(), value, is_list, is_secret, from }
    };
    match matches.subcommand_name() {
        Some("top" | "help") => Vec::new(),
        _ => options.map(setting).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_manual_is_read() {
        let page = include_str!("../manual/flags.md");
        let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        let path = std::env::temp_dir().join(format!("monoport-shown-{}", std::process::id()));
        std::fs::write(&path, text.expect("it shows one")).expect("the file is written");
        let words = ["monoport".into(), "--config".into(), path.clone().into_os_string()];
        let read = CommandLine::read(words);
        std::fs::remove_file(path).expect("it is there");
        let args = read.map_err(|error| error.to_string()).expect("it is right").cli.args;
        assert_eq!((args.max_sessions, args.whep_wait), (5_000, true));
    }

    #[test]
    fn every_option_of_the_server_has_a_variable_and_those_that_have_one_have_that() {
        for arg in Args::command().get_arguments() {
            let Some(long) = arg.get_long().filter(|long| !OF_ONE_START.contains(long)) else {
                continue;
            };
            let known = variables()[long];
            assert!(arg.get_env().is_none_or(|variable| variable == known), "{long}: {known}");
        }
        // Kubernetes makes such variables of a service of this name.
        for foreign in ["MONOPORT_PORT", "MONOPORT_SERVICE_HOST", "MONOPORT_SERVICE_PORT"] {
            assert!(variables().values().all(|name| *name != foreign), "{foreign}");
        }
    }
}
