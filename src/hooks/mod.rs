//! Other services that the server speaks to over HTTP, on threads of their own: however slow one
//! is, it delays nobody but those whose request it is about.
//!
//! ```text
//! authority.rs  is asked who may publish and watch      verdicts.rs  what it said lately
//! webhooks.rs   is told what happens                    post.rs      JSON by POST, in time
//! ```

mod authority;
mod post;
mod verdicts;
mod webhooks;

pub use authority::{Authority, Unauthorized};
pub use webhooks::Webhooks;
