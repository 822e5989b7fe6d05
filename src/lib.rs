//! # Monoport
//!
//! A WebRTC media server for bare-metal Linux: WHIP in, WHEP out, one UDP port, every core.
//!
//! This page is the architecture. **The one invariant: a shard owns its sessions. Nothing a packet
//! touches is shared between threads, so nothing on its way is locked or counted together.**
//!
//! ## What one packet does
//!
//! Read downwards; nothing on the way calls back up. What a part has to say to the others comes
//! back to the shard as a value.
//!
//! ```text
//!            kernel ── ufrag or flow chooses the socket ── net::Steering (eBPF, where allowed)
//!              │ recvmmsg or io_uring, GRO            net::Receiver
//!              ▼
//!        shard's turn ── first byte (RFC 7983) ───── wire::kind
//!              │
//!              ▼ whose is it?                         paths ──▶ Whose::{Session, Check, Shard}
//!     link ────┤ head names the link ─────────────── link::Incoming    another node's
//!     STUN ────┤ ufrag names the session ──────────── wire::ufrag       forged: dropped
//!              │ integrity proves the path ────────── session (ICE), then paths ──▶ Proved
//!     DTLS ────┤
//!     RTP ─────┤ 4-tuple is a session's flow ──────── paths::flows
//!     RTCP ────┤   or another shard's ─────────────── paths::directory ──▶ ring ──▶ that shard
//!              │   or nobody's here, after a takeover ─── net::StrayWriter ──▶ the earlier process
//!              ▼
//!        opened where it lies, named by track, layer ─ ingest::Ingest ──▶ Opened::Media
//!              │ a packet of a track ──────────────── media::MediaPacket
//!              ▼
//!        carried, if it is of a layer somebody takes  track::Track
//!              ├──▶ ring ──▶ each other shard that takes the layer, one copy each
//!              ├──▶ link::Outgoing ──▶ each other node that takes the stream
//!              ▼
//!        numbered by the layer, kept for repair,      track::Layer
//!        held for the rest of its frame
//!              │ for each viewer of this shard; who has just come
//!              │ is behind, in what came since a key frame: track::Replay
//!              ▼
//!        the lane's span gives the number;            egress::Lane, srtp
//!        header, copy, seal in place
//!              │ a viewer's packets side by side
//!              ▼
//!        one train per viewer and frame ───────────── net::Transmitter (GSO)
//!              │ sendmmsg
//!              ▼
//!            kernel
//! ```
//!
//! ## Threads
//!
//! ```text
//!   one UDP port, one SO_REUSEPORT socket per shard
//!   ┌─────────┐ ┌─────────┐ ┌─────────┐
//!   │ shard 0 │ │ shard 1 │ │ shard n │   pinned; tokio-uring runtimes; the loop is shard/turn.rs
//!   └────┬────┘ └────┬────┘ └────┬────┘
//!        └─ bounded mailboxes ───┘         media, strays, key frame requests: shard::Mail
//!        ▲ shard::Command    │ shard::Report
//!   control threads: HTTP (whip, api), SDP, the construction of sessions (control)
//! ```
//!
//! Where UDP is blocked, a client connects to the one TCP port. A control thread hears its first
//! frame, whose ufrag names the shard, and hands the connection over ([`paths::NewConnection`]).
//! There it is one more path to the session, and each frame in it a datagram.
//!
//! The loop: **receive** a batch → **mail** of other shards → **commands** → **timers** →
//! **deliver** → **flush** and wake → **wait**. It reads no clock and needs no socket: a whole
//! shard runs under virtual time ([`shard::Simulated`], `tests/simulation`).
//!
//! ## Where what is
//!
//! Dependencies point one way (`tests/tidy.rs` checks it):
//!
//! ```text
//! main → node → api ──────┐→ access: who may                   ┌ paths    whose, and the way back
//!              ├→ whip ───┤→ hooks: other services; cluster:   ├ session  one peer, sans-IO
//!              ▼          ▼  other nodes                       ├ ingest   media in, feedback
//!           control ─────────Command→ shard ── composes ───────┼ track    tracks, layers, fan-out
//!           streams, sessions, placement, ports                │   └→ egress  lanes, seal, RTCP
//!                                                              ├ link     to and from other nodes
//!                                                              └ net      system calls
//!                                                                 │
//!                              media, srtp, wire → id, limits, drop, telemetry
//! ```
//!
//! Never `track → paths`, `track → session`, `paths → track`, `session → track`, `egress → track`,
//! nor `ingest` with any of them: only [`shard`] knows all of them, and carries out what they say.
//! `monoport ports` ([`node::PortPlan`]), `monoport check` ([`check`]) and `monoport top` ([`top`])
//! stand beside the node and start nothing. How the server is used is in the [`manual`], which
//! `monoport help` prints.
//!
//! Several servers share who publishes what ([`control::Directory`]), take requests that came to
//! the wrong one to the right one ([`cluster`]), and take streams from one another ([`link`]).
//!
//! A new process can take the place of the running one (`node/takeover`): it reads the sockets, and
//! hands over what is the earlier process's.
//!
//! All system calls are in [`net`]. Every bound is in [`limits`]. A packet that is not forwarded
//! has one [`drop::DropReason`], and a datagram that came in has one outcome in [`telemetry`]: what
//! came in is what became of it, to the last one (`tests/server/conservation.rs`).
//!
//! ## What is tried beyond `cargo test`
//!
//! `.ci/run` is what a change must pass. What takes longer, or tools that it does not install:
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir tools/fuzz rtcp -- -max_total_time=1200
//! cargo +nightly fuzz run --fuzz-dir tools/fuzz --features server offer
//! MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=3 cargo +nightly miri test --lib -- \
//!     wire:: id:: media:: srtp::replay srtp::rollover --skip binding --skip corpus
//! cargo deny --all-features check
//! cargo +1.89 check --all-targets
//! ```
//!
//! Miri runs none of C: what seals, hashes with a key or calls the kernel is left out. `cargo deny`
//! fetches the database of advisories from GitHub; without a way there, `cargo deny --offline
//! --all-features check licenses bans sources` is what is left, and `cargo test --test tidy` holds
//! the same rules without that tool, which takes minutes to build.
//!
//! ## Words
//!
//! A *stream* has a name and one publisher at a time; it is a list of *tracks*, each of one or
//! several simulcast *layers*. A *publisher* is a session that sends, or a relay that brings a
//! stream from elsewhere; a *viewer* is a session that takes. A *lane* is one track to one viewer,
//! a *span* a stretch of it from one layer. A layer is *thinned* where the frames of its upper
//! temporal layers are left out. A *flow* is a 4-tuple, a *path* a flow or a TCP connection that a
//! session has proved to be its own. The *earlier* process is the one that was taken over from, the
//! *later* one the one that did. A *train* is one message to the kernel of several datagrams, a
//! *turn* one round of a shard's loop.
//!
//! ## Decisions that shape the rest
//!
//! - **The ufrag is the session's address** ([`wire::ufrag`]): a first check needs no table, a
//!   forged one costs one hash, a wrong shard knows the right one.
//! - **str0m answers offers, and is gone then.** An `Rtc` lives on a control thread until its
//!   answer is written, and the next offer of the kind is answered by template; a session on its
//!   shard is a lite ICE agent of ours and the DTLS of a library, a fifth of the memory. Media
//!   comes in by [`ingest`] and leaves by [`egress`], which keep what a packet touches of a peer
//!   within a few cache lines; a session may publish and take
//!   with the same keys.
//! - **A publisher's packet is copied once**, out of the receive slot into the memory of the packet
//!   whose place it takes in its layer's history. Where sessions are many, a received batch is
//!   looked up and fetched before it is handled (`shard/ahead.rs`).
//! - **Repair costs the stream, not the viewer**: one history per layer and shard, as long as the
//!   layer's rate asks; a viewer's numbers are a short list of spans over it, so it remembers
//!   nothing per packet.
//! - **The history is the key frame cache**: a viewer begins with the newest key frame and what
//!   came since, squeezed into a moment, and the publisher is asked for none. A packet costs the
//!   others a look at one pointer for it.
//! - **Going to another layer is beginning again**: a span ends with a picture, and the next begins
//!   with a key frame of the other layer, from its history or just coming, with numbers and time
//!   that go on. Whoever must wait for anything (a key frame, its turn on a narrow path) stands in
//!   a list, and the others are not looked at.
//! - **An estimate is only made where it decides something**, of viewers with several layers to
//!   get, or one that can be thinned; who has had the best for long is only sampled, who gives no
//!   feedback is taken at its word, and over TCP what the kernel takes says it (`egress/path.rs`).
//!   It is a pure function of what left and what is reported, with time as an argument and no timer
//!   ([`egress::estimate`]), so that the same code runs over simulated links in the tests; the
//!   choice that follows is another ([`track::choose`]).
//! - **A thinned layer is a layer**, with numbers, history and key frames of its own, there while
//!   somebody takes it: a viewer that gets fewer frames, or a smaller picture of an encoding with
//!   spatial layers, costs what any viewer does (`track/point.rs`).
//! - **Another node is one more taker of a stream**: a link carries the packets with the
//!   publisher's numbers, of the layers that somebody behind it watches, sealed, over the same
//!   port, and what it loses is asked for again. At the other end it is a publisher ([`link`]).
//! - **Nodes become a tree by being sent down**: who has enough children names one of them, and who
//!   hears nothing of its parent asks those above it. Since packets keep the publisher's numbers,
//!   another parent fills the gap from its history ([`cluster::tree`]).
//! - **Machines share names, and no state**: the directory in Redis says which node has a stream
//!   ([`control`]), requests go there in one hop, and what is being served does not need it.
//! - **A newcomer takes over with its first media**, not when it is answered: one that never
//!   connects disturbs nobody. Publishers are numbered as they take over, and what comes of an
//!   earlier one is too late.
//! - **Viewers gather on their publisher's shard** until it is busy or ahead of the others, since
//!   each further shard with viewers costs a copy per packet and a wake-up
//!   (`control/placement.rs`).
//! - **A port is a slot**: mux ports are opened on all shards or on none, and drained, while the
//!   server runs, and a slot is used again only once nothing refers to it. With a port per session
//!   the slot is the session's.
//! - **The kernel's price is per message**, so a viewer's packets of one frame are made equally
//!   long and leave as one.

#[expect(clippy::disallowed_types, reason = "requests may wait, and no packet comes by")]
pub mod access;
#[expect(clippy::disallowed_types, reason = "requests may wait, and no packet comes by")]
pub mod api;
pub mod check;
#[expect(clippy::disallowed_types, reason = "requests may wait, and no packet comes by")]
pub mod cluster;
pub mod config;
#[expect(clippy::disallowed_types, reason = "requests may wait, and no packet comes by")]
pub mod control;
pub mod cpu;
pub mod dashboard;
pub mod drop;
pub mod egress;
#[expect(clippy::disallowed_types, reason = "requests may wait, and no packet comes by")]
pub mod hooks;
pub mod id;
pub mod ingest;
pub mod limits;
pub mod link;
pub mod manual;
pub mod media;
pub mod net;
#[expect(clippy::disallowed_types, reason = "requests may wait, and no packet comes by")]
pub mod node;
pub mod paths;
pub mod session;
pub mod shard;
pub mod srtp;
pub mod telemetry;
#[expect(clippy::disallowed_types, reason = "it runs in a terminal")]
pub mod top;
pub mod track;
#[expect(clippy::disallowed_types, reason = "requests may wait, and no packet comes by")]
pub mod whip;
pub mod wire;
