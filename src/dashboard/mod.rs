//! The pages, embedded: plain HTML, CSS and JavaScript, no build step, no outside request.

mod files;

pub use files::{CONTENT_SECURITY_POLICY, FILES, PageFile};
