//! What two processes say to each other: one JSON object a message, descriptors beside it.
//!
//! The later process begins with the versions it speaks, and the earlier one chooses the newest
//! that both do. Within a version, fields and letters are only added: what is not known is passed
//! over.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::TakeoverError;
use crate::limits::TAKEOVER_LETTER_BYTES;
use crate::net::PacketSocket;
use crate::node::announce::Reachable;

/// The newest version of the protocol that this program speaks.
pub(super) const NEWEST: u32 = 1;
/// The oldest: of the release before this one.
pub(super) const OLDEST: u32 = 1;

/// The later process's words.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Asked {
    /// It would take over.
    Hello { oldest: u32, newest: u32, version: String },
    /// It will not, after all.
    Abort { why: String },
    /// It reads the sockets: the earlier process may stop.
    Ready,
    /// An HTTP connection to serve: its descriptor comes with this.
    Http,
    /// A TCP connection of media to one of the earlier process's sessions, and what was read of it;
    /// its descriptor comes with this.
    Connection { local: SocketAddr, remote: SocketAddr, received: Vec<u8> },
    /// This stream has a publisher in a later process now.
    Live { stream: String },
    /// The server is to stop, and the earlier process is part of it.
    Stop,
    /// Whether a third process has taken over from the later one, which must not be stood in for.
    Followed { followed: bool },
    /// What a later version has to say beyond that.
    #[serde(other)]
    Unknown,
}

/// The earlier process's words.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Answered {
    /// It stays where it is.
    Refused { why: String },
    /// What it has. Its descriptors come with the messages behind this.
    Welcome(Box<Welcome>),
    /// Some of them.
    Descriptors,
    /// It reads and accepts no longer.
    Yours,
    /// What it has left, with the processes before it.
    Left { sessions: usize, streams: usize },
    /// What a later version has to say beyond that.
    #[serde(other)]
    Unknown,
}

/// What the earlier process has. The descriptors are those of the UDP sockets (of each port, of
/// each shard), the HTTP listener, the TCP listener, the steering maps, and of each shard the end
/// that strays are written to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// The version spoken from here on.
    pub protocol: u32,
    /// Of the program.
    pub version: String,
    pub shards: usize,
    /// The mux ports, in the order of their slots.
    pub ports: Vec<u16>,
    /// The ports of sessions.
    pub range: Option<(u16, u16)>,
    /// Whether it has a TCP port for media.
    pub tcp: bool,
    /// Its steering maps: none, the flows, or the flows and the drops.
    pub maps: usize,
    /// The keys of its ufrags and of those before it, in hexadecimal.
    pub keys: Vec<String>,
    /// The addresses answers name.
    pub reachable: Vec<Reachable>,
    pub sessions: usize,
    /// Tells the node from its predecessor of the same name: both processes are one node.
    #[serde(default)]
    pub incarnation: Option<u64>,
}

impl Welcome {
    pub fn descriptors(&self) -> usize {
        let sockets = self.ports.len().saturating_mul(self.shards);
        let beside = usize::from(self.tcp).saturating_add(self.maps).saturating_add(self.shards);
        sockets.saturating_add(beside).saturating_add(1)
    }
}

pub(super) fn write(letter: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(letter).unwrap_or_default()
}

/// Sends a letter.
pub(super) fn send(
    to: &PacketSocket,
    letter: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    to.send(&write(letter), descriptors)
}

/// The letter that these bytes are.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TakeoverError> {
    serde_json::from_slice(bytes).map_err(|error| TakeoverError::Broken(error.to_string()))
}

/// What these bytes are to the earlier process and to the later one, written again as each
/// understands it: how letters are tried that no process of ours has written.
///
/// # Errors
/// One of the two would not know what to make of them. What is a letter to the other alone is to
/// it one of a later version, which is passed over.
pub fn understood_letter(bytes: &[u8]) -> Result<[Vec<u8>; 2], TakeoverError> {
    let (asked, answered) = (read::<Asked>(bytes)?, read::<Answered>(bytes)?);
    if let Answered::Welcome(welcome) = &answered {
        // What the later process makes of it before it takes the descriptors.
        let _ = (welcome.descriptors(), welcome.keys.iter().filter_map(|k| unhex(k)).count());
    }
    Ok([write(&asked), write(&answered)])
}

/// Receives the next letter; an error where the other process has gone.
pub(super) fn receive<T: DeserializeOwned>(
    from: &PacketSocket,
) -> Result<(T, Vec<OwnedFd>), TakeoverError> {
    let mut buffer = vec![0; TAKEOVER_LETTER_BYTES];
    let (length, descriptors) = loop {
        // One that waits for so long and no longer is not begun anew for a signal (signal(7)).
        match from.receive(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => break received?,
        }
    };
    if length == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok((read(&buffer[..length])?, descriptors))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key out of its hexadecimal form.
pub(super) fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut key = [0; 16];
    if text.len() != 2 * key.len() || !text.is_ascii() {
        return None;
    }
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_a_later_version_are_passed_over_and_what_they_add_too() {
        let unknown = br#"{"is":"dance","steps":3}"#;
        assert!(matches!(serde_json::from_slice(unknown), Ok(Asked::Unknown)));
        assert!(matches!(serde_json::from_slice(unknown), Ok(Answered::Unknown)));
        let more = br#"{"is":"live","stream":"s","since":9}"#;
        assert!(
            matches!(serde_json::from_slice(more), Ok(Asked::Live { stream }) if stream == "s")
        );
    }

    #[test]
    fn numbers_that_no_process_has_make_nobody_count_beyond_the_last_number() {
        let most = usize::MAX;
        let text = format!(
            r#"{{"is":"welcome","protocol":1,"version":"","shards":{most},"ports":[1,2],
            "range":null,"tcp":true,"maps":{most},"keys":[],"reachable":[],"sessions":0}}"#
        );
        let letter = serde_json::from_str(&text).expect("it has every field");
        let Answered::Welcome(welcome) = letter else { panic!("it is a welcome") };
        assert_eq!(welcome.descriptors(), most);
    }

    #[test]
    fn a_key_survives_its_way() {
        let key: [u8; 16] = std::array::from_fn(|index| (index * 17) as u8);
        assert_eq!(unhex(&hex(&key)), Some(key));
        for wrong in
            ["", "00", "zz112233445566778899aabbccddeeff", "é112233445566778899aabbccddeef"]
        {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
