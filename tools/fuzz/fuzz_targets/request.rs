//! Whatever the headers and the URL of a request say, no token that nobody has made opens anything,
//! a client behind proxies is one, and what is kept of a request is bounded.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use axum::http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use monoport::access::{Access, Action, Asker, JwtKeys, Networks, Rules, Secrets};
use monoport::limits::MAX_QUERY_BYTES;

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

/// A server with tokens, whose proxies are in 10.0.0.0/8.
fn access() -> &'static Access {
    static ACCESS: OnceLock<Access> = OnceLock::new();
    ACCESS.get_or_init(|| {
        let networks: Networks = [("10.0.0.0/8").parse().expect("a network")].into_iter().collect();
        let keys = JwtKeys::read("a secret of thirty-two bytes or more");
        Access::new(Rules::new(&Secrets {
            publish: Some("zRkJcU0NsmfFTmAh".into()),
            jwt: Some(keys.expect("it is long enough")),
            trusted_proxies: networks,
            ..Secrets::default()
        }))
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (uri, lines) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(mut request) = Request::get(uri).body(()) else { return };
    for line in lines.lines().take(64) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        let (name, value) = (name.parse::<HeaderName>(), HeaderValue::from_str(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    let client = access().client(PROXY, request.headers());
    assert_eq!(access().client(PROXY, request.headers()), client);
    assert_eq!(access().client(STRANGER, request.headers()), Ok(STRANGER));
    let asker = Asker::of(&request);
    assert!(asker.query().len() <= MAX_QUERY_BYTES);
    for asker in [asker.clone(), asker.with_session()] {
        assert!(access().admit(Action::Publish, Some("stream"), &asker).is_err());
        let _ = access().admit(Action::Watch, Some("stream"), &asker);
    }
});
