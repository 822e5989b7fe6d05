//! Which library's DTLS a client gets.
//!
//! A server asks for the client's certificate before it has seen it, and must then name the kinds
//! it takes; dimpl names ECDSA on P-256 and P-384 only. So it is the hello that decides: browsers
//! and the stacks that follow them make P-256 certificates unless they are told otherwise, and get
//! dimpl, which is small and quick. Whatever is built on a library of TLS for all purposes may have
//! any certificate, and gets OpenSSL; so does whatever is not known.

use crate::limits::{MAX_HELLO_BYTES, MAX_HELLO_HELD_BYTES};
use crate::wire::hello::{ClientHello, assemble};

/// A library of DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Library {
    Dimpl,
    OpenSsl,
}

/// Which library takes a client whose first datagrams these are; `None` until its hello is whole.
pub(super) fn choose(datagrams: &[Vec<u8>]) -> Option<Library> {
    let mut buffer = [0; MAX_HELLO_BYTES];
    if let Some(message) = assemble(datagrams, &mut buffer) {
        let is_known = ClientHello::parse(message).is_some_and(|hello| is_of_browsers_kin(&hello));
        return Some(if is_known { Library::Dimpl } else { Library::OpenSsl });
    }
    let held: usize = datagrams.iter().map(Vec::len).sum();
    (held > MAX_HELLO_HELD_BYTES).then_some(Library::OpenSsl)
}

/// Cipher suites of BoringSSL and NSS in their WebRTC, of Pion, werift and dimpl: AES-GCM, ChaCha20
/// and AES-CBC with SHA-1 after ECDHE, and RSA's and DHE's that are left of older days. OpenSSL,
/// GnuTLS, mbedTLS, Schannel and Bouncy Castle have others with them unless told not to.
const SUITES: [u16; 20] = [
    0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca8, 0xcca9, 0xc009, 0xc00a, 0xc013,
    0xc014, 0x002f, 0x0033, 0x0035, 0x0039, 0x009c, 0x009d, 0x00ff,
];
/// Those of them that dimpl speaks.
const ECDHE_ECDSA_GCM: [u16; 3] = [0xc02b, 0xc02c, 0xcca9];

const DTLS_1_2: u16 = 0xfefd;
/// RFC 7366. OpenSSL, GnuTLS, mbedTLS, wolfSSL and Bouncy Castle send it; the others never do.
const ENCRYPT_THEN_MAC: u16 = 22;
/// RFC 7627, which dimpl insists on.
const EXTENDED_MASTER_SECRET: u16 = 23;
/// RFC 5764 §4.1.1.
const USE_SRTP: u16 = 14;

fn is_of_browsers_kin(hello: &ClientHello<'_>) -> bool {
    hello.version == DTLS_1_2
        && hello.extension(ENCRYPT_THEN_MAC).is_none()
        && hello.extension(EXTENDED_MASTER_SECRET).is_some()
        && hello.extension(USE_SRTP).is_some()
        && hello.suites().all(|suite| SUITES.contains(&suite))
        && hello.suites().any(|suite| ECDHE_ECDSA_GCM.contains(&suite))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Datagrams, each behind its length in two bytes.
    fn datagrams(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some((length, rest)) = file.split_first_chunk() {
            let (datagram, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
            all.push(datagram.to_vec());
            file = rest;
        }
        all
    }

    /// Hellos recorded from the clients in the fuzzer's corpus. What a file's name begins with is
    /// what becomes of it; `part-` is not whole.
    #[test]
    fn each_recorded_hello_gets_its_library() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/fuzz/corpus/hello");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("the corpus is there") {
            let path = entry.expect("it can be listed").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("names are ASCII");
            let expected = match name.split_once('-').map(|(library, _)| library) {
                Some("dimpl") => Some(Library::Dimpl),
                Some("openssl") => Some(Library::OpenSsl),
                Some("part") => None,
                // What a local run of the fuzzer has found and nobody has named yet.
                _ => continue,
            };
            let file = std::fs::read(&path).expect("it can be read");
            assert_eq!(choose(&datagrams(&file)), expected, "{name}");
            seen += 1;
        }
        assert!(seen >= 24, "only {seen} files, was the corpus lost?");
    }
}
