//! How the server is used. `monoport help TOPIC` prints the same pages.
//!
#![doc = links!()]
//!
#![doc = include_str!("../../README.md")]

#[cfg(test)]
mod deployed;
mod render;
#[cfg(test)]
mod shown;
#[cfg(test)]
mod tests;

use std::fmt::Write;

/// Where the pages' links lead in rustdoc. Each page names the same labels at its end, with files
/// for a reader on a forge; what is defined first counts (CommonMark 0.31 §4.7).
macro_rules! links {
    () => {
        "[adapt]: crate::manual::adapt
[api]: crate::manual::api
[architecture]: crate
[check]: crate::manual::check
[clients]: crate::manual::clients
[cluster]: crate::manual::cluster
[deploy]: crate::manual::deploy
[flags]: crate::manual::flags
[limits]: crate::manual::limits
[measure]: crate::manual::measure
[network]: crate::manual::network
[observe]: crate::manual::observe
[player]: crate::manual::player
[ports]: crate::manual::ports
[promises]: crate::manual::promises
[recipes]: crate::manual::recipes
[security]: crate::manual::security
[shards]: crate::manual::shards
"
    };
}
use links;

/// Makes of each page a topic for the terminal and a module for rustdoc.
macro_rules! topics {
    ($($name:ident [$($command:literal)?] $about:literal;)*) => {
        /// Every topic, in the order of the README.
        pub static TOPICS: &[Topic] = &[$(Topic {
            name: stringify!($name),
            about: $about,
            command: [$($command,)? ""][0],
            text: include_str!(concat!(stringify!($name), ".md")),
        },)*];
        $(
            #[doc = $about]
            #[doc = ""]
            #[doc = links!()]
            #[doc = ""]
            #[doc = include_str!(concat!(stringify!($name), ".md"))]
            pub mod $name {}
        )*
    };
}

topics! {
    flags [] "Every flag and command.";
    recipes [] "OBS, GStreamer, ffmpeg, a page of your own, other machines.";
    clients [] "Which clients were tried, with loss and addresses that change.";
    adapt [] "What a viewer's path carries, and what is done with it.";
    player [] "The pages, a player to embed, the module for pages of your own.";
    deploy [] "systemd, containers, Kubernetes, proxies; stopping and upgrading.";
    cluster [] "Several nodes: any of them takes any request.";
    network [] "What answers name, NAT, firewalls, TURN.";
    ports ["ports"] "More ports and fewer, opened while the server runs, a port per session.";
    check ["check"] "Is this host fit, and can the server be reached?";
    shards [] "The packet's path, where sessions go, steering.";
    observe ["top"] "Dashboard, `monoport top`, metrics, alerts, probes, log.";
    api [] "What the server is doing, as JSON; why a session failed.";
    measure [] "The load tool.";
    promises [] "What was measured, and how to repeat it.";
    security [] "What is authenticated when, defaults, what is not defended.";
    limits [] "What it does not do.";
}

/// A page of the manual.
#[derive(Debug)]
pub struct Topic {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// The command of `monoport` it explains; empty when it explains none.
    pub command: &'static str,
    /// Its text, in Markdown.
    pub text: &'static str,
}

/// Nobody wrote about this.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the manual has no topic `{asked}`; the nearest is `monoport help {nearest}`, and `monoport \
     help` lists all"
)]
pub struct UnknownTopic {
    /// What was asked for.
    pub asked: String,
    /// The topic whose name is most like it.
    pub nearest: &'static str,
}

impl Topic {
    /// The page for a terminal, 100 columns wide.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::new();
        if !self.command.is_empty() {
            let _ =
                writeln!(page, "`monoport {} --help` lists the command's flags.\n", self.command);
        }
        let rendered = render::page(self.text);
        page.push_str(&rendered.text);
        let others = rendered.topics.iter().filter(|name| **name != self.name);
        let others: Vec<&str> = others.copied().collect();
        if !others.is_empty() {
            let _ = write!(page, "\nSee also: {}.\n", others.join(", "));
        }
        page
    }
}

/// The topic of this name, or the one about the command of this name.
///
/// # Errors
/// [`UnknownTopic`] with the nearest one.
pub fn topic(asked: &str) -> Result<&'static Topic, UnknownTopic> {
    let wanted = asked.to_lowercase();
    let found = TOPICS.iter().find(|topic| topic.name == wanted);
    let found = found.or_else(|| TOPICS.iter().find(|topic| topic.command == wanted));
    if let Some(topic) = found.filter(|_| !wanted.is_empty()) {
        return Ok(topic);
    }
    let distance = |topic: &&Topic| strsim::damerau_levenshtein(topic.name, &wanted);
    let nearest = TOPICS.iter().min_by_key(distance).expect("there are topics").name;
    Err(UnknownTopic { asked: asked.to_owned(), nearest })
}

/// The list of topics.
#[must_use]
pub fn contents() -> String {
    let mut text = String::from("The manual. `monoport help TOPIC` shows one of:\n\n");
    for topic in TOPICS {
        let _ = writeln!(text, "  {:<10} {}", topic.name, topic.about);
    }
    text.push_str("\n`monoport --help` lists the flags of the server, and its commands.\n");
    text
}
