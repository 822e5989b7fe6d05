//! The pages, embedded: plain HTML, CSS and JavaScript, no build step, no outside request.
//!
//! Beside this file lies the page at `/`, to publish and to watch; in `live/` the dashboard, which
//! reads `/api/v1` and nothing else.

mod files;

pub use files::{CONTENT_SECURITY_POLICY, FILES, PageFile};
