//! Offers that are nearly those of real clients: one is answered by the template of another as it
//! would be without one, or refused likewise.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use monoport::id::StreamKey;
use monoport::session::{
    CodecMatch, LocalIce, Negotiated, Negotiator, Offer, OfferError, StreamCodecs,
};
use str0m::IceCreds;

const STREAM: StreamKey = StreamKey { index: 0, generation: 0 };

/// Offers of clients there are, by their names.
fn offers() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/offers");
    let files = fs::read_dir(folder).expect("they are there");
    let mut offers: Vec<(String, String)> = files
        .map(|entry| {
            let path = entry.expect("it can be listed").path();
            let text = fs::read_to_string(&path).expect("it can be read");
            (path.file_stem().expect("a name").to_string_lossy().into_owned(), text)
        })
        .collect();
    offers.sort();
    offers
}

/// Where the session would be found.
fn local(candidates: &[SocketAddr]) -> LocalIce<'_> {
    let credentials = IceCreds { ufrag: "abcdefgh".into(), pass: "0123456789012345678901".into() };
    LocalIce { credentials, candidates, tcp_candidates: candidates }
}

/// What is answered, without what is each answer's own: the number of the SDP session, and SSRCs.
fn told(answered: Result<Negotiated, OfferError>) -> Result<String, OfferError> {
    let lines = |answer: &str| -> String {
        let own = ["o=", "a=ssrc:", "a=ssrc-group:"];
        let is_own = |line: &&str| own.iter().any(|start| line.starts_with(start));
        answer.lines().filter(|line| !is_own(line)).flat_map(|line| [line, "\n"]).collect()
    };
    answered.map(|answered| lines(&answered.answer))
}

/// A server that has answered some offers before, and may do so by template.
struct Practised {
    negotiator: Negotiator,
    candidates: [SocketAddr; 1],
    carried: StreamCodecs,
}

impl Practised {
    fn new() -> Practised {
        let negotiator = Negotiator::new(true, CodecMatch::Lenient);
        let candidates = [SocketAddr::from(([192, 0, 2, 1], 7882))];
        let mut new = Practised { negotiator, candidates, carried: StreamCodecs::default() };
        let (_, text) = offers()
            .into_iter()
            .find(|(name, _)| name.starts_with("firefox-159-p"))
            .expect("it is there");
        let offer = Offer::to_publish(&text).expect("it is one");
        let codecs = offer.choose_codecs(StreamCodecs::default()).expect("some");
        let answered =
            new.negotiator.publisher(Instant::now(), offer, local(&new.candidates), codecs, STREAM);
        new.carried = answered.expect("it is taken").codecs;
        new
    }

    fn keep(&self, mut answered: Result<Negotiated, OfferError>) -> Result<Negotiated, OfferError> {
        if let Ok(answered) = &mut answered
            && let Some(template) = answered.template.take()
        {
            self.negotiator.keep(*template);
        }
        answered
    }

    /// By template, if there is one.
    fn publish(&self, text: &str) -> Result<Negotiated, OfferError> {
        let nothing = StreamCodecs::default();
        let offer = self.negotiator.read_publisher(text, nothing)?;
        let codecs = (nothing, offer.choose_codecs(nothing)?);
        let local = local(&self.candidates);
        self.keep(self.negotiator.publish(Instant::now(), offer, local, codecs, STREAM))
    }

    fn publish_anew(&self, text: &str) -> Result<Negotiated, OfferError> {
        let offer = Offer::to_publish(text)?;
        let codecs = offer.choose_codecs(StreamCodecs::default())?;
        self.negotiator.publisher(Instant::now(), offer, local(&self.candidates), codecs, STREAM)
    }

    fn watch(&self, text: &str) -> Result<Negotiated, OfferError> {
        let offer = self.negotiator.read_viewer(text)?;
        let (local, carried) = (local(&self.candidates), self.carried);
        self.keep(self.negotiator.watch(Instant::now(), offer, local, carried))
    }

    fn watch_anew(&self, text: &str) -> Result<Negotiated, OfferError> {
        let offer = Offer::to_watch(text)?;
        self.negotiator.viewer(Instant::now(), offer, local(&self.candidates), self.carried)
    }

    /// An offer is answered by a template, if there is one, or refused as it is without.
    fn check(&self, text: &str, what: &str) {
        let published = (self.publish_anew(text), self.publish(text));
        let watched = (self.watch_anew(text), self.watch(text));
        for (anew, by_template) in [published, watched] {
            let (anew, by_template) = (told(anew), told(by_template));
            assert!(anew == by_template, "{what}: {by_template:?}\n{anew:?}");
        }
    }
}

/// The offer with one or two of its lines changed, and what they were.
fn changed(
    text: &str,
    others: &[(String, String)],
    random: &mut fastrand::Rng,
) -> (String, String) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut were = String::new();
    for _ in 0..random.usize(1..3) {
        let at = random.usize(0..lines.len());
        let line = lines[at].clone();
        let other: Vec<&str> = others[random.usize(0..others.len())].1.lines().collect();
        let other = other[random.usize(0..other.len())].to_owned();
        were += &format!("[{line}] ");
        match random.u8(0..6) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, line),
            2 => {
                lines.remove(at);
                lines.insert(random.usize(0..=lines.len()), line);
            }
            3 => lines[at] = other,
            4 => lines.insert(at, other),
            _ => {
                let place = random.usize(0..line.len().max(1));
                let letter = char::from(random.u8(0x20..0x7f));
                let each = line.chars().enumerate();
                lines[at] = each.map(|(i, c)| if i == place { letter } else { c }).collect();
            }
        }
    }
    (lines.join("\r\n") + "\r\n", were)
}

/// What lines begin with that each client has of its own: no template knows them.
const OWN: [&str; 7] = [
    "a=ice-ufrag:",
    "a=ice-pwd:",
    "a=fingerprint:",
    "a=ssrc:",
    "a=ssrc-group:",
    "a=msid:",
    "a=msid-semantic:",
];

/// The offer with a letter of such a line gone, one more there or another one, and the line then.
fn changed_of_its_own(text: &str, random: &mut fastrand::Rng) -> (String, String) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let is_own = |at: &usize| OWN.iter().any(|start| lines[*at].starts_with(start));
    let own: Vec<usize> = (0..lines.len()).filter(is_own).collect();
    let at = own[random.usize(0..own.len())];
    let mut letters: Vec<char> = lines[at].chars().collect();
    // Where its parts end, as often as anywhere else.
    let ends: Vec<usize> = (2..letters.len()).filter(|n| ": ".contains(letters[*n])).collect();
    let anywhere = random.usize(2..letters.len());
    let place = if random.bool() { ends[random.usize(0..ends.len())] } else { anywhere };
    let letter = [':', ' ', '+', 'x', '0', '\r', '\u{2028}', 'é'][random.usize(0..8)];
    match random.u8(0..3) {
        0 => drop(letters.remove(place)),
        1 => letters.insert(place, letter),
        _ => letters[place] = letter,
    }
    lines[at] = letters.into_iter().collect();
    let line = format!("{:?}", lines[at]);
    (lines.join("\r\n") + "\r\n", line)
}

#[test]
fn what_is_wrong_with_a_line_of_its_own_is_found_with_a_template_and_without() {
    let (server, offers) = (Practised::new(), offers());
    let mut random = fastrand::Rng::with_seed(1);
    for (name, text) in &offers {
        server.check(text, name);
        for _ in 0..300 {
            let (changed, line) = changed_of_its_own(text, &mut random);
            server.check(&changed, &format!("{name} with {line}"));
        }
    }
}

/// An attribute of a source needs no value (RFC 5576 §4.1).
#[test]
fn a_source_whose_attribute_has_no_value_is_taken() {
    let (server, offers) = (Practised::new(), offers());
    for (name, text) in offers.iter().filter(|(_, text)| text.contains("a=ssrc:")) {
        let more = text.replacen("a=ssrc:", "a=ssrc:1 inactive\r\na=ssrc:", 1);
        let is_taken = server.publish_anew(&more).is_ok() || server.watch_anew(&more).is_ok();
        assert!(is_taken, "{name}");
        server.check(&more, name);
    }
}

#[test]
fn an_offer_like_another_is_answered_by_its_template_as_without_one() {
    let (server, offers) = (Practised::new(), offers());
    let mut random = fastrand::Rng::with_seed(1);
    for (name, text) in &offers {
        for _ in 0..30 {
            // So that there is a template of it.
            server.check(text, name);
            let (changed, were) = changed(text, &offers, &mut random);
            server.check(&changed, &format!("{name} without {were}"));
        }
    }
}
