//! Whatever an offer says, it is refused in words or answered; the answer is SDP, and by template
//! it is what it was the long way.
#![no_main]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use monoport::id::StreamKey;
use monoport::session::{CodecMatch, LocalIce, Negotiator, Offer, OfferError, StreamCodecs};
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
    let nothing = StreamCodecs::default();
    let mut carried = nothing;
    let stream = StreamKey { index: 0, generation: 0 };
    let anew = Offer::to_publish(text).and_then(|offer| {
        let codecs = offer.choose_codecs(nothing)?;
        negotiator.publisher(now, offer, local(), codecs, stream)
    });
    if let Ok(answered) = &anew {
        assert!(answered.answer.starts_with("v=0"), "{}", answered.answer);
        carried = answered.codecs;
    }
    // The first of a kind makes the template by which the second one is answered.
    for _ in 0..2 {
        let by_template = again(negotiator, text, local(), stream);
        match (&anew, by_template) {
            (Ok(answered), Ok(again)) => {
                assert_eq!(unnumbered(&again), unnumbered(&answered.answer));
            }
            (Err(error), Err(other)) => assert_eq!(*error, other),
            (anew, again) => panic!("{:?}, and {again:?}", anew.as_ref().map(|_| ())),
        }
    }
    if let Ok(offer) = Offer::to_watch(text) {
        if let Ok(answered) = negotiator.viewer(now, offer, local(), carried) {
            assert!(answered.answer.starts_with("v=0"), "{}", answered.answer);
        }
    }
});

/// The answer to an offer, by template if there is one; if there is none it is kept.
fn again(
    negotiator: &Negotiator,
    text: &str,
    local: LocalIce<'_>,
    stream: StreamKey,
) -> Result<String, OfferError> {
    let nothing = StreamCodecs::default();
    let offer = negotiator.read_publisher(text, nothing)?;
    let codecs = (nothing, offer.choose_codecs(nothing)?);
    let answered = negotiator.publish(Instant::now(), offer, local, codecs, stream)?;
    answered.template.into_iter().for_each(|template| negotiator.keep(*template));
    Ok(answered.answer)
}

/// Without the line that has the number of the SDP session.
fn unnumbered(answer: &str) -> Vec<&str> {
    answer.lines().filter(|line| !line.starts_with("o=")).collect()
}
