// What the server's reasons mean, in a sentence each, and what to do about them.

// Why a packet was not forwarded (src/drop.rs has them all).
export const DROPS = {
  empty: {
    title: "Empty datagram",
    means: "A datagram without any bytes came in.",
    remedy: "Harmless: mostly a port scan.",
  },
  unknown_kind: {
    title: "No protocol of ours",
    means: "The first byte is neither STUN nor DTLS nor RTP.",
    remedy: "A stranger or a scanner; in great numbers, limit the source in the firewall.",
  },
  malformed_stun: {
    title: "Broken STUN",
    means: "It began like STUN and was not.",
    remedy: "A scanner, or a device on the way that rewrites packets.",
  },
  stun_without_username: {
    title: "STUN without a name",
    means: "Somebody took this port for a public STUN server.",
    remedy: "Nothing to do; do not list this address as a STUN server in clients.",
  },
  forged_ufrag: {
    title: "Unknown session name",
    means: "A check named a session this server never made, or made before its last restart.",
    remedy: "Right after a restart it is clients that still try; otherwise it is forged.",
  },
  ended_session: {
    title: "Session already ended",
    means: "A client goes on sending to a session that is over.",
    remedy: "Fades by itself; if it does not, a client ignores that it was ended.",
  },
  stun_rejected: {
    title: "Check with a wrong password",
    means: "A check named a real session and its signature does not fit.",
    remedy: "A client that mixes up two answers, or an attempt to take a session over.",
  },
  foreign_flow: {
    title: "Check from another client's address",
    means: "A session checks from an address that another one spoke from in the last 3 s.",
    remedy: "A client that forges its address; now and then a NAT gives one out again.",
  },
  too_many_addresses: {
    title: "Too many addresses",
    means: "A session checks from more addresses than a client can have.",
    remedy: "Somebody forges checks with the session's own password: end that session.",
  },
  checks_limited: {
    title: "Flood of wrong passwords",
    means: "Checks with a wrong password came for one session by the thousand; they go unread.",
    remedy: "Nothing is lost by it; limit the source in the firewall if it does not end.",
  },
  foreign_connection: {
    title: "Check on another session's connection",
    means: "A check by TCP named a session that another shard than the connection's owns.",
    remedy: "Clients open a connection for each session; one that shares them is at fault.",
  },
  waited_too_long: {
    title: "Waited too long",
    means: "The server stood still and found this media too old to be of use.",
    remedy: "The process was stopped, or had no core to run on: see what else runs there.",
  },
  session_panicked: {
    title: "Fault of the server",
    means: "The server's own code failed with it; its session was ended, the others go on.",
    remedy: "Report it, with the lines of the log that name the session.",
  },
  wrong_port: {
    title: "Check at another session's port",
    means: "With a port a session, a check came to the port of another.",
    remedy: "A client that mixes up two answers, or a stranger who tries ports.",
  },
  port_closed: {
    title: "Port just closed",
    means: "The port it came in at was closed in the meantime.",
    remedy: "Normal around the end of a drain.",
  },
  unsolicited_stun: {
    title: "STUN answer nobody asked for",
    means: "It answers no check that this server waits for.",
    remedy: "Harmless; late answers, and clients that answer twice.",
  },
  unknown_flow: {
    title: "From an unknown address",
    means: "Media came from an address that no session has proved to be its own.",
    remedy: "A few are normal when sessions end or networks change; many are strangers.",
  },
  stale_flow: {
    title: "Address changed hands",
    means: "A packet reached its shard just after its address was given up.",
    remedy: "Harmless around ends and moves of sessions.",
  },
  dtls_rejected: {
    title: "Broken DTLS",
    means: "The handshake refused a record.",
    remedy: "With failed sessions beside it, look at that client's DTLS version and clock.",
  },
  handshakes_limited: {
    title: "Handshakes in a crowd",
    means: "More handshakes came at once than wait for their turn.",
    remedy: "Clients send it again within a second; if it goes on, more cores or nodes are needed.",
  },
  before_keys: {
    title: "Media before keys",
    means: "Media came before the handshake was done and could not be opened.",
    remedy: "A few at each start are normal.",
  },
  malformed_rtp: {
    title: "Broken RTP",
    means: "A media packet contradicts itself.",
    remedy: "Find the client by its stream: its packetiser is at fault.",
  },
  malformed_rtcp: {
    title: "Broken report",
    means: "A report was authentic and made no sense.",
    remedy: "Find the client by its session: its reports are at fault.",
  },
  srtp_auth: {
    title: "Not authentic",
    means: "A packet's tag does not match: it was changed on the way, or is somebody else's.",
    remedy: "In numbers, suspect a device on the way that rewrites UDP, or an attack.",
  },
  srtp_replay: {
    title: "Seen before",
    means: "A packet came twice, or so late that its place is gone.",
    remedy: "Networks double packets now and then; many point to a loop or a replay.",
  },
  malformed_link: {
    title: "Not a datagram of a node",
    means: "It began like what nodes send one another, and the rest was not.",
    remedy: "Nothing, if few: anybody can send that. If many, see who sends to the port; run the same version on all nodes.",
  },
  unknown_link: {
    title: "A link that is not there",
    means: "It came for a link with another node that is over, or that there never was.",
    remedy: "Nothing: the last of a link come late, and strangers' are dropped after one look.",
  },
  link_auth: {
    title: "Not sealed by the other node",
    means: "It came for a link that is there, and is not sealed with its keys: forged or damaged.",
    remedy: "Nothing, if few. If many, somebody who sees the way between the nodes forges it.",
  },
  link_replay: {
    title: "Of a link, and seen before",
    means: "The same datagram of another node came twice, or came very late.",
    remedy: "Nothing: networks double datagrams. If many, somebody sends again what was recorded.",
  },
  link_duplicate: {
    title: "Of a link, and there already",
    means: "A packet was asked for again from another node, and came both ways.",
    remedy: "Nothing: it was on its way and late.",
  },
  link_incomplete: {
    title: "Of a link, and a half",
    means: "A large packet comes from another node in two datagrams, and the first one is missing.",
    remedy: "Nothing: both are asked for again. Publishers with packets of 1,200 bytes need one.",
  },
  viewer_rtp: {
    title: "Media from a viewer",
    means: "A viewer sends media, though it only watches.",
    remedy: "The client should offer receive-only.",
  },
  unknown_encoding: {
    title: "Track not agreed",
    means: "A viewer did not negotiate this track, sound or picture, so it is not sent one.",
    remedy: "Normal for viewers that want one of the two; else look at what they offer.",
  },
  no_viewers: {
    title: "Nobody watches",
    means: "A stream's packet came while nobody watched it.",
    remedy: "Normal. It costs its decryption; end publishers that nobody needs.",
  },
  unknown_track: {
    title: "Of no known track",
    means: "The SSRC, MID and payload type of a publisher's packet name none of its tracks.",
    remedy: "Publish the stream anew if it goes on.",
  },
  unknown_payload_type: {
    title: "Payload type not offered",
    means: "A publisher sends a payload type that its offer did not announce.",
    remedy: "Look at the publisher's offer and encoder.",
  },
  too_many_layers: {
    title: "More layers than are carried",
    means: "A publisher sends more simulcast layers than the server tells apart.",
    remedy: "Configure fewer encodings at the publisher.",
  },
  layer_not_carried: {
    title: "Simulcast layer without viewers",
    means: "A packet is of a simulcast layer that no viewer gets.",
    remedy: "Normal with simulcast. It costs its decryption.",
  },
  other_layer: {
    title: "Another layer of the track",
    means: "A packet is of a simulcast layer that one viewer does not get and another does.",
    remedy: "Normal where viewers get different layers.",
  },
  stale_media: {
    title: "Too late",
    means: "A packet came after its place in the stream was gone, or of a replaced publisher.",
    remedy: "Look at the publisher's jitter and loss if it goes on.",
  },
  waiting_for_keyframe: {
    title: "Before the first key frame",
    means: "A viewer cannot decode anything until a key frame comes.",
    remedy: "Normal at each start; much of it means rare key frames: set them to 1 or 2 s.",
  },
  too_long: {
    title: "Too long for a datagram",
    means: "A publisher's packet is longer than what may go out.",
    remedy: "Lower the publisher's packet size to 1,200 bytes.",
  },
  unverified_path: {
    title: "Address not seen to receive",
    means: "Checks name a new address, and nothing else has come from there yet.",
    remedy: "A client that answers no checks and sends no reports, or a forged check.",
  },
  no_report: {
    title: "Nothing to report",
    means: "A report was due that had nothing to say.",
    remedy: "Nothing was lost.",
  },
  ring_full: {
    title: "A shard's mailbox was full",
    means: "A datagram came to one shard, and its owner could not take it in time.",
    remedy: "Overload: look for the shard at its limit, and whether steering is by eBPF.",
  },
  earlier_busy: {
    title: "Earlier process busy",
    means: "After a takeover: datagrams for the sessions of the earlier process, which reads them too slowly.",
    remedy: "It ends with its last session. If it has no core to run on, give it one.",
  },
  media_ring_full: {
    title: "A shard's mailbox was full of media",
    means: "A shard with viewers could not take what the publisher's shard had for it.",
    remedy: "Overload: look for the shard at its limit; add shards, or spread the streams.",
  },
  send_queue_full: {
    title: "Send queue full",
    means: "The kernel took no more and the waiting list was full too.",
    remedy: "The link or the card is at its limit, or --send-buffer is too small.",
  },
  tcp_queue_full: {
    title: "TCP client reads too slowly",
    means: "What may wait for one TCP connection was used up.",
    remedy: "That client's link is too slow for the stream; UDP would lose the same, sooner.",
  },
  connection_lost: {
    title: "TCP connection ended",
    means: "The session's TCP connection is gone and no other path has proved itself yet.",
    remedy: "A few around a change of network are normal.",
  },
  send_refused: {
    title: "Kernel refused to send",
    means: "No route, a firewall, or a packet larger than the way allows.",
    remedy: "Compare with the firewall's counters; `monoport check` names common causes.",
  },
  repair_limited: {
    title: "Asked too often",
    means: "A viewer asked for the same packet again and again, or for more than its share.",
    remedy: "Its network loses more than can be mended: look at the worst viewers.",
  },
  repair_awaited: {
    title: "Repair on its way",
    means: "A viewer asked for a packet that the publisher's network lost first.",
    remedy: "The publisher is asked and all viewers get it; look at the publisher's loss.",
  },
  repair_too_old: {
    title: "Repair too late",
    means: "A viewer asked for a packet that is no longer kept.",
    remedy: "Long round trips or long stalls of that viewer.",
  },
  link_repair_limited: {
    title: "More repair than a link's share",
    means: "Another node asked for more packets again than one of ten.",
    remedy: "Look at the way between the nodes: it loses too much, or has no room for the streams.",
  },
  link_repair_too_old: {
    title: "Asked for by another node, and gone",
    means: "Another node asked for a packet that is no longer kept.",
    remedy: "Look at the way between the nodes: it stood still, or its round trip is very long.",
  },
};

// Reasons by which nobody misses anything: there was nobody to send it to, or nothing to send.
export const NOT_LOST = [
  "no_viewers", "layer_not_carried", "unknown_encoding", "other_layer", "no_report",
];

// How sessions end; those that are failures are counted.
export const ENDS = {
  deleted: {
    title: "Ended by its client",
    means: "The client sent DELETE.",
    remedy: "As it should be.",
  },
  replaced: {
    title: "Replaced",
    means: "Another publisher took the stream's name.",
    remedy: "Expected when an encoder reconnects; else two encoders share a name.",
  },
  codec_changed: {
    title: "Codec changed",
    means: "The stream's new publisher sends a codec that this viewer did not agree to.",
    remedy: "The viewer has to join again; keep a stream's codec if that matters.",
  },
  closed_by_peer: {
    title: "Closed by the client",
    means: "The client closed its connection without DELETE.",
    remedy: "As good as a goodbye.",
  },
  vanished: {
    title: "Vanished",
    means: "Nothing came from the client any more: no checks, no reports, no media.",
    remedy: "A network that went away. Many at once: look at the network of this server.",
  },
  idle: {
    title: "Idle",
    means: "The session was there and nothing was done with it.",
    remedy: "A client that opened it and forgot it.",
  },
  panicked: {
    title: "Fault of the server",
    means: "The server's own code failed in this session, which was ended; the others go on.",
    remedy: "Report it, with the lines of the log that name the session.",
  },
  gave_way: {
    title: "Gave way",
    means: "Nothing right had come to the media port for it, and others needed the room.",
    remedy: "As where nothing is heard at all; or somebody fills the server with set-ups.",
  },
  unheard: {
    title: "Never heard",
    means: "The offer was answered and then nothing came to the media port.",
    remedy: "A firewall closes UDP, or the announced address is wrong: see --announce.",
  },
  wrong_password: {
    title: "Wrong password",
    means: "Checks came, and none with the password of the answer.",
    remedy: "The client uses another session's answer, or changes it.",
  },
  dtls_timeout: {
    title: "Handshake not finished",
    means: "Checks came through and the DTLS handshake did not end in time.",
    remedy: "The session says how far it came. Lost large packets (MTU) are the usual cause.",
  },
  no_common_codec: {
    title: "No common codec",
    means: "The offer had no codec that the stream, or this server, speaks.",
    remedy: "Offer Opus with VP8, VP9, H.264, H.265 or AV1; for viewers the stream's codec.",
  },
  bad_offer: {
    title: "Offer not understood",
    means: "The offer was malformed, too long, or asked for the wrong direction.",
    remedy: "The answer to the POST says what was wrong; look at the client's log.",
  },
  no_room: {
    title: "No room",
    means: "All sessions this server may have were taken, or it was stopping.",
    remedy: "Raise --max-sessions as far as memory goes, or add a server.",
  },
  failed: {
    title: "Failed",
    means: "Encryption failed for good: DTLS or SRTP gave up.",
    remedy: "The log has the cause under the session's name.",
  },
  stopping: {
    title: "Server stops",
    means: "The server is being stopped and ended its sessions.",
    remedy: "Clients come back by themselves once it runs again.",
  },
};
