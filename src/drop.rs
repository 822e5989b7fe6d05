//! Why a packet was not forwarded: one reason each, and the reason is the metric's label.

/// Declares [`DropReason`] with its label and its meaning side by side, so neither can be missing.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// The one reason a packet was not forwarded (or, for STUN and DTLS, not handled).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];

            /// The value of the metric's `reason` label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(DropReason::$variant => $label,)* }
            }
        }
    };
}

drop_reasons! {
    /// No bytes at all.
    Empty = "empty",
    /// The first byte belongs to no protocol of RFC 7983.
    UnknownKind = "unknown_kind",
    /// First byte of STUN, but not a STUN message.
    MalformedStun = "malformed_stun",
    /// A STUN request without a USERNAME: a stranger probing, or a STUN server's client.
    StunWithoutUsername = "stun_without_username",
    /// The ufrag was not made by this server's key: forged, or of an earlier run.
    ForgedUfrag = "forged_ufrag",
    /// The ufrag is genuine, but its session has ended.
    EndedSession = "ended_session",
    /// The session exists, but MESSAGE-INTEGRITY does not hold (wrong password) or ICE refused.
    StunRejected = "stun_rejected",
    /// A check from an address that another session spoke from a moment ago.
    ForeignFlow = "foreign_flow",
    /// A check from one more address of a session that has proved too many within a short time.
    TooManyAddresses = "too_many_addresses",
    /// A check for a session for which checks with a wrong password came by the thousand: it is not
    /// looked at.
    ChecksLimited = "checks_limited",
    /// STUN for another session than the one the port was given to (`--port-range`).
    WrongPort = "wrong_port",
    /// The mux port it came in at was closed in the meantime.
    PortClosed = "port_closed",
    /// A STUN response to no check of ours, or an indication.
    UnsolicitedStun = "unsolicited_stun",
    /// DTLS, RTP or RTCP from a 4-tuple that no session has proved to be its own.
    UnknownFlow = "unknown_flow",
    /// Reached the owning shard by hand-over, but the flow is no longer there.
    StaleFlow = "stale_flow",
    /// The DTLS library refused the record.
    DtlsRejected = "dtls_rejected",
    /// A record of DTLS of a session that connects, and too many wait before it.
    HandshakesLimited = "handshakes_limited",
    /// The server's own code panicked with it, and its session was ended.
    SessionPanicked = "session_panicked",
    /// RTP or RTCP before DTLS gave the keys.
    BeforeKeys = "before_keys",
    /// RTP or RTCP too short or with lengths that contradict each other.
    MalformedRtp = "malformed_rtp",
    /// RTCP that decrypted but does not parse.
    MalformedRtcp = "malformed_rtcp",
    /// SRTP or SRTCP whose tag does not match.
    SrtpAuth = "srtp_auth",
    /// SRTP or SRTCP seen before, or older than the replay window.
    SrtpReplay = "srtp_replay",
    /// First byte of what nodes send one another, and the rest of it, or what was sealed, is not.
    MalformedLink = "malformed_link",
    /// From another node, as it says, for a link that is not there: forged, or over by now, whoever
    /// has its name.
    UnknownLink = "unknown_link",
    /// For a link that is there, and not sealed with its keys, nor with those of the one that had
    /// its name before.
    LinkAuth = "link_auth",
    /// Of a link, seen before or older than the replay window.
    LinkReplay = "link_replay",
    /// A media packet of a link that has come before, or was given up.
    LinkDuplicate = "link_duplicate",
    /// The rest of a packet that goes over a link in two datagrams, whose front has not come.
    LinkIncomplete = "link_incomplete",
    /// RTP from a viewer, who has nothing to send.
    ViewerRtp = "viewer_rtp",
    /// The viewer has not negotiated the track.
    UnknownEncoding = "unknown_encoding",
    /// RTP for a stream nobody watches.
    NoViewers = "no_viewers",
    /// RTP of a publisher whose SSRC, MID and payload type name none of its tracks.
    UnknownTrack = "unknown_track",
    /// RTP of a publisher whose payload type is not the one that was negotiated for the track.
    UnknownPayloadType = "unknown_payload_type",
    /// RTP of a simulcast layer beyond those that are told apart.
    TooManyLayers = "too_many_layers",
    /// RTP of a simulcast layer that nobody watches: viewers get another one.
    LayerNotCarried = "layer_not_carried",
    /// RTP that came too late to keep its place: a duplicate, older than the history, or of a
    /// publisher that another has replaced.
    StaleMedia = "stale_media",
    /// Media that waited in the server for so long that it is of no use: the process was stopped.
    WaitedTooLong = "waited_too_long",
    /// A viewer waits for a key frame: what comes before it could not be decoded.
    WaitingForKeyframe = "waiting_for_keyframe",
    /// A packet of a simulcast layer, for a viewer that gets another one of the track.
    OtherLayer = "other_layer",
    /// The payload is longer than a datagram may be on the way out.
    TooLong = "too_long",
    /// The path was proved by checks alone, whose sender anybody can forge, and has had its share
    /// until the peer is heard there or answers a check of ours.
    Unverified = "unverified_path",
    /// A report that has nothing to say yet; only inside the server, never a datagram lost.
    NoReport = "no_report",
    /// A datagram of another shard's session, whose ring is full.
    RingFull = "ring_full",
    /// A datagram that may be the earlier process's, which was taken over: it reads too slowly.
    EarlierBusy = "earlier_busy",
    /// A media packet for another shard's viewers, whose ring is full.
    MediaRingFull = "media_ring_full",
    /// The send queue is full: the kernel takes no more and the bounded backlog is used up.
    SendQueueFull = "send_queue_full",
    /// What a TCP connection may have waiting is used up: its peer reads too slowly.
    TcpQueueFull = "tcp_queue_full",
    /// Its TCP connection has ended, and no other path to the session has proved itself yet.
    ConnectionLost = "connection_lost",
    /// A check by TCP that names a session of another shard than the connection's.
    ForeignConnection = "foreign_connection",
    /// The kernel refused the datagram (unreachable, a firewall, a bad address).
    SendRefused = "send_refused",
    /// A viewer asked again and again for the same packet, or for more than its share.
    RepairLimited = "repair_limited",
    /// A viewer asked for a packet that was lost on its way here: the publisher is asked for it,
    /// and it goes to every viewer when it comes.
    RepairAwaited = "repair_awaited",
    /// A viewer asked for a packet the history no longer holds, or never came to hold.
    RepairTooOld = "repair_too_old",
    /// Another node asked for more packets again than its share.
    LinkRepairLimited = "link_repair_limited",
    /// Another node asked for a packet that is no longer kept.
    LinkRepairTooOld = "link_repair_too_old",
}

/// Where on its way a packet was dropped: what the count of a reason is to be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// As a datagram that had come in: each of these has one outcome, and this was it.
    Arrival,
    /// As a decrypted media packet, on the way to the viewers of one shard.
    Media,
    /// As one viewer's copy, on the way out; also what the server says itself.
    Departure,
    /// As an answer to a viewer, or to another node, that asks for it again.
    Repair,
}

impl Stage {
    /// The value of the metric's `stage` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Stage::Arrival => "arrival",
            Stage::Media => "media",
            Stage::Departure => "departure",
            Stage::Repair => "repair",
        }
    }
}

impl DropReason {
    /// Whether nobody misses the packet: there was nobody to send it to, or nothing in it. People
    /// who look for losses need not see these among them.
    #[must_use]
    pub const fn is_unwanted(self) -> bool {
        use DropReason as Reason;
        matches!(
            self,
            Reason::NoViewers
                | Reason::LayerNotCarried
                | Reason::UnknownEncoding
                | Reason::OtherLayer
                | Reason::NoReport
        )
    }

    /// Where this happens.
    #[must_use]
    pub const fn stage(self) -> Stage {
        use DropReason as Reason;
        match self {
            Reason::NoViewers
            | Reason::UnknownTrack
            | Reason::UnknownPayloadType
            | Reason::TooManyLayers
            | Reason::LayerNotCarried
            | Reason::StaleMedia
            | Reason::WaitedTooLong
            | Reason::MediaRingFull => Stage::Media,
            Reason::UnknownEncoding
            | Reason::WaitingForKeyframe
            | Reason::OtherLayer
            | Reason::TooLong
            | Reason::Unverified
            | Reason::NoReport
            | Reason::SendQueueFull
            | Reason::TcpQueueFull
            | Reason::ConnectionLost
            | Reason::SendRefused => Stage::Departure,
            Reason::RepairLimited
            | Reason::RepairAwaited
            | Reason::RepairTooOld
            | Reason::LinkRepairLimited
            | Reason::LinkRepairTooOld => Stage::Repair,
            _ => Stage::Arrival,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DropReason;

    #[test]
    fn labels_are_distinct_and_reasons_index_their_counters() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::ALL.len());
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
