//! A stream cut anywhere holds the same datagrams as the whole one, and none is longer than asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport_fuzz::limits::MAX_TCP_FRAME_IN;
use monoport_fuzz::wire::framing::{self, Front};

/// The datagrams of a stream, and whether it can be followed to its end.
fn datagrams(mut stream: &[u8], most: usize) -> (Vec<&[u8]>, bool) {
    let mut found = Vec::new();
    loop {
        match framing::front(stream, most) {
            Front::Whole(datagram, rest) => {
                assert!(datagram.len() <= most);
                assert_eq!(framing::HEADER_BYTES + datagram.len() + rest.len(), stream.len());
                found.push(datagram);
                stream = rest;
            }
            Front::Part => return (found, true),
            Front::TooLong(length) => {
                assert!(length > most);
                return (found, false);
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, stream)) = bytes.split_first() else { return };
    let (whole, followed) = datagrams(stream, MAX_TCP_FRAME_IN);
    let cut = stream.len() * usize::from(cut) / 256;
    let (early, _) = datagrams(&stream[..cut], MAX_TCP_FRAME_IN);
    assert_eq!(early, whole[..early.len()], "what was whole before the cut stays so");
    let (short, _) = datagrams(stream, 16);
    assert!(short.len() <= whole.len());
    let again: Vec<u8> = whole
        .iter()
        .flat_map(|datagram| [&framing::header(datagram.len()).unwrap()[..], datagram].concat())
        .collect();
    assert!(stream.starts_with(&again) && (followed || again.len() < stream.len()));
});
