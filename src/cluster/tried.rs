//! One node tries another: whether that can be reached at the addresses it announces, as clients of
//! its network would (`monoport check --from`).
//!
//! The node that is to be tried asks for it, and no other can be named: nobody has a node look at
//! addresses of their choice.

use axum::body::to_bytes;

use super::{Carried, Heard, Neighbours, Unasked};
use crate::check::{Finding, Probe, Told};
use crate::control::ControlError;
use crate::limits::MAX_FORWARDED_ANSWER_BYTES;

/// Where it is asked for.
const TRY: &str = "/check";

impl Neighbours {
    /// Has the node `name` try this one; what it has found, as JSON, with the status.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn be_tried_by(&self, name: &str) -> Result<(u16, String), Unasked> {
        let asked = Carried { method: "POST".into(), path: TRY.into(), ..Carried::default() };
        let answered = self.ask(name, asked).await?;
        let body = to_bytes(answered.body, MAX_FORWARDED_ANSWER_BYTES).await.unwrap_or_default();
        Ok((answered.head.status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Tries the node that asks for it; nothing where it asks for something else.
    ///
    /// # Errors
    /// [`ControlError::NoRoom`] while another one is being tried.
    pub async fn try_who_asks(&self, heard: &Heard) -> Option<Result<String, ControlError>> {
        if heard.request.method != "POST" || heard.request.path != TRY {
            return None;
        }
        let Ok(_one_at_a_time) = self.tries.try_acquire() else {
            let words = "this node tries another one just now: come again";
            return Some(Err(ControlError::NoRoom(words.into())));
        };
        let findings = self.look_at(&heard.from).await;
        Some(Ok(serde_json::to_string(&Told::new(&findings)).unwrap_or_default()))
    }

    async fn look_at(&self, node: &str) -> Vec<Finding> {
        let probe = Probe::new();
        let posted = Carried {
            method: "POST".into(),
            path: probe.path.clone(),
            headers: vec![("content-type".into(), "application/sdp".into())],
            body: probe.offer.clone(),
            ..Carried::default()
        };
        let fix = "let the HTTP of the nodes through to one another";
        let answered = match self.ask(node, posted).await {
            Ok(answered) => answered,
            Err(unasked) => return vec![Finding::fail("HTTP", unasked.to_string(), fix)],
        };
        let body = to_bytes(answered.body, MAX_FORWARDED_ANSWER_BYTES).await.unwrap_or_default();
        let answer = String::from_utf8_lossy(&body);
        let mut headers = answered.head.headers.into_iter();
        let location = headers.find(|(name, _)| name == "location").map(|(_, value)| value);
        let (201, Some(location)) = (answered.head.status, location) else {
            let said: String = answer.chars().filter(|c| !c.is_control()).take(200).collect();
            let found = format!("it refuses a session: {} {said}", answered.head.status);
            let fix = "see its log; when it has too many sessions, come back later";
            return vec![Finding::fail("HTTP", found, fix)];
        };
        let session = probe.answered(location.clone(), &answer);
        let findings = tokio::task::spawn_blocking(move || session.look()).await;
        let ended = Carried { method: "DELETE".into(), path: location, ..Carried::default() };
        // Where it is not heard the session ends by itself, half a minute later.
        let _ended = self.ask(node, ended).await;
        findings.unwrap_or_default()
    }
}
