//! The pages, embedded: plain HTML, CSS and JavaScript, no build step, no outside request.
//!
//! ```text
//! home.*      GET /: what is live, and the ways in        monoport.js  a session, for any page
//! publish.*   GET /publish: from a camera, a screen, …    monoport.d.ts  the same, typed
//! player.*    GET /watch/NAME, GET /embed/NAME            live/  GET /dashboard, from /api/v1
//! ```
//!
//! Pages name one another, their files and the server relatively, so that all of it works under any
//! path.

mod files;
mod serve;

pub use serve::router;
