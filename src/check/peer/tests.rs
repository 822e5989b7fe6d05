//! A server that answers, one that does not, and one that is something else.

use super::*;

#[test]
fn the_addresses_of_an_answer_are_those_a_client_can_use() {
    let answer = "v=0\r\na=ice-ufrag:abcd\r\n\
        a=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host\r\n\
        a=candidate:2 1 UDP 2130706430 2001:db8::1 7882 typ host\r\n\
        a=candidate:3 1 tcp 1671430143 192.0.2.1 7881 typ host tcptype passive\r\n\
        a=candidate:4 1 tcp 1671430142 192.0.2.1 9 typ host tcptype active\r\n\
        a=candidate:5 2 udp 1 192.0.2.1 7882 typ host\r\n\
        a=candidate:6 1 udp 1 name.local 7882 typ host\r\n\
        a=candidate:nonsense\r\n\
        a=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host\r\n";
    let one = |tcp, address: &str| Candidate { tcp, address: address.parse().unwrap() };
    let expected = [
        one(false, "192.0.2.1:7882"),
        one(false, "[2001:db8::1]:7882"),
        one(true, "192.0.2.1:7881"),
    ];
    assert_eq!(candidates(answer), expected);
    assert_eq!((ice_ufrag(answer), ice_password(answer)), (Some("abcd"), None));
}

#[test]
fn a_session_is_where_its_server_is() {
    let endpoint = "https://media.example.org:8443/whip/check-1";
    let expected = "https://media.example.org:8443/session/7";
    assert_eq!(absolute(endpoint, "/session/7"), expected);
    assert_eq!(absolute(endpoint, "http://elsewhere/7"), "http://elsewhere/7");
}

fn session(candidates: Vec<Candidate>) -> CheckedSession {
    CheckedSession {
        url: String::new(),
        username: "theirs:ours".into(),
        password: "their password".into(),
        candidates,
        answered_after: Duration::ZERO,
    }
}

/// Reads one framed check, and answers with what `answer` makes of it, framed.
fn serve_tcp(answer: fn(&[u8]) -> Vec<u8>) -> Candidate {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut check = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut check).unwrap();
        let answer = answer(&check);
        stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
        stream.write_all(&answer).unwrap();
    });
    Candidate { tcp: true, address }
}

#[test]
fn a_check_over_tcp_is_framed_and_so_is_its_answer() {
    let good = serve_tcp(|check| {
        let check = StunMessage::parse(check).expect("it is STUN");
        assert!(check.verify(b"their password", hmac_sha1) && !check.use_candidate());
        assert_eq!(check.username(), Some("theirs:ours"));
        let reply = StunMessage::binding_reply(check.trans_id(), "192.0.2.9:7".parse().unwrap());
        let mut buffer = [0; 512];
        let length = reply.to_bytes(Some(b"their password"), &mut buffer, hmac_sha1).unwrap();
        buffer[..length].to_vec()
    });
    let mad = serve_tcp(<[u8]>::to_vec);
    let findings = look_at(&session(vec![good, mad]));
    let (address, found) = (good.address.to_string(), &findings[0].found);
    assert_eq!(findings[0].verdict, crate::check::Verdict::Ok, "{found}");
    assert!(found.contains(&address) && found.contains("sees us as 192.0.2.9:7"), "{found}");
    assert_eq!((findings[0].what, findings[1].what), ("TCP", "TCP"));
    assert_eq!(findings[1].verdict, crate::check::Verdict::Fail, "{:?}", findings[1]);
}

#[test]
fn an_answer_without_addresses_is_a_failure() {
    assert_eq!(look_at(&session(Vec::new()))[0].verdict, crate::check::Verdict::Fail);
}

#[test]
fn a_server_that_is_not_there_is_a_failure_with_a_way_out() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let findings = check_peer(&url, None);
    assert_eq!(crate::check::worst(&findings), crate::check::Verdict::Fail);
    assert!(findings[0].found.contains(&url) && findings[0].fix.is_some(), "{findings:?}");
}
