//! An offer's text, mended before str0m reads it.
//!
//! Clients write SDP in more ways than one parser takes. What is meant is clear in each of these,
//! so it is written anew in the one way that str0m reads, and the rest of the server need not know:
//!
//! - a byte order mark, trailing spaces, any `o=`, `s=`, `t=`, `b=`, `i=` or `k=` line;
//! - ICE and DTLS lines in one section of a group only, which hold for the group (RFC 9429 §5.2.1);
//! - a port of 0 with `a=bundle-only`, which is an offer (RFC 9143 §6);
//! - a group that names what is not there, or none around a single section;
//! - a dynamic payload type without `a=rtpmap`, which says nothing and is left out;
//! - Opus without its two channels, which it always has (RFC 7587 §7);
//! - `a=rtcp-fb:*`, which is of every payload type of its section (RFC 4585 §4.2);
//! - SSRCs and names of media streams, which are read here (`sources.rs`), or by nobody: str0m
//!   reads one without a value (RFC 5576 §4.1) past its end, and loses what follows.
//!
//! A section that its offerer has stopped (port 0, or `inactive`) is not shown to str0m, nor is one
//! of a data channel: the answer refuses it in its place, and the others are served.

use std::hash::{Hash, Hasher};

use crate::session::OfferError;
use crate::session::offer::Way;

/// Characters of an ICE name and of an ICE password (RFC 8839 §5.4).
const UFRAG_CHARS: std::ops::RangeInclusive<usize> = 4..=256;
const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 22..=256;
/// Characters of a section's id that str0m keeps.
const MID_CHARS: usize = 16;
/// The first dynamic payload type, with those that newer profiles use below 96 (RFC 3551 §3).
const FIRST_DYNAMIC: u8 = 35;
/// What a section's `proto` may be (RFC 9429 §5.1.2); all mean the same.
const PROFILES: [&str; 9] = [
    "UDP/TLS/RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "TCP/DTLS/RTP/SAVPF",
    "TCP/DTLS/RTP/SAVP",
    "TCP/TLS/RTP/SAVPF",
    "RTP/SAVPF",
    "RTP/SAVP",
    "RTP/AVPF",
    "RTP/AVP",
];
/// Attributes of what a client sends. No answer depends on them.
const SOURCES: [&str; 4] = ["ssrc", "ssrc-group", "msid", "msid-semantic"];
const DIRECTIONS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];
/// Attributes of the transport, of which a group has one.
const TRANSPORT: [&str; 7] = [
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "fingerprint",
    "setup",
    "candidate",
    "end-of-candidates",
];

/// An offer, taken apart.
#[derive(Clone, Debug)]
pub(in crate::session) struct Offered {
    /// Attributes of the session and of its one transport.
    session: Vec<String>,
    pub sections: Vec<OfferedSection>,
    /// Whether it has a BUNDLE group: only then may the answer have one (RFC 9143 §7.3).
    pub grouped: bool,
}

/// One section of an offer.
#[derive(Clone, Debug, Default)]
pub(in crate::session) struct OfferedSection {
    /// `audio`, `video`, `application` or something else.
    pub kind: String,
    /// As it was written, for the answer repeats it.
    pub profile: String,
    /// Payload types, or whatever it has instead.
    pub(super) formats: Vec<String>,
    /// Its id; made up where it has none.
    pub mid: String,
    /// Whether its offerer gave it its id.
    pub named: bool,
    /// Whether it is refused: its offerer has stopped it, or it is no media.
    pub refused: bool,
    /// `PT feedback`, as the answer may repeat it.
    pub feedback: Vec<String>,
    pub(super) attributes: Vec<String>,
    stopped: bool,
    direction: Option<&'static str>,
}

impl Offered {
    /// Reads an offer whose media goes one `way`.
    ///
    /// # Errors
    /// [`OfferError::Malformed`], [`OfferError::WrongDirection`], [`OfferError::Unserved`] and
    /// [`OfferError::NoMedia`].
    pub fn read(text: &str, way: Way) -> Result<Offered, OfferError> {
        let malformed = |what: &str| OfferError::Malformed(what.to_owned());
        let text = text.trim_start_matches('\u{feff}');
        let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        if lines.next() != Some("v=0") {
            return Err(malformed("it does not begin with v=0"));
        }
        let (mut session, mut sections) = (Vec::new(), Vec::<OfferedSection>::new());
        let mut has_origin = false;
        for line in lines {
            let Some((kind, value)) = line.split_once('=').filter(|(kind, _)| kind.len() == 1)
            else {
                let shown: String = line.chars().take(40).collect();
                return Err(OfferError::Malformed(format!("`{shown}` is no line of SDP")));
            };
            // It ends a line or stands nowhere (RFC 8866 §9): str0m reads no further.
            if kind == "a" && value.contains('\r') {
                return Err(malformed("an attribute has a carriage return within its line"));
            }
            match (kind, sections.last_mut()) {
                ("m", _) => sections.push(OfferedSection::begin(value)?),
                ("a", Some(section)) => section.attributes.push(value.to_owned()),
                ("a", None) => session.push(value.to_owned()),
                ("o", None) => has_origin = true,
                _ => {}
            }
        }
        if !has_origin {
            return Err(malformed("it has no o= line"));
        }
        let mut offered = Offered { session, sections, grouped: false };
        let groups = offered.groups();
        offered.settle_sections(&groups, way)?;
        offered.group(&groups)?;
        offered.share_transport()?;
        Ok(offered)
    }

    /// The ids in each BUNDLE group.
    fn groups(&self) -> Vec<Vec<String>> {
        let groups = self.session.iter().filter_map(|line| line.strip_prefix("group:BUNDLE"));
        groups.map(|mids| mids.split_whitespace().map(str::to_owned).collect()).collect()
    }

    /// Which sections are served, and which way their media goes.
    fn settle_sections(&mut self, groups: &[Vec<String>], way: Way) -> Result<(), OfferError> {
        let of_session = direction_of(&self.session);
        let grouped = |mid: &String| groups.iter().any(|group| group.contains(mid));
        let mut inactive = None;
        for section in &mut self.sections {
            section.read_attributes(of_session, way);
            // One that is said to share a port is none that was stopped, and has to be in a group.
            let shares = section.attributes.iter().any(|line| line == "bundle-only");
            let stopped = section.stopped && !shares && !grouped(&section.mid);
            let idle = section.is_media() && section.direction == Some("inactive");
            section.refused = stopped || idle || !section.is_media();
            if idle {
                inactive = Some(if section.kind == "audio" { "audio" } else { "video" });
            }
            if !section.refused {
                section.check(way)?;
                // What may go both ways, also where that is only implied, goes the one way.
                if way != Way::Both {
                    section.direction = Some(directions(way).0);
                }
            }
        }
        let (wanted, _) = directions(way);
        match inactive {
            _ if self.served().any(OfferedSection::is_media) => Ok(()),
            Some(kind) => Err(OfferError::WrongDirection { kind, found: "inactive", wanted }),
            None => Err(OfferError::NoMedia),
        }
    }

    /// What is served of it.
    pub fn served(&self) -> impl Iterator<Item = &OfferedSection> {
        self.sections.iter().filter(|section| !section.refused)
    }

    /// Whether a section for audio, or for video, is served.
    pub fn has(&self, audio: bool) -> bool {
        let kind = if audio { "audio" } else { "video" };
        self.served().any(|section| section.kind == kind)
    }

    /// All sections that are served share one transport: they are in one group, or there is one.
    fn group(&mut self, groups: &[Vec<String>]) -> Result<(), OfferError> {
        self.grouped = !groups.is_empty();
        if self.served().count() == 1 {
            let taken = self.sections.iter().any(|section| section.mid == "0");
            let made = if taken { "unnamed" } else { "0" };
            let only = self.sections.iter_mut().find(|section| !section.refused);
            if let Some(only) = only.filter(|only| !only.named) {
                only.mid = made.to_owned();
            }
            return Ok(());
        }
        if let Some(section) = self.served().find(|section| !section.named) {
            let words = format!("the {} section has no a=mid", section.kind);
            return Err(OfferError::Malformed(words));
        }
        if groups.is_empty() {
            let words = "several sections and no a=group:BUNDLE: all go over one transport here";
            return Err(OfferError::Malformed(words.into()));
        }
        let holds = |group: &Vec<String>| {
            self.served().filter(|section| group.contains(&section.mid)).count()
        };
        let group = groups.iter().max_by_key(|group| holds(group)).expect("there is one");
        match self.served().find(|section| !group.contains(&section.mid)) {
            None => Ok(()),
            Some(outside) => Err(OfferError::Unserved {
                mid: outside.mid.clone(),
                reason: "it is not in the a=group:BUNDLE of the others, and all go over one \
                         transport here"
                    .into(),
            }),
        }
    }

    /// Moves what the transport's attributes are to the session: those of the first served section
    /// that has them, else the session's, else those of whatever section has them.
    fn share_transport(&mut self) -> Result<(), OfferError> {
        let mut shared = Vec::new();
        for name in TRANSPORT.into_iter().filter(|name| !name.contains("candidate")) {
            let of = |lines: &[String]| -> Vec<String> {
                lines.iter().filter(|line| named(line) == name).cloned().collect()
            };
            let served = self.served().map(|section| of(&section.attributes));
            let session = std::iter::once(of(&self.session));
            let any = self.sections.iter().map(|section| of(&section.attributes));
            let found = served.chain(session).chain(any).find(|lines| !lines.is_empty());
            // Of all but fingerprints there is one.
            let most = if name == "fingerprint" { usize::MAX } else { 1 };
            shared.extend(found.unwrap_or_default().into_iter().take(most));
        }
        check_length(&shared, "ice-ufrag:", UFRAG_CHARS)?;
        check_length(&shared, "ice-pwd:", PASSWORD_CHARS)?;
        self.session.retain(|line| {
            !TRANSPORT.contains(&named(line))
                && named(line) != "group"
                && !DIRECTIONS.contains(&line.as_str())
        });
        for section in &mut self.sections {
            section.attributes.retain(|line| !TRANSPORT.contains(&named(line)));
        }
        self.session.extend(shared);
        Ok(())
    }

    /// The attribute lines of the session and its transport, without `a=`.
    pub fn session(&self) -> impl Iterator<Item = &str> + Clone {
        self.session.iter().map(String::as_str)
    }

    /// Hashes what an answer depends on: all but the names and keys that each client has of its
    /// own.
    pub fn hash_without_its_own(&self, hasher: &mut impl Hasher) {
        const ITS_OWN: [&str; 3] = ["ice-ufrag", "ice-pwd", "fingerprint"];
        let common = |lines: &[String], hasher: &mut dyn Hasher| {
            // A viewer sends nothing, and a publisher's sources are read from its own offer.
            for line in answered(lines).filter(|line| !ITS_OWN.contains(&named(line))) {
                hasher.write(line.as_bytes());
                hasher.write_u8(b'\n');
            }
            // No line is empty.
            hasher.write_u8(b'\n');
        };
        common(&self.session, hasher);
        self.grouped.hash(hasher);
        for section in &self.sections {
            let OfferedSection { kind, profile, formats, mid, named, refused, .. } = section;
            (kind, profile, formats, mid, named, refused).hash(hasher);
            (section.stopped, section.direction, &section.feedback).hash(hasher);
            common(&section.attributes, hasher);
        }
    }

    /// Whether one packet's header extensions may have the one-byte and the next one's the two-byte
    /// form (RFC 8285 §6).
    pub fn mixes_extension_forms(&self) -> bool {
        let sections = self.sections.iter().flat_map(|section| &section.attributes);
        self.session.iter().chain(sections).any(|line| line == "extmap-allow-mixed")
    }

    /// Which end begins DTLS, seen from the offerer, whatever its `a=setup` was.
    pub fn set_role(&mut self, role: &str) {
        self.session.retain(|line| named(line) != "setup");
        self.session.push(format!("setup:{role}"));
    }

    /// What is served of the offer, as str0m is to read it.
    pub fn text(&self) -> String {
        let mut text = String::from("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n");
        text.push_str("a=group:BUNDLE");
        for section in self.served() {
            text.extend([" ", &section.mid]);
        }
        text.push_str("\r\n");
        for line in answered(&self.session) {
            text.extend(["a=", line, "\r\n"]);
        }
        self.served().for_each(|section| section.write(&mut text));
        text
    }
}

impl OfferedSection {
    fn begin(line: &str) -> Result<OfferedSection, OfferError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let shown = || line.chars().take(40).collect::<String>();
        let [kind, port, profile, ref formats @ ..] = words[..] else {
            return Err(OfferError::Malformed(format!("`m={}` is no section", shown())));
        };
        // A count of ports may follow (RFC 8866 §5.14).
        let (port, count) = port.split_once('/').unwrap_or((port, "1"));
        let (Ok(port), Ok(_)) = (port.parse::<u16>(), count.parse::<u16>()) else {
            let words = format!("`m={}` has no port from 0 to 65535", shown());
            return Err(OfferError::Malformed(words));
        };
        let stopped = port == 0;
        let formats = formats.iter().map(|&format| format.to_owned()).collect();
        let (kind, profile) = (kind.to_owned(), profile.to_owned());
        Ok(OfferedSection { kind, profile, formats, stopped, ..OfferedSection::default() })
    }

    pub fn is_media(&self) -> bool {
        self.kind == "audio" || self.kind == "video"
    }

    /// Takes out what is kept apart, and mends what is of payloads.
    fn read_attributes(&mut self, of_session: Option<&'static str>, way: Way) {
        let mid = self.attributes.iter().find_map(|line| line.strip_prefix("mid:"));
        self.named = mid.is_some();
        self.mid = mid.unwrap_or_default().to_owned();
        self.direction = direction_of(&self.attributes).or(of_session);
        // A viewer is sent one encoding of a track, under no RID, and would wait for RIDs that the
        // answer promised (RFC 8853 §5.3).
        let layers = |line: &str| way == Way::Watch && ["simulcast", "rid"].contains(&named(line));
        self.attributes.retain(|line| !DIRECTIONS.contains(&line.as_str()) && !layers(line));
        if self.is_media() {
            self.mend_payloads();
        }
    }

    fn mend_payloads(&mut self) {
        let types: Vec<u8> = self.formats.iter().filter_map(|format| format.parse().ok()).collect();
        let mapped: Vec<u8> =
            self.attributes.iter().filter_map(|line| payload_type(line, "rtpmap:")).collect();
        let says = |payload: &u8| *payload < FIRST_DYNAMIC || mapped.contains(payload);
        let mut kept: Vec<u8> = Vec::new();
        for payload in types.into_iter().filter(|payload| *payload < 128 && says(payload)) {
            if !kept.contains(&payload) {
                kept.push(payload);
            }
        }
        let mut attributes = Vec::with_capacity(self.attributes.len());
        for line in std::mem::take(&mut self.attributes) {
            if let Some(of_all) = line.strip_prefix("rtcp-fb:*") {
                let of = |payload: &u8| format!("rtcp-fb:{payload}{of_all}");
                attributes.extend(kept.iter().map(of));
                continue;
            }
            let prefixes = ["rtpmap:", "fmtp:", "rtcp-fb:"];
            let of_payload = prefixes.iter().find(|prefix| line.starts_with(**prefix));
            if let Some(prefix) = of_payload
                && payload_type(&line, prefix).is_none_or(|payload| !kept.contains(&payload))
            {
                continue;
            }
            attributes.push(with_channels(line));
        }
        let feedback = attributes.iter().filter_map(|line| line.strip_prefix("rtcp-fb:"));
        self.feedback = feedback.map(str::to_owned).collect();
        self.attributes = attributes;
        self.formats = kept.iter().map(u8::to_string).collect();
    }

    /// Whether it can be served.
    fn check(&self, way: Way) -> Result<(), OfferError> {
        let unserved = |reason: String| {
            Err(OfferError::Unserved { mid: self.mid.chars().take(32).collect(), reason })
        };
        if self.mid.len() > MID_CHARS {
            return unserved(format!("an a=mid has at most {MID_CHARS} characters here"));
        }
        if !PROFILES.contains(&self.profile.as_str()) {
            let profile: String = self.profile.chars().take(32).collect();
            return unserved(format!("its profile is {profile}; UDP/TLS/RTP/SAVPF is needed"));
        }
        let (wanted, opposite) = directions(way);
        let kind = if self.kind == "audio" { "audio" } else { "video" };
        match self.direction {
            Some(found) if found == opposite => {
                Err(OfferError::WrongDirection { kind, found, wanted })
            }
            _ if self.formats.is_empty() => {
                let words = format!("the {kind} section describes none of its payload types");
                Err(OfferError::Malformed(words))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, text: &mut String) {
        text.push_str(&format!("m={} 9 UDP/TLS/RTP/SAVPF", self.kind));
        for format in &self.formats {
            text.extend([" ", format]);
        }
        text.push_str("\r\n");
        if !self.named {
            text.push_str(&format!("a=mid:{}\r\n", self.mid));
        }
        for line in answered(&self.attributes) {
            text.extend(["a=", line, "\r\n"]);
        }
        if let Some(direction) = self.direction {
            text.push_str(&format!("a={direction}\r\n"));
        }
    }

    /// What the answer says of it where it is refused (RFC 3264 §6).
    pub fn refusal(&self) -> String {
        let formats = if self.formats.is_empty() { "0".into() } else { self.formats.join(" ") };
        let (kind, profile) = (&self.kind, &self.profile);
        let mut text = format!("m={kind} 0 {profile} {formats}\r\nc=IN IP4 0.0.0.0\r\n");
        if self.named {
            text.push_str(&format!("a=mid:{}\r\n", self.mid));
        }
        text.push_str("a=inactive\r\n");
        text
    }
}

/// The direction that media goes, seen from the client, and the one it does not.
fn directions(way: Way) -> (&'static str, &'static str) {
    match way {
        Way::Publish => ("sendonly", "recvonly"),
        Way::Watch => ("recvonly", "sendonly"),
        // None is wrong.
        Way::Both => ("sendonly or recvonly", ""),
    }
}

fn direction_of(lines: &[String]) -> Option<&'static str> {
    lines.iter().find_map(|line| DIRECTIONS.into_iter().find(|direction| line == direction))
}

/// The attributes that an answer may depend on.
fn answered(lines: &[String]) -> impl Iterator<Item = &String> {
    lines.iter().filter(|line| !SOURCES.contains(&named(line)))
}

/// What an attribute's line begins with.
fn named(line: &str) -> &str {
    line.split(':').next().unwrap_or_default()
}

/// The payload type that a line with this prefix is about.
fn payload_type(line: &str, prefix: &str) -> Option<u8> {
    line.strip_prefix(prefix)?.split(' ').next()?.parse().ok()
}

/// The line with the two channels that Opus always has.
fn with_channels(line: String) -> String {
    let Some((payload, encoding)) =
        line.strip_prefix("rtpmap:").and_then(|map| map.split_once(' '))
    else {
        return line;
    };
    let mut parts = encoding.trim_start().splitn(3, '/');
    let (name, rate) = (parts.next().unwrap_or_default(), parts.next());
    match rate {
        Some(rate) if name.eq_ignore_ascii_case("opus") => {
            format!("rtpmap:{payload} opus/{rate}/2")
        }
        _ => line,
    }
}

fn check_length(
    lines: &[String],
    prefix: &str,
    chars: std::ops::RangeInclusive<usize>,
) -> Result<(), OfferError> {
    let length = lines.iter().find_map(|line| line.strip_prefix(prefix)).map(str::len);
    match length {
        Some(length) if !chars.contains(&length) => Err(OfferError::Malformed(format!(
            "a={prefix} has {length} characters; {} to {} are allowed (RFC 8839 section 5.4)",
            chars.start(),
            chars.end()
        ))),
        _ => Ok(()),
    }
}
