//! The SSRCs that an offer names.

use super::offered::Offered;
use crate::session::publisher::NamedSources;

impl Offered {
    /// The SSRCs that each served section names, with the one each repairs (RFC 5576 §4.1, RFC 4588
    /// §8.1): of each, the first line that names it says its place.
    pub fn named_sources(&self) -> Vec<NamedSources> {
        self.served().map(|section| (section.mid.clone(), sources(&section.attributes))).collect()
    }
}

fn sources(lines: &[String]) -> Vec<(u32, Option<u32>)> {
    let mut sources: Vec<(u32, Option<u32>)> = Vec::new();
    let mut named = |ssrc: u32| match sources.iter().position(|(known, _)| *known == ssrc) {
        Some(place) => place,
        None => {
            sources.push((ssrc, None));
            sources.len() - 1
        }
    };
    for line in lines.iter().filter_map(|line| line.strip_prefix("ssrc:")) {
        line.split(' ').next().and_then(|ssrc| ssrc.parse().ok()).map(&mut named);
    }
    let mut repairs = Vec::new();
    for group in lines.iter().filter_map(|line| line.strip_prefix("ssrc-group:")) {
        let words: Vec<&str> = group.split_whitespace().collect();
        if let [what, media, repair] = words[..]
            && what.eq_ignore_ascii_case("fid")
            && let (Ok(media), Ok(repair)) = (media.parse::<u32>(), repair.parse())
        {
            repairs.push((named(repair), media));
        }
    }
    for (place, media) in repairs {
        sources[place].1 = Some(media);
    }
    sources
}

#[cfg(test)]
mod tests {
    use str0m::change::SdpOffer;

    use super::*;
    use crate::session::offer::Way;

    fn offer(lines: &str) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\n\
             a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 00\r\na=setup:actpass\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:v\r\na=sendonly\r\n\
             a=rtpmap:96 VP8/90000\r\na=rtcp-mux\r\n{lines}"
        )
    }

    fn offered(lines: &str) -> Offered {
        Offered::read(&offer(lines), Way::Publish).expect("an offer")
    }

    #[test]
    fn each_source_is_named_once_and_knows_what_it_repairs() {
        let lines = "a=ssrc-group:FID 10 11\r\na=ssrc:10 cname:a\r\na=ssrc:10 msid:a b\r\n\
                     a=ssrc:11 cname:a\r\na=ssrc:12 cname:a\r\na=ssrc-group:fid 12 13\r\n\
                     a=ssrc-group:SIM 10 12\r\na=ssrc-group:FID 10 11 12\r\na=ssrc:x cname:a\r\n\
                     a=ssrc:5000000000 cname:a\r\na=ssrc-group:FID 1 y\r\n\
                     a=ssrc:14 inactive\r\n";
        let named = offered(lines).named_sources();
        let wanted = vec![(10, None), (11, Some(10)), (12, None), (14, None), (13, Some(12))];
        assert_eq!(named, [("v".to_owned(), wanted)]);
        assert_eq!(offered("").named_sources(), [("v".to_owned(), Vec::new())]);
    }

    #[test]
    fn str0m_would_read_the_same() {
        for lines in [
            "a=ssrc-group:FID 10 11\r\na=ssrc:10 cname:a\r\na=ssrc:11 cname:a\r\n",
            "a=ssrc:7 cname:a\r\na=ssrc:3 cname:a\r\na=ssrc-group:FID 3 9\r\n",
            "a=ssrc:7 label:a\r\na=ssrc-group:FID 7 8\r\na=ssrc-group:FID 7 9\r\n",
        ] {
            let sdp = SdpOffer::from_sdp_string(&offer(lines)).expect("an offer");
            let of_section = sdp.media_lines.iter().map(|line| {
                let sources = line.ssrc_info();
                let sources = sources.iter().map(|s| (*s.ssrc, s.repairs.map(|ssrc| *ssrc)));
                (line.mid().to_string(), sources.collect())
            });
            assert_eq!(offered(lines).named_sources(), of_section.collect::<Vec<NamedSources>>());
        }
    }
}
