//! The program the kernel runs for each datagram that reaches a mux port.
//!
//! ```text
//! first byte 0 (STUN request): USERNAME ── ufrag ── shard ─┐
//! of another node: second byte ── shard ───────────────────┤
//! anything else: 4-tuple ── flow map ── shard ─────────────┴──▶ the shard's socket
//!                              └─ unknown: by the kernel's hash, or dropped and counted
//! whatever does not fit: by the kernel's hash
//! ```
//!
//! Nothing here is trusted: a shard that gets what is not its own hands it over. The program reads
//! through `bpf_skb_load_bytes`, because a datagram's payload need not be in the linear part of its
//! buffer (that of a train over loopback never is), and the direct pointers end with that part.
//!
//! It runs with a `struct sk_reuseport_md`, in which the data begins at the UDP header.

use std::os::fd::BorrowedFd;

use super::asm::{Assembler, Helper, If, Instruction, Label, Reg, Size};
use crate::limits::STEERED_STUN_ATTRIBUTES;
use crate::wire::{link, ufrag};

/// Bytes of a flow's key: remote address, local address, remote port, local port, in network order
/// and IPv4 in its IPv6-mapped form.
pub(super) const KEY_BYTES: usize = 16 + 16 + 2 + 2;

/// The maps a program reads and writes.
pub(super) struct Maps<'a> {
    /// Socket by shard, of one port.
    pub sockets: BorrowedFd<'a>,
    /// Shard by flow.
    pub flows: BorrowedFd<'a>,
    /// Where to count datagrams of unknown flows, if they are to be dropped.
    pub drops: Option<BorrowedFd<'a>>,
}

// The stack, as offsets from the frame pointer.

/// The flow's key.
const KEY: i16 = -48;
const KEY_REMOTE: i16 = KEY;
const KEY_LOCAL: i16 = KEY + 16;
const KEY_PORTS: i16 = KEY + 32;
/// The UDP header is loaded so that its first half, the two ports, completes the key; the first
/// byte of the payload follows it.
const FIRST_BYTE: i16 = KEY_PORTS + UDP_HEADER as i16;
/// Type and length of a STUN attribute; later the index of a socket or counter.
const SMALL: i16 = -56;
/// The ufrag with the colon behind it; or the addresses of an IPv4 header.
const TEXT: i16 = -80;

const _: () = assert!(FIRST_BYTE < 0, "the key, the rest of the UDP header and a byte fit");
const _: () = assert!(TEXT + (ufrag::LEN as i16) < SMALL, "a ufrag and its colon fit");

const UDP_HEADER: i32 = 8;
const STUN_HEADER: i32 = 20;
/// USERNAME (RFC 8489 §14.3).
const USERNAME: i32 = 0x0006;

/// `eth_protocol` in `struct sk_reuseport_md`, in network order.
const ETH_PROTOCOL: i16 = 20;
/// `BPF_HDR_START_NET`: an offset counts from the IP header.
const FROM_IP_HEADER: i32 = 1;
/// Where an IPv4 header has its source, with the destination behind it (RFC 791 §3.1).
const V4_ADDRESSES: i32 = 12;
/// Where an IPv6 header has its source, with the destination behind it (RFC 8200 §3).
const V6_ADDRESSES: i32 = 8;

/// `SK_DROP` and `SK_PASS`. Passing without having chosen a socket leaves it to the hash.
const DROP: i32 = 0;
const PASS: i32 = 1;

/// Holds the context all through the program.
const CONTEXT: Reg = Reg::R6;
/// Holds the shard, once it is known.
const SHARD: Reg = Reg::R7;

/// The program for one port.
pub(super) fn steering(maps: &Maps<'_>) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    let (flow, select, unknown) = (asm.label(), asm.label(), asm.label());
    let (by_hash, other_node) = (asm.label(), asm.label());

    asm.copy(CONTEXT, Reg::R1);
    // An empty datagram has no first byte: the hash will do.
    load_bytes(&mut asm, Offset::At(0), KEY_PORTS, UDP_HEADER + 1, by_hash);
    asm.load(Size::Byte, Reg::R1, Reg::Frame, FIRST_BYTE);
    // RFC 7983: 0 to 3 is STUN; requests begin with 0 (RFC 8489 §5), and their answers, which name
    // nobody, with 1.
    asm.jump_if(If::Equal, Reg::R1, i32::from(link::FIRST_BYTE), other_node);
    asm.jump_if(If::Above, Reg::R1, 0, flow);

    find_username(&mut asm, by_hash);
    read_shard(&mut asm, by_hash);
    asm.jump(select);

    asm.place(other_node);
    let shard_at = UDP_HEADER + link::SHARD_AT as i32;
    load_bytes(&mut asm, Offset::At(shard_at), SMALL, 1, by_hash);
    asm.load(Size::Byte, SHARD, Reg::Frame, SMALL);
    asm.jump(select);

    asm.place(flow);
    load_addresses(&mut asm, by_hash);
    look_up_flow(&mut asm, maps.flows, unknown);

    asm.place(select);
    asm.store(Size::Word, Reg::Frame, SMALL, SHARD);
    asm.copy(Reg::R1, CONTEXT);
    asm.set_map(Reg::R2, maps.sockets);
    asm.set_address(Reg::R3, SMALL);
    asm.set(Reg::R4, 0);
    // Fails for a shard there is not: no socket is chosen then, and the hash decides.
    asm.call(Helper::SelectReuseport);

    asm.place(by_hash);
    if maps.drops.is_none() {
        asm.place(unknown);
    }
    asm.set(Reg::R0, PASS);
    asm.exit();
    if let Some(drops) = maps.drops {
        asm.place(unknown);
        drop_and_count(&mut asm, drops);
    }
    asm.finish()
}

/// Where in the datagram to read, from the UDP header on.
enum Offset {
    At(i32),
    In(Reg),
}

/// Copies `length` bytes of the datagram to the stack, or goes to `short`.
fn load_bytes(asm: &mut Assembler, from: Offset, to: i16, length: i32, short: Label) {
    asm.copy(Reg::R1, CONTEXT);
    match from {
        Offset::At(offset) => asm.set(Reg::R2, offset),
        Offset::In(reg) => asm.copy(Reg::R2, reg),
    }
    asm.set_address(Reg::R3, to);
    asm.set(Reg::R4, length);
    asm.call(Helper::LoadBytes);
    asm.jump_if(If::NotEqual, Reg::R0, 0, short);
}

/// Walks the attributes up to USERNAME; `R7` is then where its value begins and `R9` its length.
///
/// Chromium puts it first and libnice fourth. The walk is unrolled, since the verifier of older
/// kernels allows no loops.
fn find_username(asm: &mut Assembler, missing: Label) {
    let found = asm.label();
    let (offset, kind, length) = (Reg::R7, Reg::R8, Reg::R9);
    asm.set(offset, UDP_HEADER + STUN_HEADER);
    for _ in 0..STEERED_STUN_ATTRIBUTES {
        load_bytes(asm, Offset::In(offset), SMALL, 4, missing);
        asm.load(Size::Half, kind, Reg::Frame, SMALL);
        asm.network_to_host(kind);
        asm.load(Size::Half, length, Reg::Frame, SMALL + 2);
        asm.network_to_host(length);
        asm.add(offset, 4);
        asm.jump_if(If::Equal, kind, USERNAME, found);
        // Values are padded to words (RFC 8489 §14).
        asm.add(length, 3);
        asm.and(length, !3);
        asm.add_reg(offset, length);
    }
    asm.jump(missing);
    asm.place(found);
}

/// Reads the shard out of the USERNAME that begins at `R7` and is `R9` bytes long.
fn read_shard(asm: &mut Assembler, malformed: Label) {
    let (char, at) = (Reg::R1, |index: usize| TEXT + index as i16);
    let with_colon = ufrag::LEN as i32 + 1;
    asm.jump_if(If::Below, Reg::R9, with_colon, malformed);
    load_bytes(asm, Offset::In(Reg::R7), TEXT, with_colon, malformed);
    // The receiver's ufrag ends at the colon (RFC 8445 §7.2.2), and ours have one length...
    asm.load(Size::Byte, char, Reg::Frame, at(ufrag::LEN));
    asm.jump_if(If::NotEqual, char, i32::from(b':'), malformed);
    // ...and one version.
    asm.load(Size::Byte, char, Reg::Frame, at(0));
    asm.jump_if(If::NotEqual, char, i32::from(ufrag::VERSION_CHAR), malformed);
    // Two characters of six bits, the more significant first.
    asm.load(Size::Byte, char, Reg::Frame, at(ufrag::SHARD_AT));
    ice_value(asm, char, malformed);
    asm.copy(SHARD, char);
    asm.shift_left(SHARD, 6);
    asm.load(Size::Byte, char, Reg::Frame, at(ufrag::SHARD_AT + 1));
    ice_value(asm, char, malformed);
    asm.add_reg(SHARD, char);
}

/// Turns the ice-char in `char` into its value: a comparison per run of consecutive characters.
fn ice_value(asm: &mut Assembler, char: Reg, malformed: Label) {
    let done = asm.label();
    let mut value = 0;
    for run in ufrag::ALPHABET.chunk_by(|one, next| one + 1 == *next) {
        let (first, last) = (i32::from(run[0]), i32::from(run[run.len() - 1]));
        let next_run = asm.label();
        asm.jump_if(If::Below, char, first, next_run);
        asm.jump_if(If::Above, char, last, next_run);
        asm.add(char, value - first);
        asm.jump(done);
        asm.place(next_run);
        value += run.len() as i32;
    }
    asm.jump(malformed);
    asm.place(done);
}

/// Completes the key of the flow, whose ports are there, with the addresses.
fn load_addresses(asm: &mut Assembler, other: Label) {
    let (v4, done) = (asm.label(), asm.label());
    let protocol = |number: i32| i32::from((number as u16).to_be());
    asm.load(Size::Word, Reg::R1, CONTEXT, ETH_PROTOCOL);
    asm.jump_if(If::Equal, Reg::R1, protocol(libc::ETH_P_IP), v4);
    asm.jump_if(If::NotEqual, Reg::R1, protocol(libc::ETH_P_IPV6), other);
    load_from_ip_header(asm, V6_ADDRESSES, KEY_REMOTE, 32, other);
    asm.jump(done);

    asm.place(v4);
    load_from_ip_header(asm, V4_ADDRESSES, TEXT, 8, other);
    for (address, key) in [(TEXT, KEY_REMOTE), (TEXT + 4, KEY_LOCAL)] {
        // ::ffff:a.b.c.d (RFC 4291 §2.5.5.2)
        asm.store_value(Size::Word, Reg::Frame, key, 0);
        asm.store_value(Size::Word, Reg::Frame, key + 4, 0);
        asm.store_value(Size::Word, Reg::Frame, key + 8, 0x0000_ffff_i32.to_be());
        asm.load(Size::Word, Reg::R1, Reg::Frame, address);
        asm.store(Size::Word, Reg::Frame, key + 12, Reg::R1);
    }
    asm.place(done);
}

/// Copies `length` bytes of the IP header to the stack, or goes to `short`.
fn load_from_ip_header(asm: &mut Assembler, offset: i32, to: i16, length: i32, short: Label) {
    asm.copy(Reg::R1, CONTEXT);
    asm.set(Reg::R2, offset);
    asm.set_address(Reg::R3, to);
    asm.set(Reg::R4, length);
    asm.set(Reg::R5, FROM_IP_HEADER);
    asm.call(Helper::LoadBytesRelative);
    asm.jump_if(If::NotEqual, Reg::R0, 0, short);
}

/// Reads the shard of the flow whose key is on the stack.
fn look_up_flow(asm: &mut Assembler, flows: BorrowedFd<'_>, unknown: Label) {
    asm.set_map(Reg::R1, flows);
    asm.set_address(Reg::R2, KEY);
    asm.call(Helper::MapLookup);
    asm.jump_if(If::Equal, Reg::R0, 0, unknown);
    asm.load(Size::Word, SHARD, Reg::R0, 0);
}

/// Ends the program with a datagram less.
fn drop_and_count(asm: &mut Assembler, drops: BorrowedFd<'_>) {
    let uncounted = asm.label();
    asm.store_value(Size::Word, Reg::Frame, SMALL, 0);
    asm.set_map(Reg::R1, drops);
    asm.set_address(Reg::R2, SMALL);
    asm.call(Helper::MapLookup);
    // Never null: the array has this element. The verifier wants to see it asked.
    asm.jump_if(If::Equal, Reg::R0, 0, uncounted);
    asm.set(Reg::R1, 1);
    asm.add_atomically(Reg::R0, Reg::R1);
    asm.place(uncounted);
    asm.set(Reg::R0, DROP);
    asm.exit();
}
