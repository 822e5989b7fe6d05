//! `monoport check --peer URL --from NODE`: the same from another node, which is told to by the
//! server itself. That needs an admin token and no way from here to its media.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Finding, Verdict};
use crate::access::Roots;

/// How long it may take: a session, and addresses that do not answer.
const WAIT: Duration = Duration::from_secs(15);

/// What a node has found, as it is told.
#[derive(Serialize, Deserialize)]
pub struct Told {
    findings: Vec<ToldFinding>,
}

#[derive(Serialize, Deserialize)]
struct ToldFinding {
    verdict: Verdict,
    what: String,
    found: String,
    fix: Option<String>,
}

impl Told {
    /// These.
    #[must_use]
    pub fn new(findings: &[Finding]) -> Told {
        let told = |finding: &Finding| ToldFinding {
            verdict: finding.verdict,
            what: finding.what.to_owned(),
            found: finding.found.clone(),
            fix: finding.fix.clone(),
        };
        Told { findings: findings.iter().map(told).collect() }
    }

    fn findings(self) -> Vec<Finding> {
        let finding = |told: ToldFinding| {
            let what = ["HTTP", "UDP", "TCP", "addresses"].into_iter().find(|w| *w == told.what);
            let what = what.unwrap_or("something");
            Finding { verdict: told.verdict, what, found: told.found, fix: told.fix }
        };
        self.findings.into_iter().map(finding).collect()
    }
}

/// Has the node `from` look at the server whose HTTP is at `url`, with its admin token if it has
/// one.
#[must_use]
pub fn check_from(url: &str, from: &str, token: Option<&str>) -> Vec<Finding> {
    match ask(url.trim_end_matches('/'), from, token) {
        Ok(told) => told.findings(),
        Err(finding) => vec![finding],
    }
}

fn ask(base: &str, from: &str, token: Option<&str>) -> Result<Told, Finding> {
    let url = format!("{base}/api/v1/cluster/check");
    let fail = |found: String, fix: &str| Finding::fail("HTTP", found, fix);
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(WAIT))
        .tls_config(Roots::default().tls());
    let agent: ureq::Agent = config.build().into();
    let mut request = agent.post(&url).header("Content-Type", "application/json");
    if let Some(token) = token {
        request = request.header("Authorization", &format!("Bearer {token}"));
    }
    let mut response = request.send(json!({ "from": from }).to_string()).map_err(|error| {
        let fix = "start the server, or pass the URL under which this machine reaches its HTTP";
        fail(format!("POST {url}: {error}"), fix)
    })?;
    let said = response.body_mut().read_to_string().unwrap_or_default();
    let words = |said: &str| said.chars().filter(|c| !c.is_control()).take(400).collect::<String>();
    match response.status().as_u16() {
        200 => serde_json::from_str(&said).map_err(|error| {
            let fix = "run the same version of monoport here and there";
            fail(format!("what it answers is not understood: {error}"), fix)
        }),
        401 | 403 => Err(fail(
            format!("the server wants an admin token: {}", words(&said)),
            "pass --admin-token TOKEN (or MONOPORT_ADMIN_TOKEN)",
        )),
        404 | 405 => Err(fail(
            format!("there is no such thing at {url}"),
            "pass the URL of the server without a path, as in http://HOST:7880",
        )),
        status => Err(fail(
            format!("the server answers {status}: {}", words(&said)),
            "see GET /api/v1/cluster for the nodes there are, and the log of both",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_was_found() {
        let found = vec![
            Finding::ok("HTTP", "answered"),
            Finding::warn("TCP", "not tried", "try it"),
            Finding::fail("UDP", "silence", "let it through"),
        ];
        let text = serde_json::to_string(&Told::new(&found)).expect("JSON");
        assert!(text.contains(r#""verdict":"fail""#), "{text}");
        let told: Told = serde_json::from_str(&text).expect("it is what was written");
        assert_eq!(told.findings(), found);
    }
}
