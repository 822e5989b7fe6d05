//! Offers as clients write them, and what str0m reads of them.

use super::Offered;
use crate::session::offer::Way;

const TRANSPORT_LINES: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
                               a=fingerprint:sha-256 00:01\r\na=setup:actpass\r\n";

fn offer(session: &str, sections: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{session}{sections}")
}

fn read(text: &str, way: Way) -> Offered {
    Offered::read(text, way).expect("it can be served")
}

#[test]
fn an_implied_or_double_direction_is_narrowed_and_the_opposite_refused() {
    let sections = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
                    m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=sendrecv\r\n\
                    a=rtpmap:96 VP8/90000\r\n";
    let text = read(&offer("a=group:BUNDLE 0 1\r\n", sections), Way::Publish).text();
    assert_eq!(text.matches("a=sendonly\r\n").count(), 2, "{text}");
    let error = Offered::read(&offer("a=recvonly\r\n", sections), Way::Publish);
    assert_eq!(
        error.expect_err("a publisher must send").to_string(),
        "the audio section is recvonly; sendonly is needed"
    );
}

#[test]
fn a_viewer_is_answered_without_the_simulcast_it_asks_for_and_a_publisher_with_its_own() {
    let layers = |way: &str| {
        format!(
            "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=rtpmap:96 VP8/90000\r\n\
             a=rid:h {way}\r\na=simulcast:{way} h\r\n"
        )
    };
    let text = read(&offer("", &layers("recv")), Way::Watch).text();
    assert!(!text.contains("a=rid") && !text.contains("a=simulcast"), "{text}");
    let text = read(&offer("", &layers("send")), Way::Publish).text();
    assert!(text.contains("a=rid:h send\r\na=simulcast:send h\r\n"), "{text}");
}

#[test]
fn a_group_has_one_transport_wherever_it_is_said() {
    let plain = "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:a\r\na=bundle-only\r\n";
    let with = format!(
        "m=video 9 RTP/SAVPF 96\r\na=mid:v\r\na=rtpmap:96 VP8/90000\r\n\
                        {TRANSPORT_LINES}"
    );
    let text = offer("a=group:BUNDLE v a gone\r\n", &format!("{plain}{with}"));
    let text = read(&text, Way::Publish).text();
    assert!(text.contains("a=group:BUNDLE a v\r\n"), "in the order of the sections: {text}");
    assert_eq!(text.matches("ice-ufrag").count(), 1);
    let sections = text.find("m=").expect("there are some");
    assert!(text.find("a=fingerprint:sha-256 00:01").is_some_and(|at| at < sections), "{text}");
    assert!(text.contains("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"), "{text}");
}

#[test]
fn what_a_payload_type_says_is_kept_and_what_says_nothing_is_not() {
    let section = "m=audio 9 UDP/TLS/RTP/SAVPF 96 0 97 nonsense 96 200\r\na=mid:0\r\n\
                   a=rtpmap:96 OPUS/48000\r\na=rtpmap:98 VP8/90000\r\n\
                   a=fmtp:97 x=1\r\na=rtcp-fb:* nack\r\n";
    let offered = read(&offer("", section), Way::Publish);
    let text = offered.text();
    assert!(text.contains("m=audio 9 UDP/TLS/RTP/SAVPF 96 0\r\n"), "{text}");
    assert!(text.contains("a=rtpmap:96 opus/48000/2\r\n"), "{text}");
    assert!(!text.contains("97") && !text.contains(":98"), "{text}");
    assert_eq!(offered.sections[0].feedback, ["96 nack", "0 nack"]);
}

#[test]
fn names_and_passwords_have_the_lengths_of_the_standard() {
    let section = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n";
    for (ufrag, password, taken) in [
        (4, 22, true),
        (256, 256, true),
        (3, 22, false),
        (257, 22, false),
        (4, 21, false),
        (4, 257, false),
    ] {
        let lines =
            format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", "u".repeat(ufrag), "p".repeat(password));
        let read = Offered::read(&offer(&lines, section), Way::Publish);
        assert_eq!(read.is_ok(), taken, "{ufrag} {password}");
    }
}

#[test]
fn what_was_known_is_shown_refused_and_what_never_was_is_left_out() {
    let sections = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
                    m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=inactive\r\n";
    let offered = read(&offer("a=group:BUNDLE 0\r\n", sections), Way::Watch);
    assert!(!offered.text().contains("m=video"));
}

#[test]
fn a_section_without_a_port_that_can_be_is_refused_in_words() {
    let port = |port: &str| {
        let section = format!("m=audio {port} UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n");
        Offered::read(&offer("", &section), Way::Publish).map_err(|error| error.to_string())
    };
    for right in ["9", "65535", "9/1"] {
        assert!(port(right).is_ok(), "{right}");
    }
    for wrong in ["65536", "70000", "-1", "x", "9/70000", "9/", "/1"] {
        let words = port(wrong).expect_err(wrong);
        assert!(words.ends_with("has no port from 0 to 65535"), "{words}");
    }
    let long = port(&"9".repeat(10_000)).expect_err("there is no such port");
    assert!(long.len() < 200, "{long}");
}
