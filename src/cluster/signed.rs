//! Requests and answers under the cluster's secret: HMAC-SHA256 over everything that counts.
//!
//! A request is one JSON object, signed as it stands. It names who asks and who is asked, so that
//! it is good for one node alone; its time and a number that nobody has used make it good once. The
//! answer's signature covers that number, so that it is the answer to this request and to no other.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::limits::CLUSTER_CLOCK_SKEW;

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub from: String,
    pub to: String,
    /// Milliseconds of Unix time.
    pub time_ms: u64,
    /// 128 random bits in hexadecimal.
    pub nonce: String,
    pub request: Carried,
}

/// What a client asked, as far as it is passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    /// The method.
    pub method: String,
    /// The path, without a query: what stands there is for the node that was asked first.
    pub path: String,
    /// What paths in the answer begin with.
    pub prefix: String,
    /// The client's address, where it is known.
    pub client: Option<IpAddr>,
    /// Headers that are needed.
    pub headers: Vec<(String, String)>,
    /// The body, which is text.
    pub body: String,
}

/// The head of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its status.
    pub status: u16,
    /// Headers that are passed on, in their order.
    pub headers: Vec<(String, String)>,
}

/// Why a request is not believed to be another node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Unsigned {
    /// Not signed with the secret.
    #[error("the request is not signed with this cluster's secret (--cluster-secret-file)")]
    Signature = 1,
    /// It is not in the form that these nodes use.
    #[error("the request is none that this version of monoport knows: run the same on both nodes")]
    Form = 2,
    /// It is for another node.
    #[error("the request is for a node of another name: two nodes have one address for HTTP")]
    OtherNode = 3,
    /// It was made too long ago, or is yet to be.
    #[error("the request is of another time: the clocks of the two nodes are too far apart")]
    Time = 4,
    /// It was heard before.
    #[error("the request was heard before")]
    Replayed = 5,
}

impl Unsigned {
    /// One word for each, behind that for those that are believed.
    pub(super) const LABELS: [&'static str; 6] =
        ["taken", "signature", "form", "other_node", "time", "replayed"];
}

/// The tag of a request.
pub(super) fn sign(key: &hmac::Key, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(b"monoport request 1\n");
    context.update(body);
    context.sign()
}

/// The request in `body` to the node `own`, and the place of that one of `keys` which has signed
/// it.
pub(super) fn open(
    keys: &[hmac::Key],
    body: &[u8],
    signature: Option<&str>,
    own: &str,
) -> Result<(Asked, usize), Unsigned> {
    let tag = signature.and_then(bytes).ok_or(Unsigned::Signature)?;
    let signed = [b"monoport request 1\n", body].concat();
    let is_good = |key: &hmac::Key| hmac::verify(key, &signed, &tag).is_ok();
    let key = keys.iter().position(is_good).ok_or(Unsigned::Signature)?;
    let asked: Asked = serde_json::from_slice(body).map_err(|_error| Unsigned::Form)?;
    if asked.to == own { Ok((asked, key)) } else { Err(Unsigned::OtherNode) }
}

/// Whether a request of `time_ms` may come at `now_ms`.
pub(super) fn is_timely(time_ms: u64, now_ms: u64) -> Result<(), Unsigned> {
    let apart = u128::from(time_ms.abs_diff(now_ms));
    if apart <= CLUSTER_CLOCK_SKEW.as_millis() { Ok(()) } else { Err(Unsigned::Time) }
}

/// The tag of an answer to the request with this `nonce`; of a stream its head is signed alone.
pub(super) fn sign_answer(
    key: &hmac::Key,
    nonce: &str,
    head: &Head,
    body: Option<&[u8]>,
) -> hmac::Tag {
    hmac::sign(key, &answer(nonce, head, body))
}

/// What nodes sign with and take for now, the first to sign with.
pub(super) struct Keys(Mutex<Arc<[hmac::Key]>>);

impl Keys {
    pub(super) fn new(keys: &[hmac::Key]) -> Keys {
        Keys(Mutex::new(keys.into()))
    }

    pub(super) fn now(&self) -> Arc<[hmac::Key]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, keys: &[hmac::Key]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }
}

/// Whether one of `keys` has signed the answer.
pub(super) fn is_answer(
    keys: &[hmac::Key],
    nonce: &str,
    head: &Head,
    body: Option<&[u8]>,
    signature: &str,
) -> bool {
    let signed = answer(nonce, head, body);
    let tag = bytes(signature);
    tag.is_some_and(|tag| keys.iter().any(|key| hmac::verify(key, &signed, &tag).is_ok()))
}

/// No two answers are the same text: names and values of headers have no line ends in them.
fn answer(nonce: &str, head: &Head, body: Option<&[u8]>) -> Vec<u8> {
    let kind = if body.is_some() { "whole" } else { "stream" };
    let mut text = format!("monoport answer 1\n{nonce}\n{kind}\n{}\n", head.status);
    for (name, value) in &head.headers {
        let _ = writeln!(text, "{name}: {value}");
    }
    text.push('\n');
    [text.as_bytes(), body.unwrap_or_default()].concat()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 32 bytes: those of a tag.
pub(super) fn bytes(hex: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = hex.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let value = |digit: u8| (digit as char).to_digit(16);
        *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(secret: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
    }

    fn asked() -> (Vec<u8>, String) {
        let request =
            Carried { method: "POST".into(), path: "/whep/s".into(), ..Carried::default() };
        let (from, to, nonce) = ("a".into(), "b".into(), "17".into());
        let body = serde_json::to_vec(&Asked { from, to, time_ms: 5, nonce, request });
        let body = body.expect("it is JSON");
        let tag = hex(sign(&key("new"), &body).as_ref());
        (body, tag)
    }

    #[test]
    fn a_request_is_good_for_who_knows_the_secret_and_is_asked() {
        let (body, tag) = asked();
        let open = |keys: &[hmac::Key], tag: Option<&str>, own: &str| open(keys, &body, tag, own);
        let both = open(&[key("old"), key("new")], Some(&tag), "b");
        assert_eq!(both.map(|(_, key)| key), Ok(1), "while it is changed");
        assert_eq!(open(&[key("old")], Some(&tag), "b"), Err(Unsigned::Signature));
        assert_eq!(open(&[key("new")], Some(&tag), "c"), Err(Unsigned::OtherNode));
        for wrong in [None, Some(""), Some("zz"), Some(&tag[2..]), Some(&"0".repeat(64))] {
            assert_eq!(open(&[key("new")], wrong, "b"), Err(Unsigned::Signature));
        }
        let other = b"[]";
        let tag = hex(sign(&key("new"), other).as_ref());
        let opened = super::open(&[key("new")], other, Some(&tag), "b");
        assert_eq!(opened.map(|_| ()), Err(Unsigned::Form));
        assert_eq!(is_timely(0, 30_000), Ok(()));
        assert_eq!(is_timely(30_001, 0), Err(Unsigned::Time));
    }

    #[test]
    fn an_answer_is_one_to_this_request_whole_or_a_stream() {
        let head = Head { status: 201, headers: vec![("location".into(), "/session/x".into())] };
        let tag = hex(sign_answer(&key("k"), "17", &head, Some(b"v=0")).as_ref());
        let keys = [key("k")];
        assert!(is_answer(&keys, "17", &head, Some(b"v=0"), &tag));
        assert!(!is_answer(&keys, "18", &head, Some(b"v=0"), &tag));
        assert!(!is_answer(&keys, "17", &head, Some(b"v=1"), &tag));
        assert!(!is_answer(&keys, "17", &head, None, &tag));
        assert!(!is_answer(&keys, "17", &Head { status: 200, ..head }, Some(b"v=0"), &tag));
    }

    proptest! {
        #[test]
        fn whatever_is_changed_on_the_way_is_seen(at: prop::sample::Index, to: u8) {
            let (mut body, tag) = asked();
            let at = at.index(body.len());
            prop_assume!(body[at] != to);
            body[at] = to;
            prop_assert_eq!(open(&[key("new")], &body, Some(&tag), "b"), Err(Unsigned::Signature));
        }

        #[test]
        fn what_strangers_send_is_refused(body: Vec<u8>, signature: Option<String>) {
            let opened = open(&[key("new")], &body, signature.as_deref(), "b");
            prop_assert_eq!(opened, Err(Unsigned::Signature));
        }
    }
}
