//! A ClientHello (RFC 5246 §7.4.1.2, RFC 6347 §4.3.2), put together from the datagrams it came in.
//!
//! DTLS is the libraries'. This reads what a client lists in the clear, from which its own library
//! can be told.

use super::{be16, be24};

/// Type, version, epoch, sequence number and length (RFC 6347 §4.1).
const RECORD_HEADER_BYTES: usize = 13;
/// Type, length, message number, fragment offset and fragment length (RFC 6347 §4.2.2).
const MESSAGE_HEADER_BYTES: usize = 12;
/// Records looked at in one datagram.
const MOST_RECORDS: usize = 8;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// What a client lists in its hello. Made of any bytes: what is cut short is shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The highest version without the extension for later ones: 0xfefd for DTLS 1.2.
    pub version: u16,
    suites: &'a [u8],
    extensions: &'a [u8],
}

/// The message of a whole ClientHello, without its header, put together in `buffer` from the
/// datagrams that came first; `None` while a part of it is missing, and where there is none that
/// fits.
#[must_use]
pub fn assemble<'b>(datagrams: &[Vec<u8>], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let mut have = 0;
    loop {
        // Fragments overlap and come in any order (RFC 6347 §4.2.3): whichever leads further.
        let mut fragments = datagrams.iter().flat_map(|datagram| fragments(datagram));
        let next = fragments.find(|next| {
            let end = next.offset + next.bytes.len();
            (have < end && next.offset <= have) && end <= next.total && next.total <= buffer.len()
        })?;
        let end = next.offset + next.bytes.len();
        buffer[have..end].copy_from_slice(&next.bytes[have - next.offset..]);
        have = end;
        if have == next.total {
            return buffer.get(..have);
        }
    }
}

/// A part of a ClientHello.
struct Fragment<'a> {
    total: usize,
    offset: usize,
    bytes: &'a [u8],
}

/// Those in the clear in one datagram.
fn fragments(datagram: &[u8]) -> impl Iterator<Item = Fragment<'_>> {
    let mut rest = datagram;
    let records = std::iter::from_fn(move || {
        let length = usize::from(be16(rest, 11)?);
        let (kind, epoch) = (*rest.first()?, be16(rest, 3)?);
        let body = rest.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length)?;
        rest = &rest[RECORD_HEADER_BYTES + length..];
        Some((kind, epoch, body))
    });
    let clear = |(kind, epoch, body)| (kind == HANDSHAKE && epoch == 0).then_some(body);
    records.take(MOST_RECORDS).filter_map(clear).filter_map(|body: &[u8]| {
        let length = be24(body, 9)?;
        let bytes = body.get(MESSAGE_HEADER_BYTES..MESSAGE_HEADER_BYTES + length)?;
        let (total, offset) = (be24(body, 1)?, be24(body, 6)?);
        (*body.first()? == CLIENT_HELLO).then_some(Fragment { total, offset, bytes })
    })
}

impl<'a> ClientHello<'a> {
    /// Reads a message that [`assemble`] has put together; `None` where it is not one.
    #[must_use]
    pub fn parse(message: &'a [u8]) -> Option<ClientHello<'a>> {
        /// Version and random.
        const FIXED_BYTES: usize = 2 + 32;
        let version = be16(message, 0)?;
        let rest = message.get(FIXED_BYTES..)?;
        let (_session, rest) = vector8(rest)?;
        let (_cookie, rest) = vector8(rest)?;
        let (suites, rest) = vector16(rest)?;
        let (_compression, rest) = vector8(rest)?;
        // A hello may have none.
        let extensions = vector16(rest).map_or(&[][..], |(extensions, _)| extensions);
        Some(ClientHello { version, suites, extensions })
    }

    /// The numbers of its cipher suites.
    pub fn suites(&self) -> impl Iterator<Item = u16> {
        self.suites.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// What it says in the extension of this number.
    #[must_use]
    pub fn extension(&self, number: u16) -> Option<&'a [u8]> {
        let mut rest = self.extensions;
        while let Some(kind) = be16(rest, 0) {
            let (body, after) = vector16(&rest[2..])?;
            if kind == number {
                return Some(body);
            }
            rest = after;
        }
        None
    }
}

/// Bytes behind their number, which is of one byte, and what follows them.
fn vector8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// The same with a number of two bytes.
fn vector16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(be16(bytes, 0)?);
    bytes[2..].split_at_checked(length)
}
