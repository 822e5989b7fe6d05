//! The page's files, compiled into the binary: there is no build step and nothing to install.

/// One file as HTTP serves it.
pub struct PageFile {
    /// The path of its URL.
    pub path: &'static str,
    pub content_type: &'static str,
    pub body: &'static str,
}

/// What the page may do, as a `Content-Security-Policy`: load its own files and talk to its own
/// server, nothing else. There is no inline script and no inline style to allow.
pub const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Every file of the page.
pub const FILES: [PageFile; 8] = [
    file("/", "text/html; charset=utf-8", include_str!("index.html")),
    file("/style.css", "text/css; charset=utf-8", include_str!("style.css")),
    file("/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    file("/app.js", JAVASCRIPT, include_str!("app.js")),
    file("/session.js", JAVASCRIPT, include_str!("session.js")),
    file("/stats.js", JAVASCRIPT, include_str!("stats.js")),
    file("/pattern.js", JAVASCRIPT, include_str!("pattern.js")),
    file("/ticker.js", JAVASCRIPT, include_str!("ticker.js")),
];

const fn file(path: &'static str, content_type: &'static str, body: &'static str) -> PageFile {
    PageFile { path, content_type, body }
}
