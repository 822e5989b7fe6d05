//! Header, payload and elements lie within the packet; what is rewritten reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport_fuzz::wire::rtp::{self, HeaderWriter, ONE_BYTE_PROFILE};

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = rtp::parse(bytes) else { return };
    assert!(header.header_len <= bytes.len());
    assert_eq!(rtp::ssrc_of(bytes), Some(header.ssrc));
    if let Ok(payload) = header.payload(bytes) {
        assert!(payload.len() <= bytes.len() - header.header_len);
    }
    let elements: Vec<(u8, &[u8])> = header.elements(bytes).collect();
    let one_byte = header.extension.as_ref().is_some_and(|(p, _)| *p == ONE_BYTE_PROFILE);
    if !one_byte {
        return;
    }
    let writer = HeaderWriter {
        marker: header.marker,
        padding: header.padding,
        payload_type: header.payload_type,
        sequence: header.sequence,
        timestamp: header.timestamp,
        ssrc: header.ssrc,
    };
    let mut out = vec![0; bytes.len() + 4];
    let length = writer.write(&elements, &mut out).expect("no longer than it was read from");
    let again = rtp::parse(&out[..length]).expect("written well");
    assert!(again.elements(&out).eq(elements));
});
