//! The server's estimator and, beside it, a port of libwebrtc's controller.

use goog_cc::network_control::{NetworkControllerConfig, NetworkControllerInterface};
use goog_cc::transport::{
    NetworkAvailability, NetworkControlUpdate, PacketResult, ProcessInterval, SentPacket,
    StreamsConfig, TransportPacketsFeedback,
};
use goog_cc::units::{DataRate, DataSize, Timestamp};
use goog_cc::{GoogCcConfig, GoogCcNetworkController};
use monoport::egress::estimate::{Estimator, State, Train};
use monoport::wire::rtcp::Statuses;

use crate::viewer::{Controller, LAYERS, Packet};

/// What both begin with, in bits a second.
const START: f64 = monoport::limits::ESTIMATE_START;

pub struct Ours(pub Estimator);

impl Ours {
    pub fn new() -> Ours {
        Ours(Estimator::new(0))
    }
}

impl Controller for Ours {
    fn sent(&mut self, now: u64, train: &[Packet]) {
        for train in train.chunks(64) {
            self.0.sent(Train {
                at: now as u32,
                bytes: train.iter().map(|packet| packet.bytes).sum(),
                first: train[0].number as u16,
                first_bytes: train[0].bytes as u16,
                count: train.len() as u8,
                probe: train[0].probe,
            });
        }
    }

    fn feedback(&mut self, now: u64, report: Statuses<'_>, _packets: &[Packet]) {
        let reference = report.reference;
        self.0.feedback(now, reference, report);
    }

    fn tick(&mut self, _now: u64) {}

    fn rate(&self) -> f64 {
        self.0.estimate().bits_per_s
    }

    fn pace(&self) -> f64 {
        self.0.pace()
    }

    fn is_paused(&self, now: u64) -> bool {
        self.0.is_paused(now)
    }

    fn overuse(&self) -> bool {
        self.0.estimate().state == State::Overuse
    }

    fn wants(&mut self, now: u64, next_layer: f64) {
        self.0.wants(now, next_layer);
    }

    fn widened(&self) -> Option<u64> {
        self.0.estimate().widened
    }

    fn switches(&mut self, now: u64) {
        self.0.switches(now);
    }

    fn probe(&self, now: u64) -> u8 {
        self.0.probe(now)
    }

    fn probe_bytes(&self, now: u64) -> u32 {
        self.0.probe_bytes(now)
    }

    fn probe_tick(&self) -> u64 {
        10_000
    }
}

/// A probe that is being sent.
struct Cluster {
    id: u8,
    bits_per_s: f64,
    packets: i64,
    began: u64,
    until: u64,
    sent: u32,
}

/// libwebrtc's, as it is wired there: each packet by itself, and asked every 25 ms.
pub struct Google {
    controller: GoogCcNetworkController,
    rate: f64,
    clusters: Vec<Cluster>,
    now: u64,
}

impl Google {
    pub fn new() -> Google {
        let mut config = NetworkControllerConfig::default();
        config.constraints.at_time = time(0);
        config.constraints.min_data_rate = Some(DataRate::from_kilobits_per_sec(30));
        config.constraints.max_data_rate = Some(DataRate::from_kilobits_per_sec(20_000));
        config.constraints.starting_rate = Some(DataRate::from_bits_per_sec(START as i64));
        let most = DataRate::from_bits_per_sec(LAYERS[3] as i64 * 6 / 5);
        let streams = StreamsConfig {
            at_time: time(0),
            requests_alr_probing: Some(true),
            max_total_allocated_bitrate: Some(most),
            ..StreamsConfig::default()
        };
        config.stream_based_config = streams;
        let controller = GoogCcNetworkController::new(config, GoogCcConfig::default());
        let mut google = Google { controller, rate: START, clusters: Vec::new(), now: 0 };
        let update = google.controller.on_streams_config(streams);
        google.take(update);
        let available = NetworkAvailability { at_time: time(0), network_available: true };
        let update = google.controller.on_network_availability(available);
        google.take(update);
        google.tick(0);
        google
    }

    fn take(&mut self, update: NetworkControlUpdate) {
        if let Some(target) = update.target_rate {
            self.rate = target.target_rate.bps_float();
        }
        for probe in update.probe_cluster_configs {
            let lasts = probe.target_duration.us().max(25_000) as u64;
            self.clusters.push(Cluster {
                id: probe.id as u8,
                bits_per_s: probe.target_data_rate.bps_float(),
                packets: i64::from(probe.target_probe_count),
                began: self.now,
                until: self.now + lasts,
                sent: 0,
            });
        }
    }

    fn cluster(&self, now: u64) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| now < cluster.until)
    }

    fn packet(&self, packet: &Packet) -> SentPacket {
        let mut sent = SentPacket::default();
        sent.send_time = time(packet.sent);
        sent.size = DataSize::from_bytes(i64::from(packet.bytes));
        sent.sequence_number = packet.number as i64;
        if let Some(cluster) =
            self.clusters.iter().find(|cluster| packet.probe != 0 && cluster.id == packet.probe)
        {
            sent.pacing_info.probe_cluster_id = i32::from(cluster.id);
            sent.pacing_info.send_bitrate = DataRate::from_bits_per_sec(cluster.bits_per_s as i64);
            sent.pacing_info.probe_cluster_min_probes = cluster.packets as _;
            sent.pacing_info.probe_cluster_min_bytes = (cluster.bits_per_s / 8.0 * 0.015) as _;
        }
        sent
    }
}

fn time(micros: u64) -> Timestamp {
    // It takes zero for no time at all.
    Timestamp::from_micros(micros as i64 + 1_000_000)
}

impl Controller for Google {
    fn sent(&mut self, now: u64, train: &[Packet]) {
        self.now = now;
        for packet in train {
            let sent = self.packet(packet);
            let update = self.controller.on_sent_packet(sent);
            self.take(update);
            let cluster = self.clusters.iter_mut().find(|cluster| cluster.id == packet.probe);
            if let Some(cluster) = cluster.filter(|_| packet.probe != 0) {
                cluster.sent += packet.bytes;
            }
        }
    }

    fn feedback(&mut self, now: u64, _report: Statuses<'_>, packets: &[Packet]) {
        self.now = now;
        let mut feedback = TransportPacketsFeedback {
            feedback_time: time(now),
            data_in_flight: DataSize::zero(),
            ..TransportPacketsFeedback::default()
        };
        for packet in packets {
            let sent_packet = self.packet(packet);
            let mut result = PacketResult { sent_packet, ..PacketResult::default() };
            if let Some(arrived) = packet.arrived {
                result.receive_time = time(arrived / 250 * 250);
            }
            feedback.packet_feedbacks.push(result);
        }
        let update = self.controller.on_transport_packets_feedback(feedback);
        self.take(update);
    }

    fn tick(&mut self, now: u64) {
        self.now = now;
        let interval = ProcessInterval { at_time: time(now), pacer_queue: None };
        let update = self.controller.on_process_interval(interval);
        self.take(update);
        // Those whose feedback may still come are kept.
        self.clusters.retain(|cluster| now < cluster.until + 2_000_000);
    }

    fn rate(&self) -> f64 {
        self.rate
    }

    fn pace(&self) -> f64 {
        2.5 * self.rate
    }

    fn overuse(&self) -> bool {
        true
    }

    fn wants(&mut self, _now: u64, _next_layer: f64) {}

    fn switches(&mut self, _now: u64) {}

    fn probe(&self, now: u64) -> u8 {
        self.cluster(now).map_or(0, |cluster| cluster.id)
    }

    fn probe_bytes(&self, now: u64) -> u32 {
        self.cluster(now).map_or(0, |cluster| {
            let due = cluster.bits_per_s / 8e6 * (now + 5_000 - cluster.began) as f64;
            (due as u32).saturating_sub(cluster.sent)
        })
    }

    fn probe_tick(&self) -> u64 {
        5_000
    }
}
