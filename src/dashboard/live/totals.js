// The header's facts, the totals, and how they went over the last five minutes.

import { Chart } from "./chart.js";
import { $, mark, put, show } from "./dom.js";
import {
  bits, bytes, count, decimal, isKnown, lasting, latency as told, millis, percent, rate, spoken,
} from "./format.js";
import { growsWithSessions } from "./load.js";
import { SPAN_MS, dropsPerSecond, lost } from "./trend.js";
import { DROPS } from "./words.js";

const ONE = "first filled";

export class Totals {
  #charts;

  constructor() {
    const root = $("#charts");
    const over = { spanMs: SPAN_MS, stepMs: 1000 };
    const chart = (title, series, format, options = {}) =>
      new Chart(root, title, series, format, { ...over, ...options });
    const one = (key) => [{ key, label: "", look: ONE }];
    const percentiles = [
      { key: "p50", label: "p50", look: "third" },
      { key: "p90", label: "p90", look: "second" },
      { key: "p99", label: "p99", look: "first" },
    ];
    const sessions = [
      { key: "connected", label: "connected", look: ONE },
      { key: "connecting", label: "connecting", look: "second" },
    ];
    this.#charts = [
      chart("Packets in /s", one("inPackets"), rate, { top: 10 }),
      chart("Packets out /s", one("outPackets"), rate, { top: 10 }),
      chart("Dropped /s", one("drops"), rate, { top: 10 }),
      chart("Latency", percentiles, told, { scale: "log" }),
      chart("Bitrate in", one("inBits"), bits, { top: 10_000 }),
      chart("Bitrate out", one("outBits"), bits, { top: 10_000 }),
      chart("Sessions", sessions, count, { top: 10 }),
      chart("Train length", one("train"), (n) => decimal(n), { top: 2 }),
    ];
  }

  show(status, trend) {
    this.#showFacts(status);
    this.#showSessions(status);
    this.#showTraffic(status);
    this.#showHandling(status);
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
      // The rest of it is why this cipher was chosen.
      status.cipher?.split(" ")[0],
      isKnown(status.uptime_s) && `up ${lasting(status.uptime_s)}`,
    ];
    put($("#server-facts"), facts.filter(Boolean).join(" · "));
    $("#server-facts").title = status.cipher ? `Cipher: ${status.cipher}` : "";
  }

  #showSessions({ sessions = {}, streams, setup_ms: setup = {} }) {
    show("sessions-total", sessions.total, count(sessions.total));
    put($("#sessions-max"), isKnown(sessions.max) ? `of ${count(sessions.max)}` : "");
    show("sessions-viewers", sessions.viewers, count(sessions.viewers));
    show("sessions-publishers", sessions.publishers, count(sessions.publishers));
    show("sessions-connecting", sessions.connecting, count(sessions.connecting));
    show("sessions-connected", sessions.connected, count(sessions.connected));
    show("streams-total", streams, count(streams));
    show("setup-p50", setup?.p50, millis(setup?.p50));
    show("setup-p99", setup?.p99, millis(setup?.p99));
  }

  #showTraffic({ in: received, out: sent, sessions, drops = [] }) {
    this.#showDirection("in", received ?? {}, sessions?.publishers);
    this.#showDirection("out", sent ?? {}, sessions?.viewers);
    const perSecond = dropsPerSecond(drops);
    show("drops-per-s", perSecond, rate(perSecond));
    const missed = lost(drops);
    const total = missed.reduce((sum, drop) => sum + drop.total, 0);
    show("drops-total", total, count(total));
    const packets = (received?.packets_per_s ?? 0) + (sent?.packets_per_s ?? 0);
    const part = ratio(perSecond, packets + perSecond);
    show("drops-part", part, percent(part));
    const unwatched = drops.filter((drop) => !missed.includes(drop));
    const unwatchedPerSecond = unwatched.reduce((sum, drop) => sum + (drop.per_s ?? 0), 0);
    show("unwatched-per-s", unwatchedPerSecond, rate(unwatchedPerSecond));
    const most = missed.reduce((a, b) => (b.per_s > (a?.per_s ?? 0) ? b : a), null);
    const reason = most ? (DROPS[most.reason]?.title ?? spoken(most.reason)) : "–";
    show("drops-first", most?.reason, reason);
    $("#drops-first").title = reason;
  }

  // Packets and bits a second of one direction, and what that is a packet and a client.
  #showDirection(name, { packets_per_s: packets, bits_per_s: bitrate }, clients) {
    show(`${name}-packets`, packets, rate(packets));
    show(`${name}-bits`, bitrate, bits(bitrate));
    const size = ratio(bitrate / 8, packets);
    show(`${name}-size`, size, bytes(size));
    const each = ratio(bitrate, clients);
    show(`${name}-each`, each, bits(each));
  }

  #showHandling(status) {
    const { latency_us: latency, train_length_mean: train, memory, sessions } = status;
    for (const name of ["p50", "p90", "p99", "max"]) {
      show(`latency-${name}`, latency?.[name], told(latency?.[name]));
    }
    show("train-length", train, decimal(train));
    const messages = ratio(status.out?.packets_per_s, train);
    show("train-messages", messages, rate(messages));
    show("batch-size", status.batch_size_mean, decimal(status.batch_size_mean));
    show("memory-rss", memory?.rss_bytes, bytes(memory?.rss_bytes));
    const each = ratio(memory?.rss_bytes, sessions?.total);
    show("memory-each", each, bytes(each));
    const terms = (memory?.terms ?? []).filter(growsWithSessions);
    const sum = (key) => terms.reduce((total, term) => total + term[key], 0);
    const part = ratio(sum("bytes"), sum("budget_bytes"));
    show("memory-part", part, percent(part));
    const first = memory?.terms?.reduce((a, b) => (b.bytes > (a?.bytes ?? -1) ? b : a), null);
    show("memory-first", first?.name, first ? spoken(first.name) : "–");
  }
}

// Null where there is nothing to divide, or by.
function ratio(part, whole) {
  return isKnown(part) && whole > 0 ? part / whole : null;
}
