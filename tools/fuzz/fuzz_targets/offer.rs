//! Whatever an offer says, it is refused in words or answered; the answer is SDP, and by template
//! it is what it was the long way.
#![no_main]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use monoport::id::StreamKey;
use monoport::session::{CodecMatch, LocalIce, Negotiator, Offer, StreamCodecs};
use str0m::IceCreds;

fuzz_target!(|bytes: &[u8]| {
    static NEGOTIATOR: OnceLock<Negotiator> = OnceLock::new();
    let negotiator = NEGOTIATOR.get_or_init(|| Negotiator::new(true, CodecMatch::Lenient));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for publisher in [false, true] {
        let _ = Offer::to_renegotiate(text, publisher).map_err(|error| error.to_string());
    }
    let _ = Offer::to_publish_and_watch(text).map_err(|error| error.to_string());
    let candidates = [SocketAddr::from(([192, 0, 2, 1], 7882))];
    let local = || LocalIce {
        credentials: IceCreds { ufrag: "abcdefgh".into(), pass: "0123456789012345678901".into() },
        candidates: &candidates,
        tcp_candidates: &candidates,
    };
    let now = Instant::now();
    let mut carried = StreamCodecs::default();
    if let Ok(offer) = Offer::to_publish(text) {
        let codecs = offer.choose_codecs(StreamCodecs::default());
        let stream = StreamKey { index: 0, generation: 0 };
        if let Ok(codecs) = codecs
            && let Ok(answered) = negotiator.publisher(now, offer, local(), codecs, stream)
        {
            assert!(answered.answer.starts_with("v=0"), "{}", answered.answer);
            carried = answered.codecs;
            let again = [(); 2].map(|()| again(negotiator, text, local(), stream));
            for by_template in again {
                assert_eq!(unnumbered(&by_template), unnumbered(&answered.answer));
            }
        }
    }
    if let Ok(offer) = Offer::to_watch(text) {
        if let Ok(answered) = negotiator.viewer(now, offer, local(), carried) {
            assert!(answered.answer.starts_with("v=0"), "{}", answered.answer);
        }
    }
});

/// The answer to an offer that was taken before, of which a template is kept.
fn again(negotiator: &Negotiator, text: &str, local: LocalIce<'_>, stream: StreamKey) -> String {
    let nothing = StreamCodecs::default();
    let offer = negotiator.read_publisher(text, nothing).expect("it was taken");
    let codecs = (nothing, offer.choose_codecs(nothing).expect("it was answered"));
    let answered = negotiator.publish(Instant::now(), offer, local, codecs, stream);
    let answered = answered.expect("it was answered");
    answered.template.into_iter().for_each(|template| negotiator.keep(*template));
    answered.answer
}

/// Without the line that has the number of the SDP session.
fn unnumbered(answer: &str) -> Vec<&str> {
    answer.lines().filter(|line| !line.starts_with("o=")).collect()
}
