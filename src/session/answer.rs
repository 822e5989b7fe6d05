//! What is changed in the text of an answer that str0m wrote.

/// The canonical name of everything this server sends (RFC 3550 §6.5.1), in answers and in SDES.
pub const CNAME: &str = "monoport";

/// The one media stream id of an answer.
const STREAM_ID: &str = "monoport";

/// Gives audio and video one stream id and one cname, or browsers do not play them in sync; and
/// leaves out `a=ice-lite` unless `say_lite`.
///
/// The server *is* lite. But towards a peer that says so, Chromium nominates only with its second
/// check, 50 ms later, and DTLS and the first picture wait for that. Without the line it nominates
/// at once and does not miss the checks we never send.
pub(super) fn tidy(answer: &str, say_lite: bool) -> String {
    let mut text = String::with_capacity(answer.len());
    for line in answer.lines() {
        if line == "a=ice-lite" && !say_lite {
            continue;
        }
        match line_with_ids(line) {
            Some(changed) => text.push_str(&changed),
            None => text.push_str(line),
        }
        text.push_str("\r\n");
    }
    text
}

fn line_with_ids(line: &str) -> Option<String> {
    if let Some(msid) = line.strip_prefix("a=msid:") {
        let (_stream, track) = msid.split_once(' ')?;
        return Some(format!("a=msid:{STREAM_ID} {track}"));
    }
    let (ssrc, attribute) = line.strip_prefix("a=ssrc:")?.split_once(' ')?;
    if attribute.starts_with("cname:") {
        return Some(format!("a=ssrc:{ssrc} cname:{CNAME}"));
    }
    let (_stream, track) = attribute.strip_prefix("msid:")?.split_once(' ')?;
    Some(format!("a=ssrc:{ssrc} msid:{STREAM_ID} {track}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tracks_share_one_stream_and_cname_and_lite_is_unsaid() {
        let answer = "v=0\r\na=ice-lite\r\nm=audio 9 X 111\r\na=msid:s1 t1\r\na=ssrc:1 cname:c1\r\n\
                      a=ssrc:1 msid:s1 t1\r\nm=video 9 X 96\r\na=msid:s2 t2\r\n\
                      a=ssrc:2 cname:c2\r\n";
        assert_eq!(
            tidy(answer, false),
            "v=0\r\nm=audio 9 X 111\r\na=msid:monoport t1\r\na=ssrc:1 cname:monoport\r\n\
             a=ssrc:1 msid:monoport t1\r\nm=video 9 X 96\r\na=msid:monoport t2\r\n\
             a=ssrc:2 cname:monoport\r\n"
        );
        assert!(tidy(answer, true).contains("a=ice-lite\r\n"));
    }
}
