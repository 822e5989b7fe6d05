//! What the server's API answers, as far as it is shown.
//!
//! Every field may be missing or `null`: an older or newer server, or one that does not know yet,
//! is shown with gaps and not with an error.

use serde::Deserialize;

/// A number the server may not know.
pub type Number = Option<f64>;

/// Declares structs of an answer, all of whose fields have a default.
macro_rules! answers {
    ($($(#[doc = $doc:literal])* $name:ident { $($field:ident: $kind:ty,)* })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, Deserialize)]
            #[serde(default)]
            pub struct $name { $(pub $field: $kind,)* }
        )*
    };
}

answers! {
    /// `GET /api/v1/status`
    Status {
        version: Option<String>,
        uptime_s: Number,
        state: Option<String>,
        shards: Number,
        io: Option<String>,
        steering: Option<String>,
        cipher: Option<String>,
        sessions: SessionCounts,
        streams: Number,
        r#in: Rates,
        out: Rates,
        drops: Vec<Reason>,
        train_length_mean: Number,
        batch_size_mean: Number,
        latency_us: Percentiles,
        quality: Quality,
        setup_ms: Percentiles,
        failures: Vec<Reason>,
        memory: Memory,
    }
    /// Sessions by role and by state.
    SessionCounts {
        total: Number,
        publishers: Number,
        viewers: Number,
        connecting: Number,
        connected: Number,
    }
    /// Traffic one way.
    Rates { packets_per_s: Number, bits_per_s: Number, }
    /// How often something happened, by reason.
    Reason { reason: String, total: Number, per_s: Number, }
    /// Of a latency or a duration, in the unit of its name.
    Percentiles { p50: Number, p90: Number, p99: Number, max: Number, }
    /// Of publishers (up) and of viewers (down).
    Quality { up: Levels, down: Levels, }
    /// Connected sessions by quality.
    Levels { excellent: Number, good: Number, poor: Number, lost: Number, }
    /// What the process takes.
    Memory { rss_bytes: Number, terms: Vec<MemoryTerm>, }
    /// One named part of the memory against its budget.
    MemoryTerm { name: String, bytes: Number, budget_bytes: Number, }

    /// `GET /api/v1/ports`
    Ports { mode: Option<String>, range: Option<Range>, ports: Vec<Port>, auto: Option<Auto>, }
    /// Ports that sessions take one each of.
    Range { first: Number, last: Number, free: Number, used: Number, }
    /// One port; without a number, all of a range.
    Port {
        port: Number,
        protocol: Option<String>,
        state: Option<String>,
        drain_deadline_at: Number,
        sessions: Number,
        packets_in_per_s: Number,
        packets_out_per_s: Number,
        bits_in_per_s: Number,
        bits_out_per_s: Number,
        receive_drops: Number,
        send_drops: Number,
    }
    /// Ports the server opens and closes by itself.
    Auto { min: Number, max: Number, decisions: Vec<Decision>, }
    /// What it did, and why.
    Decision { at: Number, action: Option<String>, port: Number, why: Option<String>, }

    /// `GET /api/v1/shards`
    Shards { shards: Vec<Shard>, }
    /// One shard.
    Shard {
        shard: Number,
        core: Number,
        cpu_percent: Number,
        sessions: Number,
        publishers: Number,
        viewers_ready: Number,
        streams: Number,
        flows: Number,
        packets_in_per_s: Number,
        packets_out_per_s: Number,
        bits_in_per_s: Number,
        bits_out_per_s: Number,
        drops_per_s: Number,
        handed_over_per_s: Number,
        turns_per_s: Number,
        turn_us: Percentiles,
        mail_depth: Number,
        mail_full: Number,
        stuck: bool,
    }

    /// `GET /api/v1/cluster`
    Cluster {
        node: Option<String>,
        directory: Option<String>,
        refused: Option<String>,
        nodes: Vec<Node>,
        links: Vec<Link>,
    }
    /// A stream on its way from another node, or to one.
    Link {
        stream: Option<String>,
        node: Option<String>,
        direction: Option<String>,
        packets: Number,
        repaired: Number,
        lost: Number,
        round_trip_ms: Number,
        layers: Vec<LinkLayer>,
    }
    /// A layer of its video, and whether it comes.
    LinkLayer { layer: String, state: Option<String>, }
    /// One node of several.
    Node {
        name: String,
        zone: Option<String>,
        version: Option<String>,
        http: Option<String>,
        sessions: Number,
        load: Number,
        draining: bool,
    }

    /// `GET /api/v1/failures`
    Failures { failures: Vec<Failed>, }
    /// A session that failed, or, without a name, an offer that was refused.
    Failed {
        at: Number,
        id: Option<String>,
        stream: Option<String>,
        role: Option<String>,
        reason: Option<String>,
        words: Option<String>,
    }

    /// `GET /api/v1/sessions`
    SessionPage { sessions: Vec<Session>, next: Option<String>, }
    /// `GET /api/v1/sessions/{id}`, and in part each of a page.
    Session {
        id: String,
        stream: Option<String>,
        role: Option<String>,
        state: Option<String>,
        created_at: Number,
        shard: Number,
        port: Number,
        score: Number,
        level: Option<String>,
        mos: Number,
        loss_ratio: Number,
        jitter_ms: Number,
        rtt_ms: Number,
        bits_per_s: Number,
        remote: Option<String>,
        local: Option<String>,
        dtls: Option<String>,
        codecs: Codecs,
        packets: Number,
        bytes: Number,
        nacked: Number,
        repaired: Number,
        keyframe_requests: Number,
        expected_bits_per_s: Number,
        layer_distance: Number,
        phases_ms: Phases,
        moves: Number,
        timeline: Vec<Event>,
        history: Vec<Moment>,
        ended: Option<End>,
    }
    /// What a session carries.
    Codecs { audio: Option<String>, video: Option<String>, }
    /// How long each step of the set-up took, from the POST.
    Phases { first_stun: Number, dtls: Number, first_media: Number, }
    /// Something that happened to a session.
    Event { at: Number, what: Option<String>, }
    /// A point of a session's history.
    Moment {
        at: Number,
        score: Number,
        loss_ratio: Number,
        rtt_ms: Number,
        jitter_ms: Number,
        bits_per_s: Number,
    }
    /// How a session ended.
    End { at: Number, reason: Option<String>, words: Option<String>, }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_strange_fields_are_taken() {
        let text = r#"{"sessions": {"total": 3}, "latency_us": {"p99": null}, "new": [1]}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        assert_eq!(status.sessions.total, Some(3.0));
        assert_eq!((status.latency_us.p99, status.uptime_s), (None, None));
    }
}
