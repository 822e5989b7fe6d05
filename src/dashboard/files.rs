//! The pages' files, compiled into the binary: there is no build step and nothing to install.

/// One file as HTTP serves it.
pub struct PageFile {
    /// The path of its URL.
    pub path: &'static str,
    /// Its media type, as the header has it.
    pub content_type: &'static str,
    /// The file.
    pub body: &'static str,
}

/// What the page may do, as a `Content-Security-Policy`: load its own files and talk to its own
/// server, nothing else. There is no inline script and no inline style to allow.
pub const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Every file of the page at `/` and of the dashboard.
pub const FILES: [PageFile; 29] = [
    file("/", HTML, include_str!("index.html")),
    file("/style.css", CSS, include_str!("style.css")),
    file("/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    file("/app.js", JAVASCRIPT, include_str!("app.js")),
    file("/session.js", JAVASCRIPT, include_str!("session.js")),
    file("/stats.js", JAVASCRIPT, include_str!("stats.js")),
    file("/pattern.js", JAVASCRIPT, include_str!("pattern.js")),
    file("/ticker.js", JAVASCRIPT, include_str!("ticker.js")),
    file("/dashboard", HTML, include_str!("live/index.html")),
    // The same for who types a slash behind it; all it names begins at the root.
    file("/dashboard/", HTML, include_str!("live/index.html")),
    file("/dashboard/charts.css", CSS, include_str!("live/charts.css")),
    file("/dashboard/frame.css", CSS, include_str!("live/frame.css")),
    file("/dashboard/parts.css", CSS, include_str!("live/parts.css")),
    file("/dashboard/chart.js", JAVASCRIPT, include_str!("live/chart.js")),
    file("/dashboard/detail.js", JAVASCRIPT, include_str!("live/detail.js")),
    file("/dashboard/dom.js", JAVASCRIPT, include_str!("live/dom.js")),
    file("/dashboard/feed.js", JAVASCRIPT, include_str!("live/feed.js")),
    file("/dashboard/format.js", JAVASCRIPT, include_str!("live/format.js")),
    file("/dashboard/load.js", JAVASCRIPT, include_str!("live/load.js")),
    file("/dashboard/main.js", JAVASCRIPT, include_str!("live/main.js")),
    file("/dashboard/pages.js", JAVASCRIPT, include_str!("live/pages.js")),
    file("/dashboard/quality.js", JAVASCRIPT, include_str!("live/quality.js")),
    file("/dashboard/ranks.js", JAVASCRIPT, include_str!("live/ranks.js")),
    file("/dashboard/sessions.js", JAVASCRIPT, include_str!("live/sessions.js")),
    file("/dashboard/sse.js", JAVASCRIPT, include_str!("live/sse.js")),
    file("/dashboard/streams.js", JAVASCRIPT, include_str!("live/streams.js")),
    file("/dashboard/totals.js", JAVASCRIPT, include_str!("live/totals.js")),
    file("/dashboard/trend.js", JAVASCRIPT, include_str!("live/trend.js")),
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

    /// What a file loads from the server is there, and nothing is loaded from elsewhere.
    #[test]
    fn files_name_files_that_exist() {
        for file in &FILES {
            for before in ["from \"", "src=\"", "link rel=\"stylesheet\" href=\""] {
                for (at, _) in file.body.match_indices(before) {
                    let path = file.body[at + before.len()..].split('"').next().unwrap_or("");
                    assert!(FILES.iter().any(|other| other.path == path), "{}: {path}", file.path);
                }
            }
            for load in ["src=\"http", "import(\"http", "url(", "fetch(\"http", "@import"] {
                assert!(!file.body.contains(load), "{}: {load}", file.path);
            }
        }
    }

    fn body(path: &str) -> &'static str {
        FILES.iter().find(|file| file.path == path).expect("the file is served").body
    }
}
