//! SDP as text: everything that is looked up, cut or mended in it line by line is here.
//!
//! str0m reads offers and writes answers. What it cannot say, or says otherwise than clients need
//! it, is changed in the text before it reads and after it has written.

use str0m::IceCreds;

use super::OfferError;
use super::offer::Way;
use crate::media::CNAME;

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

/// The answer with the ICE name and password `kept` in place of those that str0m has `made`: a
/// session is found by its name.
pub(super) fn with_credentials(answer: &str, made: &IceCreds, kept: &IceCreds) -> String {
    answer
        .replace(
            &format!("a=ice-ufrag:{}\r\n", made.ufrag),
            &format!("a=ice-ufrag:{}\r\n", kept.ufrag),
        )
        .replace(&format!("a=ice-pwd:{}\r\n", made.pass), &format!("a=ice-pwd:{}\r\n", kept.pass))
}

/// The ICE user name in an offer, an answer or a trickled fragment: that of the session, or of its
/// first section.
#[must_use]
pub fn ice_ufrag(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).map(str::trim)
}

/// Whether one packet's header extensions may have the one-byte and the next one's the two-byte
/// form (RFC 8285 §6).
pub(super) fn mixes_extension_forms(offer: &str) -> bool {
    offer.lines().any(|line| line == "a=extmap-allow-mixed")
}

/// The offer with every media section's direction narrowed to the one this server answers to:
/// `sendrecv` (also when it is only implied) to a WHIP endpoint means `sendonly`, to a WHEP
/// endpoint `recvonly`.
///
/// A viewer's wish for simulcast is left out: it is sent one encoding of a track, under no RID, and
/// would wait for RIDs that the answer promised (RFC 8853 §5.3).
///
/// # Errors
/// [`OfferError::WrongDirection`] for the opposite direction.
pub(super) fn with_direction(text: &str, way: Way) -> Result<String, OfferError> {
    let (wanted, opposite) = match way {
        Way::Publish => ("sendonly", "recvonly"),
        Way::Watch => ("recvonly", "sendonly"),
    };
    let mut changed = String::with_capacity(text.len() + 64);
    let mut kind = None;
    let mut has_direction = true;
    let finish = |changed: &mut String, has_direction: bool| {
        if !has_direction {
            changed.push_str(&format!("a={wanted}\r\n"));
        }
    };
    for line in text.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            finish(&mut changed, has_direction);
            kind = ["audio", "video"].into_iter().find(|kind| media.starts_with(kind));
            has_direction = kind.is_none();
        }
        let asks_for_layers = line.starts_with("a=simulcast:") || line.starts_with("a=rid:");
        if way == Way::Watch && asks_for_layers {
            continue;
        }
        let direction = ["sendrecv", "sendonly", "recvonly", "inactive"]
            .into_iter()
            .find(|direction| line.strip_prefix("a=") == Some(direction));
        match (kind, direction) {
            (Some(kind), Some(found)) if found == opposite || found == "inactive" => {
                return Err(OfferError::WrongDirection { kind, found, wanted });
            }
            (Some(_), Some(_)) => {
                has_direction = true;
                changed.push_str(&format!("a={wanted}"));
            }
            _ => changed.push_str(line),
        }
        changed.push_str("\r\n");
    }
    finish(&mut changed, has_direction);
    Ok(changed)
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
    fn an_implied_or_double_direction_is_narrowed_and_the_opposite_refused() {
        let text = "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\nm=video 9 X 96\r\na=sendrecv\r\n";
        let narrowed = with_direction(text, Way::Publish).expect("both sections may send");
        assert_eq!(
            narrowed,
            "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\na=sendonly\r\nm=video 9 X 96\r\na=sendonly\r\n"
        );
        let error = with_direction("m=video 9 X 96\r\na=recvonly\r\n", Way::Publish);
        assert_eq!(
            error.expect_err("a publisher must send").to_string(),
            "the video section is recvonly; sendonly is needed"
        );
    }

    #[test]
    fn a_viewer_is_answered_without_the_simulcast_it_asks_for_and_a_publisher_with_its_own() {
        let layers = |way: &str| format!("a=rid:h {way}\r\na=simulcast:{way} h\r\n");
        let offer = format!("m=video 9 X 96\r\na=recvonly\r\n{}", layers("recv"));
        let read = with_direction(&offer, Way::Watch).expect("it receives");
        assert_eq!(read, "m=video 9 X 96\r\na=recvonly\r\n");
        let offer = format!("m=video 9 X 96\r\na=sendonly\r\n{}", layers("send"));
        assert_eq!(with_direction(&offer, Way::Publish).as_deref(), Ok(&*offer));
    }

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
