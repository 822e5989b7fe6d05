//! The thread that asks the server once a second, and at once when something else is looked at.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use super::fetch::{Api, Trouble};
use super::model::{Fetched, PageOf, Wants};
use crate::limits::PAGE;

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Asks until the other side of a channel is gone.
pub fn poll(api: &Api, wants: &Receiver<Wants>, fetched: &SyncSender<Fetched>) {
    let mut wanted = Wants::default();
    loop {
        let asked = Instant::now();
        if fetched.send(ask(api, &wanted)).is_err() {
            return;
        }
        let left = INTERVAL.saturating_sub(asked.elapsed());
        match wants.recv_timeout(left) {
            Ok(newer) => wanted = newer,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Only the last of several keys matters.
        loop {
            match wants.try_recv() {
                Ok(newer) => wanted = newer,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }
}

/// Asks for everything once; the first trouble ends it.
pub fn ask(api: &Api, wanted: &Wants) -> Fetched {
    let mut fetched = Fetched::default();
    if let Err(trouble) = fill(api, wanted, &mut fetched) {
        fetched.trouble = Some(trouble.to_string());
    }
    fetched
}

fn fill(api: &Api, wanted: &Wants, fetched: &mut Fetched) -> Result<(), Trouble> {
    fetched.base = Some((api.get("status")?, api.get("ports")?, api.get("shards")?));
    if let Some(of) = &wanted.page {
        fetched.page = Some((of.clone(), api.get(&path_of(of))?));
    }
    if let Some(id) = &wanted.session {
        fetched.session = Some(api.get(&format!("sessions/{}", escaped(id)))?);
    }
    if wanted.failures {
        fetched.failures = Some(api.get(&format!("failures?limit={PAGE}"))?);
    }
    if wanted.nodes {
        fetched.cluster = Some(api.get("cluster")?);
    }
    Ok(())
}

fn path_of(of: &PageOf) -> String {
    let after = of.after.as_ref().map(|after| format!("&after={}", escaped(after)));
    format!("sessions?limit={PAGE}&order={}{}", of.order.name(), after.unwrap_or_default())
}

/// What came from the server goes back to it as a part of a URL (RFC 3986 §2.1).
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let escape = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::Order;

    #[test]
    fn cursors_are_escaped() {
        assert_eq!(path_of(&PageOf::default()), "sessions?limit=50&order=worst");
        let of = PageOf { order: Order::Newest, after: Some("a=1&b c/…".to_owned()) };
        let path = "sessions?limit=50&order=newest&after=a%3D1%26b%20c%2F%E2%80%A6";
        assert_eq!(path_of(&of), path);
    }
}
