//! Asking a STUN server under which address it sees us (RFC 8489): the request and its answer,
//! both without credentials. The crate `is` reads messages of ICE, where a response without
//! MESSAGE-INTEGRITY is none; a STUN server's has no password to be made with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::be16;
use super::stun::{Class, HEADER_LEN, MAGIC_COOKIE, peek};
use crate::limits::MAX_STUN_ATTRIBUTES;

/// Bytes of a request: a header and no attribute.
pub const REQUEST_BYTES: usize = HEADER_LEN;

const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// A binding request. Whoever can foresee `transaction_id` can forge its answer.
#[must_use]
pub fn binding_request(transaction_id: [u8; 12]) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    request[..2].copy_from_slice(&BINDING_REQUEST);
    request[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    request[8..].copy_from_slice(&transaction_id);
    request
}

/// The address in a success response to the request with `transaction_id`; `None` for whatever
/// else a datagram may be. XOR-MAPPED-ADDRESS counts before MAPPED-ADDRESS, which old servers send
/// and some NATs rewrite (RFC 8489 §14.2).
#[must_use]
pub fn mapped_address(bytes: &[u8], transaction_id: [u8; 12]) -> Option<SocketAddr> {
    let message = peek(bytes).ok()?;
    let answers = message.class == Class::Success && message.binding;
    if !answers || message.transaction_id != transaction_id {
        return None;
    }
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(&transaction_id);
    let mut plain = None;
    let mut attributes = &bytes[HEADER_LEN..];
    for _ in 0..MAX_STUN_ATTRIBUTES {
        let Some(kind) = be16(attributes, 0) else { break };
        let length = usize::from(be16(attributes, 2)?);
        let value = attributes.get(4..4 + length)?;
        match kind {
            XOR_MAPPED_ADDRESS => return address(value, &mask),
            MAPPED_ADDRESS if plain.is_none() => plain = address(value, &[0; 16]),
            _ => {}
        }
        attributes = attributes.get(4 + length.next_multiple_of(4)..)?;
    }
    plain
}

/// RFC 8489 §14.1 and §14.2: a zero, the family, the port and the address, the last two masked.
fn address(value: &[u8], mask: &[u8; 16]) -> Option<SocketAddr> {
    let port = be16(value, 2)? ^ u16::from_be_bytes([mask[0], mask[1]]);
    let ip: IpAddr = match (value[1], value.len()) {
        (1, 8) => {
            let octets: [u8; 4] = *value[4..].first_chunk()?;
            Ipv4Addr::from(std::array::from_fn(|index| octets[index] ^ mask[index])).into()
        }
        (2, 20) => {
            let octets: [u8; 16] = *value[4..].first_chunk()?;
            Ipv6Addr::from(std::array::from_fn(|index| octets[index] ^ mask[index])).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    /// RFC 5769 §2.2, the sample response with an IPv4 address.
    const SAMPLE_V4: &[u8] = &[
        0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6,
        0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76,
        0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1,
        0x12, 0xa6, 0x43, 0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3,
        0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00,
        0x04, 0xc0, 0x7d, 0x4c, 0x96,
    ];

    /// A success response with these attributes.
    fn response(id: [u8; 12], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = binding_request(id).to_vec();
        bytes[0] = 0x01;
        for (kind, value) in attributes {
            bytes.extend(kind.to_be_bytes());
            bytes.extend((value.len() as u16).to_be_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let length = (bytes.len() - HEADER_LEN) as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    #[test]
    fn the_sample_of_the_standard_is_read() {
        assert_eq!(mapped_address(SAMPLE_V4, ID), Some("192.0.2.1:32853".parse().unwrap()));
        assert_eq!(mapped_address(SAMPLE_V4, [0; 12]), None, "somebody else's answer");
    }

    #[test]
    fn both_families_and_both_attributes_are_read() {
        let mut v6 = vec![0, 2, 0xa1, 0x47];
        // RFC 5769 §2.3.
        v6.extend([0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79]);
        v6.extend([0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9]);
        let expected = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        let plain = [0, 1, 0x1f, 0x90, 192, 0, 2, 7];
        let xor = (XOR_MAPPED_ADDRESS, &v6[..]);
        assert_eq!(mapped_address(&response(ID, &[xor]), ID), Some(expected));
        let old = (MAPPED_ADDRESS, &plain[..]);
        let alone = mapped_address(&response(ID, &[old]), ID);
        assert_eq!(alone, Some("192.0.2.7:8080".parse().unwrap()));
        assert_eq!(mapped_address(&response(ID, &[old, xor]), ID), Some(expected));
    }

    #[test]
    fn what_is_no_answer_has_no_address() {
        let plain = [0, 1, 0x1f, 0x90, 192, 0, 2, 7];
        let mut request = response(ID, &[(MAPPED_ADDRESS, &plain)]);
        request[0] = 0;
        assert_eq!(mapped_address(&request, ID), None);
        for value in [&plain[..3], &plain[..7], &[0, 3, 0, 1, 1, 2, 3, 4], &[]] {
            let wrong = response(ID, &[(MAPPED_ADDRESS, value)]);
            assert_eq!(mapped_address(&wrong, ID), None, "{value:?}");
        }
        assert_eq!(mapped_address(&response(ID, &[]), ID), None);
        assert_eq!(mapped_address(&SAMPLE_V4[..SAMPLE_V4.len() - 4], ID), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, id: [u8; 12]) {
            let _ = mapped_address(&bytes, id);
        }

        /// Most arbitrary bytes die at the header; these reach the attributes.
        #[test]
        fn arbitrary_attributes_never_panic(kind in 0u16..0x22, value: Vec<u8>, cut in 0usize..9) {
            let mut bytes = response(ID, &[(kind, &value[..value.len().min(64)]), (0x20, &[0; 8])]);
            bytes.truncate(bytes.len() - cut);
            let _ = mapped_address(&bytes, ID);
        }
    }
}
