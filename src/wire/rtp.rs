//! RTP headers (RFC 3550 §5.1) and their extension elements (RFC 8285).
//!
//! SRTP leaves the header in the clear, so the same parser reads a packet before and after
//! decryption; only [`Header::payload`] needs the decrypted one.

use std::ops::Range;

use super::{Malformed, be16, be32};

/// Bytes of the header before CSRCs and extension.
pub const FIXED_LEN: usize = 12;

/// The profile word of one-byte extension elements (RFC 8285 §4.2).
pub const ONE_BYTE_PROFILE: u16 = 0xBEDE;

/// The profile word of two-byte extension elements (RFC 8285 §4.3), its application bits zero.
pub const TWO_BYTE_PROFILE: u16 = 0x1000;

/// The header of an RTP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// For video, the last packet of a frame.
    pub marker: bool,
    /// 7 bits.
    pub payload_type: u8,
    /// Counts packets of this SSRC; wraps.
    pub sequence: u16,
    /// In units of the codec's clock; wraps.
    pub timestamp: u32,
    /// Which source.
    pub ssrc: u32,
    /// Bytes before the payload, CSRCs and extension included.
    pub header_len: usize,
    /// The payload ends in padding, whose last byte tells how much.
    pub padding: bool,
    /// The profile word of the extension and where its elements stand in the packet.
    pub extension: Option<(u16, Range<usize>)>,
}

/// Reads the header of an RTP or SRTP packet.
///
/// # Errors
///
/// When the version is not 2 or the packet ends before its header does.
#[inline]
pub fn parse(packet: &[u8]) -> Result<Header, Malformed> {
    let fixed: &[u8; FIXED_LEN] = packet.first_chunk().ok_or(Malformed::Short)?;
    if fixed[0] >> 6 != 2 {
        return Err(Malformed::Constant);
    }
    let mut header_len = FIXED_LEN + 4 * usize::from(fixed[0] & 0x0F);
    let mut extension = None;
    if fixed[0] & 0x10 != 0 {
        let profile = be16(packet, header_len).ok_or(Malformed::Length)?;
        let words = be16(packet, header_len + 2).ok_or(Malformed::Length)?;
        let start = header_len + 4;
        header_len = start + 4 * usize::from(words);
        extension = Some((profile, start..header_len));
    }
    if header_len > packet.len() {
        return Err(Malformed::Length);
    }
    Ok(Header {
        marker: fixed[1] & 0x80 != 0,
        payload_type: fixed[1] & 0x7F,
        sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
        timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
        ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        header_len,
        padding: fixed[0] & 0x20 != 0,
        extension,
    })
}

/// The SSRC of a packet whose first byte was already found to be RTP's; `None` when it is short.
#[must_use]
#[inline]
pub fn ssrc_of(packet: &[u8]) -> Option<u32> {
    be32(packet, 8)
}

impl Header {
    /// The payload of the *decrypted* packet this header was read from, without its padding.
    ///
    /// # Errors
    ///
    /// When the padding is said to be longer than what follows the header, or zero bytes.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let padded = packet.get(self.header_len..).ok_or(Malformed::Length)?;
        if !self.padding {
            return Ok(padded);
        }
        let count = usize::from(*padded.last().ok_or(Malformed::Length)?);
        if count == 0 || count > padded.len() {
            return Err(Malformed::Length);
        }
        Ok(&padded[..padded.len() - count])
    }

    /// The extension elements of the packet this header was read from: identifier and data.
    #[must_use]
    pub fn elements<'a>(&self, packet: &'a [u8]) -> Elements<'a> {
        let Some((profile, range)) = &self.extension else {
            return Elements { profile: ONE_BYTE_PROFILE, rest: &[] };
        };
        Elements { profile: *profile, rest: packet.get(range.clone()).unwrap_or_default() }
    }
}

/// Iterates over extension elements in the one-byte (RFC 8285 §4.2) or two-byte (§4.3) form.
///
/// An element that is cut short ends the iteration, and so does a profile that is neither form:
/// a damaged extension costs its own elements, not the packet.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    profile: u16,
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // A zero byte is padding between elements in both forms.
        let padding = self.rest.iter().take_while(|&&byte| byte == 0).count();
        let rest = &self.rest[padding..];
        self.rest = &[];
        let (id, length, data_at) = match self.profile {
            ONE_BYTE_PROFILE => {
                let first = *rest.first()?;
                (first >> 4, usize::from(first & 0x0F) + 1, 1)
            }
            // The low four bits are the application's to use.
            0x1000..=0x100F => (*rest.first()?, usize::from(*rest.get(1)?), 2),
            _ => return None,
        };
        // RFC 8285 §4.2: in the one-byte form identifier 15 ends the elements, and so does padding
        // that claims a length.
        if self.profile == ONE_BYTE_PROFILE && matches!(id, 0 | 15) {
            return None;
        }
        let data = rest.get(data_at..data_at + length)?;
        self.rest = &rest[data_at + length..];
        Some((id, data))
    }
}

/// Writes RTP headers without CSRCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderWriter {
    /// For video, the last packet of a frame.
    pub marker: bool,
    /// The payload will end in padding.
    pub padding: bool,
    /// 7 bits.
    pub payload_type: u8,
    /// Counts packets of this SSRC; wraps.
    pub sequence: u16,
    /// In units of the codec's clock; wraps.
    pub timestamp: u32,
    /// Which source.
    pub ssrc: u32,
}

impl HeaderWriter {
    /// Writes the header and `elements` to the front of `out`, and returns the header's length: 12
    /// bytes, and with elements 4 more and theirs rounded up to whole words.
    ///
    /// Elements take the one-byte form as long as each has 1 to 16 bytes of data, else all of them
    /// the two-byte form (RFC 8285 §4.1.2: the forms don't mix in one packet).
    ///
    /// `None` when `out` is too short, an identifier is not within 1..=14 (15 has a meaning of its
    /// own in the one-byte form), or an element has more than 255 bytes; `out` then holds nothing
    /// of use.
    #[must_use]
    pub fn write(&self, elements: &[(u8, &[u8])], out: &mut [u8]) -> Option<usize> {
        let fixed: &mut [u8; FIXED_LEN] = out.first_chunk_mut()?;
        let extended = u8::from(!elements.is_empty()) << 4;
        fixed[0] = 0x80 | u8::from(self.padding) << 5 | extended;
        fixed[1] = u8::from(self.marker) << 7 | self.payload_type & 0x7F;
        fixed[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        fixed[8..].copy_from_slice(&self.ssrc.to_be_bytes());
        if elements.is_empty() {
            return Some(FIXED_LEN);
        }
        let start = FIXED_LEN + 4;
        let one_byte = elements.iter().all(|(_, data)| (1..=16).contains(&data.len()));
        let profile = if one_byte { ONE_BYTE_PROFILE } else { TWO_BYTE_PROFILE };
        let mut end = start;
        for (id, data) in elements {
            let length = u8::try_from(data.len()).ok()?;
            if !(1..=14).contains(id) {
                return None;
            }
            if one_byte {
                *out.get_mut(end)? = id << 4 | (length - 1);
                end += 1;
            } else {
                out.get_mut(end..end + 2)?.copy_from_slice(&[*id, length]);
                end += 2;
            }
            out.get_mut(end..end + data.len())?.copy_from_slice(data);
            end += data.len();
        }
        let header_len = end.next_multiple_of(4);
        out.get_mut(end..header_len)?.fill(0);
        let words = u16::try_from((header_len - start) / 4).ok()?;
        out[FIXED_LEN..FIXED_LEN + 2].copy_from_slice(&profile.to_be_bytes());
        out[FIXED_LEN + 2..start].copy_from_slice(&words.to_be_bytes());
        Some(header_len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WRITER: HeaderWriter = HeaderWriter {
        marker: true,
        padding: false,
        payload_type: 96,
        sequence: 0x1234,
        timestamp: 0x5678_9ABC,
        ssrc: 0xDEAD_BEEF,
    };

    /// A header without extension, in front of `len` bytes in all.
    fn plain(len: usize) -> Vec<u8> {
        let mut packet = vec![0; len];
        assert_eq!(WRITER.write(&[], &mut packet), Some(FIXED_LEN));
        packet
    }

    fn elements_of(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let header = parse(packet).unwrap();
        header.elements(packet).map(|(id, data)| (id, data.to_vec())).collect()
    }

    #[test]
    fn layout_is_that_of_rfc_3550() {
        let mut out = [0; 20];
        assert_eq!(WRITER.write(&[(5, &[1, 2, 3])], &mut out), Some(20));
        let expected = [
            0x90, 0xE0, 0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC, 0xDE, 0xAD, 0xBE, 0xEF, 0xBE, 0xDE, 0,
            1, 0x52, 1, 2, 3,
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn contributing_sources_are_part_of_the_header() {
        let mut packet = plain(22);
        packet[0] |= 2;
        let header = parse(&packet).unwrap();
        assert_eq!(header.header_len, 20);
        assert_eq!(header.payload(&packet), Ok([0, 0].as_slice()));
        assert_eq!(parse(&packet[..19]), Err(Malformed::Length));
    }

    #[test]
    fn two_byte_elements_may_be_empty_or_long() {
        let mut packet = plain(12);
        packet[0] |= 0x10;
        packet.extend([0x10, 0x05, 0, 6, 7, 0, 0, 200, 17]);
        packet.extend([9; 17]);
        packet.resize(16 + 24, 0);
        assert_eq!(elements_of(&packet), [(7, vec![]), (200, vec![9; 17])]);
    }

    #[test]
    fn damaged_elements_end_the_iteration_only() {
        let mut packet = plain(12);
        packet[0] |= 0x10;
        packet.extend([0xBE, 0xDE, 0, 1, 0x10, 42, 0x2F, 1]);
        assert_eq!(
            elements_of(&packet),
            [(1, vec![42])],
            "the second reaches beyond the extension"
        );
        packet[16..].copy_from_slice(&[0xF0, 42, 0x10, 1]);
        assert_eq!(elements_of(&packet), [], "identifier 15 ends the elements");
        packet[16] = 0x01;
        assert_eq!(elements_of(&packet), [], "so does padding with a length");
        packet[12] = 0;
        packet[16] = 0x10;
        assert_eq!(elements_of(&packet), [], "an unknown profile has no elements");
    }

    #[test]
    fn padding_is_stripped_and_checked() {
        let mut packet = plain(12);
        packet[0] |= 0x20;
        packet.extend([7; 4]);
        let header = parse(&packet).unwrap();
        for (count, payload) in [
            (0, Err(Malformed::Length)),
            (1, Ok([7, 7, 7].as_slice())),
            (4, Ok([].as_slice())),
            (5, Err(Malformed::Length)),
        ] {
            packet[15] = count;
            assert_eq!(header.payload(&packet), payload);
        }
        assert_eq!(header.payload(&packet[..12]), Err(Malformed::Length));
    }

    #[test]
    fn writer_refuses_what_the_form_cannot_hold() {
        let mut out = [0; 64];
        assert_eq!(WRITER.write(&[], &mut out[..11]), None);
        assert_eq!(WRITER.write(&[(1, &[0])], &mut out[..17]), None);
        assert_eq!(WRITER.write(&[(0, &[0])], &mut out), None);
        assert_eq!(WRITER.write(&[(15, &[0])], &mut out), None);
        assert_eq!(WRITER.write(&[(1, &[0; 256])], &mut [0; 400]), None);
        assert_eq!(WRITER.write(&[(1, &[0; 17])], &mut out[..16 + 2 + 16]), None);
    }

    #[test]
    fn one_long_element_gives_all_of_them_the_two_byte_form() {
        let mut out = [0xAA; 48];
        let long = [7; 17];
        assert_eq!(WRITER.write(&[(4, &[9]), (12, &long), (5, &[])], &mut out), Some(40));
        assert_eq!(out[12..22], [0x10, 0, 0, 6, 4, 1, 9, 12, 17, 7]);
        assert_eq!(elements_of(&out[..40]), [(4, vec![9]), (12, long.to_vec()), (5, vec![])]);
    }

    fn element() -> impl Strategy<Value = (u8, Vec<u8>)> {
        (1u8..15, prop::collection::vec(any::<u8>(), 0..=20))
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, first in 0x80u8..0xC0) {
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            if let Ok(header) = parse(&bytes) {
                prop_assert!(header.header_len <= bytes.len());
                let _ = header.payload(&bytes);
                let _ = header.elements(&bytes).count();
                let _ = header.elements(&[]).count();
            }
            let _ = ssrc_of(&bytes);
        }

        #[test]
        fn arbitrary_elements_never_panic(profile: bool, mut body: Vec<u8>) {
            body.resize(body.len().next_multiple_of(4), 0);
            let mut packet = plain(12);
            packet[0] |= 0x10;
            packet.extend(if profile { [0xBE, 0xDE] } else { [0x10, 0] });
            packet.extend(((body.len() / 4) as u16).to_be_bytes());
            packet.extend(&body);
            let header = parse(&packet).unwrap();
            prop_assert!(header.elements(&packet).count() <= body.len());
        }

        #[test]
        fn what_is_written_is_read(
            flags in any::<(bool, bool)>(),
            payload_type in 0u8..128,
            (sequence, timestamp, ssrc) in any::<(u16, u32, u32)>(),
            elements in prop::collection::vec(element(), 0..6),
        ) {
            let (marker, padding) = flags;
            let writer = HeaderWriter { marker, padding, payload_type, sequence, timestamp, ssrc };
            let borrowed: Vec<(u8, &[u8])> =
                elements.iter().map(|(id, data)| (*id, data.as_slice())).collect();
            let mut out = [0xAA; 200];
            let length = writer.write(&borrowed, &mut out).unwrap();
            let header = parse(&out[..length]).unwrap();
            prop_assert_eq!(header.header_len, length);
            prop_assert_eq!(ssrc_of(&out), Some(ssrc));
            prop_assert_eq!(elements_of(&out[..length]), elements);
            let read = HeaderWriter {
                marker: header.marker,
                padding: header.padding,
                payload_type: header.payload_type,
                sequence: header.sequence,
                timestamp: header.timestamp,
                ssrc: header.ssrc,
            };
            prop_assert_eq!(read, writer);
        }
    }
}
