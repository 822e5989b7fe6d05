// The header's facts, the totals, and how they went over the last five minutes.

import { Chart } from "/dashboard/chart.js";
import { $, mark, put, show } from "/dashboard/dom.js";
import {
  bits, bytes, count, decimal, isKnown, lasting, micros, millis, rate, spoken,
} from "/dashboard/format.js";
import { SPAN_MS } from "/dashboard/trend.js";

const OUT = { label: "out", look: "first filled" };
const IN = { label: "in", look: "second" };

export class Totals {
  #charts;

  constructor() {
    const root = $("#charts");
    const over = { spanMs: SPAN_MS, stepMs: 1000 };
    const chart = (title, series, format, options = {}) =>
      new Chart(root, title, series, format, { ...over, ...options });
    const packets = [{ key: "outPackets", ...OUT }, { key: "inPackets", ...IN }];
    const bitrates = [{ key: "outBits", ...OUT }, { key: "inBits", ...IN }];
    const percentiles = [
      { key: "p50", label: "p50", look: "third" },
      { key: "p90", label: "p90", look: "second" },
      { key: "p99", label: "p99", look: "first" },
    ];
    const trains = [
      { key: "train", label: "sent", look: "first filled" },
      { key: "batch", label: "a read", look: "second" },
    ];
    this.#charts = [
      chart("Packets a second", packets, rate, { top: 10 }),
      chart("Bitrate", bitrates, bits, { top: 10_000 }),
      chart("Latency in the server", percentiles, micros, { scale: "log" }),
      chart("Packets a message", trains, (n) => decimal(n), { top: 2 }),
    ];
  }

  show(status, trend) {
    this.#showFacts(status);
    this.#showSessions(status);
    this.#showTraffic(status);
    const now = trend.samples.at(-1)?.at ?? 0;
    for (const chart of this.#charts) chart.draw(trend.samples, now);
  }

  #showFacts(status) {
    const state = $("#server-state");
    const looks = { ready: "live", draining: "waiting", stuck: "failed" };
    put(state, spoken(status.state ?? "–"));
    mark(state, "state", looks[status.state] ?? "idle");
    const steered = { ebpf: "eBPF steering", hash: "steered by hash", none: "not steered" };
    const facts = [
      status.version && `version ${status.version}`,
      isKnown(status.shards) && `${status.shards} ${status.shards === 1 ? "shard" : "shards"}`,
      status.io,
      steered[status.steering] ?? status.steering,
      status.cipher,
    ];
    put($("#server-facts"), facts.filter(Boolean).join(" · "));
    show("uptime", status.uptime_s, lasting(status.uptime_s));
  }

  #showSessions({ sessions = {}, streams, setup_ms: setup = {} }) {
    show("sessions-total", sessions.total, count(sessions.total));
    show("sessions-viewers", sessions.viewers, count(sessions.viewers));
    show("sessions-publishers", sessions.publishers, count(sessions.publishers));
    show("sessions-connecting", sessions.connecting, count(sessions.connecting));
    show("sessions-connected", sessions.connected, count(sessions.connected));
    show("streams-total", streams, count(streams));
    show("setup-p50", setup?.p50, millis(setup?.p50));
    show("setup-p99", setup?.p99, millis(setup?.p99));
  }

  #showTraffic(status) {
    const { in: received = {}, out: sent = {}, latency_us: latency } = status;
    show("in-packets", received.packets_per_s, rate(received.packets_per_s));
    show("in-bits", received.bits_per_s, bits(received.bits_per_s));
    show("out-packets", sent.packets_per_s, rate(sent.packets_per_s));
    show("out-bits", sent.bits_per_s, bits(sent.bits_per_s));
    for (const name of ["p50", "p90", "p99", "max"]) {
      show(`latency-${name}`, latency?.[name], micros(latency?.[name]));
    }
    show("train-length", status.train_length_mean, decimal(status.train_length_mean));
    show("batch-size", status.batch_size_mean, decimal(status.batch_size_mean));
    show("memory-rss", status.memory?.rss_bytes, bytes(status.memory?.rss_bytes));
    const drops = status.drops ?? [];
    const sum = (key) => drops.reduce((total, drop) => total + (drop[key] ?? 0), 0);
    show("drops-per-s", sum("per_s"), rate(sum("per_s")));
    show("drops-total", sum("total"), count(sum("total")));
    const most = drops.reduce((a, b) => ((b.per_s ?? 0) > (a?.per_s ?? 0) ? b : a), null);
    put($("#drops-first"), most ? `most: ${spoken(most.reason).toLowerCase()}` : "none now");
  }
}
