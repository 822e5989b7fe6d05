//! The pages' files, compiled into the binary: there is no build step and nothing to install.

/// One file as HTTP serves it.
pub(super) struct PageFile {
    /// The path of its URL.
    pub path: &'static str,
    /// Its media type, as the header has it.
    pub content_type: &'static str,
    /// The file.
    pub body: &'static str,
}

pub(super) const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The player, alone in a window or in a frame.
pub(super) const PLAYER: &str = include_str!("player.html");

/// Every file of the pages.
pub(super) const FILES: [PageFile; 45] = [
    file("/", HTML, include_str!("home.html")),
    file("/publish", HTML, include_str!("publish.html")),
    file("/watch/{stream}", HTML, PLAYER),
    file("/style.css", CSS, include_str!("style.css")),
    file("/pages.css", CSS, include_str!("pages.css")),
    file("/player.css", CSS, include_str!("player.css")),
    file("/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    file("/monoport.d.ts", TEXT, include_str!("monoport.d.ts")),
    file("/monoport.js", JAVASCRIPT, include_str!("monoport.js")),
    file("/layers.js", JAVASCRIPT, include_str!("layers.js")),
    file("/problem.js", JAVASCRIPT, include_str!("problem.js")),
    file("/sdp.js", JAVASCRIPT, include_str!("sdp.js")),
    file("/home.js", JAVASCRIPT, include_str!("home.js")),
    file("/publish.js", JAVASCRIPT, include_str!("publish.js")),
    file("/player.js", JAVASCRIPT, include_str!("player.js")),
    file("/page.js", JAVASCRIPT, include_str!("page.js")),
    file("/programs.js", JAVASCRIPT, include_str!("programs.js")),
    file("/sources.js", JAVASCRIPT, include_str!("sources.js")),
    file("/stats.js", JAVASCRIPT, include_str!("stats.js")),
    file("/pattern.js", JAVASCRIPT, include_str!("pattern.js")),
    file("/ticker.js", JAVASCRIPT, include_str!("ticker.js")),
    file("/dashboard", HTML, include_str!("live/index.html")),
    file("/dashboard/charts.css", CSS, include_str!("live/charts.css")),
    file("/dashboard/frame.css", CSS, include_str!("live/frame.css")),
    file("/dashboard/parts.css", CSS, include_str!("live/parts.css")),
    file("/dashboard/verdict.css", CSS, include_str!("live/verdict.css")),
    file("/dashboard/acts.js", JAVASCRIPT, include_str!("live/acts.js")),
    file("/dashboard/chart.js", JAVASCRIPT, include_str!("live/chart.js")),
    file("/dashboard/detail.js", JAVASCRIPT, include_str!("live/detail.js")),
    file("/dashboard/dom.js", JAVASCRIPT, include_str!("live/dom.js")),
    file("/dashboard/feed.js", JAVASCRIPT, include_str!("live/feed.js")),
    file("/dashboard/format.js", JAVASCRIPT, include_str!("live/format.js")),
    file("/dashboard/load.js", JAVASCRIPT, include_str!("live/load.js")),
    file("/dashboard/main.js", JAVASCRIPT, include_str!("live/main.js")),
    file("/dashboard/nodes.js", JAVASCRIPT, include_str!("live/nodes.js")),
    file("/dashboard/pages.js", JAVASCRIPT, include_str!("live/pages.js")),
    file("/dashboard/quality.js", JAVASCRIPT, include_str!("live/quality.js")),
    file("/dashboard/ranks.js", JAVASCRIPT, include_str!("live/ranks.js")),
    file("/dashboard/sessions.js", JAVASCRIPT, include_str!("live/sessions.js")),
    file("/dashboard/sse.js", JAVASCRIPT, include_str!("live/sse.js")),
    file("/dashboard/streams.js", JAVASCRIPT, include_str!("live/streams.js")),
    file("/dashboard/totals.js", JAVASCRIPT, include_str!("live/totals.js")),
    file("/dashboard/trend.js", JAVASCRIPT, include_str!("live/trend.js")),
    file("/dashboard/verdict.js", JAVASCRIPT, include_str!("live/verdict.js")),
    file("/dashboard/words.js", JAVASCRIPT, include_str!("live/words.js")),
];

const fn file(path: &'static str, content_type: &'static str, body: &'static str) -> PageFile {
    PageFile { path, content_type, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drop::DropReason;
    use crate::telemetry::FailureReason;

    /// The dashboard says of each reason what it means and what to do.
    #[test]
    fn every_reason_has_its_words() {
        let words = body("/dashboard/words.js");
        let (drops, ends) = words.split_once("export const ENDS").expect("two lists");
        let explains = |list: &str, label: &str| {
            let entry = format!("\n  {label}: {{\n    title: \"");
            let (_, entry) = list.split_once(&entry)?;
            let (entry, _) = entry.split_once("\n  },")?;
            Some(entry.contains("\n    means: \"") && entry.contains("\n    remedy: \""))
        };
        for reason in DropReason::ALL {
            assert_eq!(explains(drops, reason.label()), Some(true), "{}", reason.label());
        }
        for reason in FailureReason::ALL {
            assert_eq!(explains(ends, reason.label()), Some(true), "{}", reason.label());
        }
    }

    /// The page counts as lost what the server does.
    #[test]
    fn what_is_not_lost_is_the_same_on_both_sides() {
        let (_, list) = body("/dashboard/words.js").split_once("NOT_LOST = [").expect("a list");
        let (list, _) = list.split_once(']').expect("its end");
        let mut shown: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
        let unwanted = DropReason::ALL.iter().filter(|reason| reason.is_unwanted());
        let mut unwanted: Vec<&str> = unwanted.map(|reason| reason.label()).collect();
        shown.sort_unstable();
        unwanted.sort_unstable();
        assert_eq!(shown, unwanted);
    }

    /// The dashboard's verdict has each alert's condition, but for those that a page can't see: one
    /// takes hours, and the others are of the process, its log and what it asks of other nodes.
    #[test]
    fn every_alert_is_part_of_the_verdict() {
        const ELSEWHERE: [&str; 6] = [
            "MonoportDown",
            "MonoportLogLost",
            "MonoportMemoryGrows",
            "MonoportNodesSilent",
            "MonoportPanics",
            "MonoportRestarted",
        ];
        let verdict = body("/dashboard/verdict.js");
        let alerts = include_str!("../../tools/alerts/monoport.yml");
        let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
        let mut seen = 0;
        for name in names {
            seen += 1;
            assert!(
                ELSEWHERE.contains(&name) || verdict.contains(&format!("alert: \"{name}\"")),
                "{name}"
            );
        }
        let within = verdict.matches("alert: \"Monoport").count();
        assert_eq!(within + ELSEWHERE.len(), seen, "each rule has its alert");
    }

    /// What a file loads from the server is there, and nothing is loaded from elsewhere. All of it
    /// is named relatively: a proxy may have put the server under a path.
    #[test]
    fn files_name_files_that_exist() {
        for file in &FILES {
            for before in ["from \"", "src=\"", "rel=\"stylesheet\" href=\"", "new URL(\"./"] {
                for (at, _) in file.body.match_indices(before) {
                    let named = file.body[at + before.len()..].split('"').next().unwrap_or("");
                    let at_root = named.starts_with('/') || named.starts_with("http");
                    assert!(!at_root || named.contains("example.org"), "{}: {named}", file.path);
                    let path = resolved(file.path, named);
                    let is_there = FILES.iter().any(|other| other.path == path);
                    assert!(is_there || at_root, "{}: {named} is {path}", file.path);
                }
            }
            for load in [
                "src=\"http",
                "import(\"http",
                "url(",
                "fetch(\"",
                "href=\"/",
                "Worker(\"",
                "@import",
            ] {
                assert!(!file.body.contains(load), "{}: {load}", file.path);
            }
        }
    }

    /// Where a relative reference of the file at `base` leads (RFC 3986 §5.2).
    fn resolved(base: &str, reference: &str) -> String {
        let mut parts: Vec<&str> = base.split('/').collect();
        parts.pop();
        for part in reference.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        parts.join("/")
    }

    fn body(path: &str) -> &'static str {
        FILES.iter().find(|file| file.path == path).expect("the file is served").body
    }
}
