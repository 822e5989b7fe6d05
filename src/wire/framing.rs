//! Datagrams in a byte stream (RFC 4571 §2), which is how ICE speaks over TCP (RFC 6544 §3): two
//! bytes of length, most significant first, then that many bytes.
//!
//! ```text
//!  0                   1
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
//! +-------------------------------+-------------- - -
//! |            LENGTH             |  the datagram
//! +-------------------------------+-------------- - -
//! ```
//!
//! A length of zero is a frame without content, which says nothing and is nobody's mistake.

use super::be16;

/// Bytes in front of each datagram.
pub const HEADER_BYTES: usize = 2;

/// What waits to go into a byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Bytes that the kernel has not taken.
    pub waiting: usize,
    /// Bytes that it has taken since the connection is there.
    pub taken: u64,
    /// Whether it took less than there was, last.
    pub blocked: bool,
}

/// What stands at the front of a byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front<'a> {
    /// A whole datagram, and what follows it.
    Whole(&'a [u8], &'a [u8]),
    /// The beginning of a frame; more bytes are needed.
    Part,
    /// A frame longer than is taken, by its length: from here on the stream can't be followed.
    TooLong(usize),
}

/// Looks at the front of `stream` for a datagram of at most `most` bytes. The length alone is
/// enough to refuse one, before a byte of it has come.
#[must_use]
#[inline]
pub fn front(stream: &[u8], most: usize) -> Front<'_> {
    let Some(length) = be16(stream, 0).map(usize::from) else { return Front::Part };
    if length > most {
        return Front::TooLong(length);
    }
    match stream[HEADER_BYTES..].split_at_checked(length) {
        Some((datagram, rest)) => Front::Whole(datagram, rest),
        None => Front::Part,
    }
}

/// The two bytes in front of a datagram of `length` bytes; `None` for what no frame can hold.
#[must_use]
#[inline]
pub fn header(length: usize) -> Option<[u8; HEADER_BYTES]> {
    u16::try_from(length).ok().map(u16::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(datagrams: &[Vec<u8>]) -> Vec<u8> {
        let frame = |datagram: &Vec<u8>| [&header(datagram.len()).unwrap()[..], datagram].concat();
        datagrams.iter().flat_map(frame).collect()
    }

    #[test]
    fn a_frame_is_whole_with_its_last_byte_and_not_before() {
        let stream = framed(&[b"abc".to_vec(), b"d".to_vec()]);
        for end in 0..5 {
            assert_eq!(front(&stream[..end], 3), Front::Part, "{end} bytes");
        }
        assert_eq!(front(&stream, 3), Front::Whole(b"abc", &[0, 1, b'd']));
        assert_eq!(front(&[0, 0, 0, 1], 3), Front::Whole(&[], &[0, 1]), "nothing is a frame too");
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_at_once() {
        assert_eq!(front(&[0, 4], 3), Front::TooLong(4));
        assert_eq!(front(&[0, 3], 3), Front::Part);
        // What a browser says to a web server, and to one behind TLS.
        assert_eq!(front(b"GET / HTTP/1.1", 1_500), Front::TooLong(0x4745));
        assert_eq!(front(&[0x16, 3, 1, 2, 0], 1_500), Front::TooLong(0x1603));
        assert_eq!(front(&[0xff, 0xff], 65_535), Front::Part);
    }

    #[test]
    fn a_length_is_two_bytes() {
        assert_eq!(header(0x1234), Some([0x12, 0x34]));
        assert_eq!(header(65_536), None);
    }

    proptest! {
        /// However the network cuts a stream, the same datagrams come out of it.
        #[test]
        fn datagrams_survive_any_cuts(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in prop::collection::vec(1usize..400, 1..40),
        ) {
            let stream = framed(&datagrams);
            let (mut held, mut read, mut fed) = (Vec::new(), Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                let end = stream.len().min(fed + cut);
                held.extend_from_slice(&stream[fed..end]);
                fed = end;
                while let Front::Whole(datagram, rest) = front(&held, 300) {
                    read.push(datagram.to_vec());
                    held = rest.to_vec();
                }
                if fed == stream.len() {
                    break;
                }
            }
            prop_assert_eq!(read, datagrams);
            prop_assert!(held.is_empty());
        }

        #[test]
        fn arbitrary_bytes_give_what_they_hold(bytes: Vec<u8>, most in 0usize..70_000) {
            match front(&bytes, most) {
                Front::Whole(datagram, rest) => {
                    prop_assert!(datagram.len() <= most);
                    prop_assert_eq!(HEADER_BYTES + datagram.len() + rest.len(), bytes.len());
                }
                Front::TooLong(length) => prop_assert!(length > most),
                Front::Part => prop_assert!(bytes.len() < HEADER_BYTES + most.max(1)),
            }
        }
    }
}
