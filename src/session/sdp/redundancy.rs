//! Redundant audio (RFC 2198) in offers and answers. str0m is not asked for it: its answer has it
//! behind the codec, and where it stands says whether the peer sends so.

use super::offered::{Offered, OfferedSection};

/// A payload type whose packets carry earlier ones of another type again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) struct Redundancy {
    pub payload_type: u8,
    /// The type of what is in them.
    pub of: u8,
    /// Whether it stands before that, which is how browsers say that they want to send it.
    is_preferred: bool,
}

/// That of each section, by its id.
pub(in crate::session) type Redundancies = Vec<(String, Redundancy)>;

/// The payload type that carries those of type `of` again in a section.
pub(in crate::session) fn redundant(all: &Redundancies, mid: &str, of: u8) -> Option<u8> {
    let mut fit = all.iter().filter(|(section, redundancy)| section == mid && redundancy.of == of);
    fit.next().map(|(_, redundancy)| redundancy.payload_type)
}

impl Offered {
    /// What is offered of it, of all sections that are served.
    pub fn redundancies(&self) -> Redundancies {
        let of = |section: &OfferedSection| Some((section.mid.clone(), section.redundancy()?));
        self.served().filter_map(of).collect()
    }
}

impl OfferedSection {
    fn redundancy(&self) -> Option<Redundancy> {
        if self.kind != "audio" {
            return None;
        }
        self.formats.iter().find_map(|format| {
            let is_its = |line: &&String| {
                let map = line.strip_prefix("rtpmap:").and_then(|map| map.split_once(' '));
                map.is_some_and(|(payload, encoding)| {
                    payload == format && encoding.trim_start().eq_ignore_ascii_case("red/48000/2")
                })
            };
            self.attributes.iter().find(is_its)?;
            let parameters = self.attributes.iter().find_map(|line| {
                line.strip_prefix("fmtp:")?.strip_prefix(format)?.strip_prefix(' ')
            })?;
            // All are of one type, or it is not to be had without looking into each packet.
            let mut types = parameters.trim().split('/');
            let of = types.next()?;
            let place = |format: &str| self.formats.iter().position(|known| known == format);
            types.all(|other| other == of).then_some(())?;
            Some(Redundancy {
                payload_type: format.parse().ok()?,
                of: of.parse().ok()?,
                is_preferred: place(format) < place(of),
            })
        })
    }

    /// The lines of a section's answer, with what is answered of redundancy: it, where what it is
    /// of is answered.
    pub fn with_redundancy(&self, lines: &[&str]) -> Vec<String> {
        let mut answered: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        let Some(Redundancy { payload_type, of, is_preferred }) = self.redundancy() else {
            return answered;
        };
        let map = format!("a=rtpmap:{of} opus/48000/2");
        let Some(place) = answered.iter().position(|line| *line == map) else { return answered };
        let lines = [
            format!("a=rtpmap:{payload_type} red/48000/2"),
            format!("a=fmtp:{payload_type} {of}/{of}"),
        ];
        answered.splice(place + 1..place + 1, lines);
        if let Some(section) = answered.iter_mut().find(|line| line.starts_with("m=")) {
            let both = match is_preferred {
                true => format!("{payload_type} {of}"),
                false => format!("{of} {payload_type}"),
            };
            let of = of.to_string();
            let words = section.split(' ').enumerate();
            let with = |(place, word): (usize, &str)| match place > 2 && word == of {
                true => both.clone(),
                false => word.to_owned(),
            };
            *section = words.map(with).collect::<Vec<_>>().join(" ");
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::offer::Way;

    const ANSWER: [&str; 4] =
        ["m=audio 9 X 111", "c=IN IP4 0.0.0.0", "a=rtpmap:111 opus/48000/2", "a=mid:0"];

    fn section(types: &str, more: &str) -> OfferedSection {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\nm=audio 9 UDP/TLS/RTP/SAVPF {types}\r\na=mid:0\r\n\
             a=rtpmap:111 opus/48000/2\r\n{more}"
        );
        let offered = Offered::read(&text, Way::Watch).expect("it can be served");
        offered.sections.into_iter().next().expect("there is one")
    }

    const RED: &str = "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n";

    #[test]
    fn it_is_answered_where_it_was_offered() {
        for (offered, answered) in [("111 63", "111 63"), ("63 111", "63 111")] {
            let lines = section(offered, RED).with_redundancy(&ANSWER);
            let wanted = [
                &*format!("m=audio 9 X {answered}"),
                "c=IN IP4 0.0.0.0",
                "a=rtpmap:111 opus/48000/2",
                "a=rtpmap:63 red/48000/2",
                "a=fmtp:63 111/111",
                "a=mid:0",
            ];
            assert_eq!(lines, wanted);
        }
    }

    #[test]
    fn what_is_of_something_else_is_not_answered() {
        let without =
            |types: &str, more: &str| section(types, more).with_redundancy(&ANSWER) == ANSWER;
        assert!(without("111", "") && without("111", RED), "it is not offered");
        assert!(without("111 63", "a=rtpmap:63 red/48000/2\r\n"), "of what it is is not said");
        assert!(without("111 63", "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/0\r\n"));
        assert!(without("111 63", "a=rtpmap:63 red/48000/2\r\na=fmtp:63 0/0\r\n"));
        assert!(without("111 63", "a=rtpmap:63 opus/48000/2\r\na=fmtp:63 111/111\r\n"));
    }
}
