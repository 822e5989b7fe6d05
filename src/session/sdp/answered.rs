//! An answer's text, mended after str0m has written it.

use super::offered::{Offered, OfferedSection};
use crate::media::CNAME;

/// The one media stream id of an answer.
const STREAM_ID: &str = "monoport";

impl Offered {
    /// The answer to this offer, of what str0m has `answered` to [`Offered::text`]. `a=ice-lite` is
    /// left out unless `say_lite`.
    ///
    /// The server *is* lite. But towards a peer that says so, Chromium nominates only with its
    /// second check, 50 ms later, and DTLS and the first picture wait for that. Without the line it
    /// nominates at once and does not miss the checks we never send.
    pub fn answer(&self, answered: &str, say_lite: bool) -> String {
        let mut sections = split(answered);
        let session = sections.remove(0);
        let mut candidates: Vec<&str> =
            answered.lines().filter(|line| is_candidate(line)).collect();
        let mut text = String::with_capacity(answered.len() + 256);
        for line in session {
            let is_group = line.starts_with("a=group:");
            if (line == "a=ice-lite" && !say_lite) || (is_group && !self.grouped) {
                continue;
            }
            match line.starts_with("a=msid-semantic:") {
                true => push(&mut text, &format!("a=msid-semantic: WMS {STREAM_ID}")),
                false => push(&mut text, line),
            }
        }
        let mut sections = sections.into_iter().peekable();
        for offered in &self.sections {
            let is_its = |lines: &Vec<&str>| lines.iter().any(|line| offered.is_named_by(line));
            let Some(lines) = sections.next_if(is_its) else {
                text.push_str(&offered.refusal());
                continue;
            };
            // What was stopped since an earlier offer is of no use for addresses.
            let live = !offered.refused;
            let here = if live { std::mem::take(&mut candidates) } else { Vec::new() };
            offered.write_answer(&mut text, &lines, &here);
        }
        text
    }
}

impl OfferedSection {
    fn is_named_by(&self, line: &str) -> bool {
        line.strip_prefix("a=mid:") == Some(&self.mid)
    }

    /// What str0m says of the section, as its offerer may hear it: in its profile, without feedback
    /// that it did not offer (RFC 4585 §4.2), and with one stream id and one cname for audio and
    /// video, or browsers do not play them in sync. The transport's addresses go where the first
    /// live section is.
    fn write_answer(&self, text: &mut String, lines: &[&str], candidates: &[&str]) {
        let lines = self.with_redundancy(lines);
        for line in lines.iter().map(String::as_str).filter(|line| !is_candidate(line)) {
            if line.starts_with("m=") {
                push(text, &line.replacen("UDP/TLS/RTP/SAVPF", &self.profile, 1));
                continue;
            }
            let feedback = line.strip_prefix("a=rtcp-fb:");
            let unasked = feedback.is_some_and(|feedback| !self.offers(feedback));
            if unasked || (!self.named && self.is_named_by(line)) {
                continue;
            }
            match self.line_with_ids(line) {
                Some(changed) => push(text, &changed),
                None => push(text, line),
            }
            if line.starts_with("c=") {
                candidates.iter().for_each(|candidate| push(text, candidate));
            }
        }
    }

    /// The line with other ids than str0m has made up: those of its section, which each answer to
    /// an offer of the session has again.
    fn line_with_ids(&self, line: &str) -> Option<String> {
        let track = &self.mid;
        if line.starts_with("a=msid:") {
            return Some(format!("a=msid:{STREAM_ID} {track}"));
        }
        let (ssrc, attribute) = line.strip_prefix("a=ssrc:")?.split_once(' ')?;
        if attribute.starts_with("cname:") {
            return Some(format!("a=ssrc:{ssrc} cname:{CNAME}"));
        }
        attribute.starts_with("msid:").then(|| format!("a=ssrc:{ssrc} msid:{STREAM_ID} {track}"))
    }

    fn offers(&self, feedback: &str) -> bool {
        self.feedback.iter().any(|offered| offered == feedback)
    }
}

fn is_candidate(line: &str) -> bool {
    line.starts_with("a=candidate:") || line == "a=end-of-candidates"
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push_str("\r\n");
}

/// The lines of the session, and those of each section.
fn split(text: &str) -> Vec<Vec<&str>> {
    let mut parts = vec![Vec::new()];
    for line in text.lines() {
        if line.starts_with("m=") {
            parts.push(Vec::new());
        }
        parts.last_mut().expect("the session's are there").push(line);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::offer::Way;

    fn offered(sections: &str) -> Offered {
        let text = format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\na=group:BUNDLE 0 1\r\n{sections}");
        Offered::read(&text, Way::Watch).expect("it can be served")
    }

    const AUDIO: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n";
    const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n";

    #[test]
    fn both_tracks_share_one_stream_and_cname_and_lite_is_unsaid() {
        let offered = offered(&format!("{AUDIO}{VIDEO}"));
        let answer = "v=0\r\na=ice-lite\r\nm=audio 9 X 111\r\na=mid:0\r\na=msid:s1 t1\r\n\
                      a=ssrc:1 cname:c1\r\na=ssrc:1 msid:s1 t1\r\nm=video 9 X 96\r\na=mid:1\r\n\
                      a=msid:s2 t2\r\na=ssrc:2 cname:c2\r\n";
        assert_eq!(
            offered.answer(answer, false),
            "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\na=msid:monoport 0\r\na=ssrc:1 cname:monoport\r\n\
             a=ssrc:1 msid:monoport 0\r\nm=video 9 X 96\r\na=mid:1\r\na=msid:monoport 1\r\n\
             a=ssrc:2 cname:monoport\r\n"
        );
        assert!(offered.answer(answer, true).contains("a=ice-lite\r\n"));
    }

    #[test]
    fn a_stopped_section_is_refused_in_its_place_and_the_addresses_are_with_the_next() {
        let stopped = "m=audio 0 RTP/SAVPF 0\r\na=mid:0\r\na=inactive\r\n";
        let offered = offered(&format!("{stopped}{VIDEO}m=text 0 TCP x\r\n"));
        let answer = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n\
                      a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n";
        assert_eq!(
            offered.answer(answer, false),
            "v=0\r\nm=audio 0 RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=inactive\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n\
             a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\na=mid:1\r\n\
             m=text 0 TCP x\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n"
        );
    }

    #[test]
    fn a_data_channel_is_refused_in_its_place() {
        let channel = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n";
        let offered = offered(&format!("{channel}a=ice-ufrag:abcd\r\n{VIDEO}"));
        assert!(!offered.text().contains("m=application"), "str0m would open it");
        assert!(offered.text().contains("a=ice-ufrag:abcd"), "the transport is the group's");
        let answer = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n";
        assert_eq!(
            offered.answer(answer, false),
            "v=0\r\nm=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
             a=mid:0\r\na=inactive\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n"
        );
    }

    #[test]
    fn feedback_that_was_not_offered_is_not_answered() {
        let offered = offered(&format!("{VIDEO}a=rtcp-fb:96 nack\r\n"));
        let answer = "v=0\r\nm=video 9 X 96\r\na=mid:1\r\na=rtcp-fb:96 nack\r\n\
                      a=rtcp-fb:96 nack pli\r\na=rtcp-fb:97 nack\r\n";
        let told = offered.answer(answer, false);
        assert!(told.contains("a=rtcp-fb:96 nack\r\n"), "{told}");
        assert!(!told.contains("pli") && !told.contains(":97"), "{told}");
    }
}
