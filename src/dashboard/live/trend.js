// The last five minutes of the server's totals, as far as this page was open to see them.

import { NOT_LOST } from "./words.js";

export const SPAN_MS = 5 * 60 * 1000;

export class Trend {
  samples = [];

  add(status, at) {
    this.samples.push({
      at,
      inPackets: status.in?.packets_per_s,
      outPackets: status.out?.packets_per_s,
      inBits: status.in?.bits_per_s,
      outBits: status.out?.bits_per_s,
      p50: status.latency_us?.p50,
      p90: status.latency_us?.p90,
      p99: status.latency_us?.p99,
      train: status.train_length_mean,
      drops: dropsPerSecond(status.drops),
      connected: status.sessions?.connected,
      connecting: status.sessions?.connecting,
    });
    const first = this.samples.findIndex((sample) => sample.at >= at - SPAN_MS);
    if (first > 0) this.samples.splice(0, first);
  }
}

// What nobody wanted is not lost, and no drop.
export function lost(drops = []) {
  return drops.filter(({ reason }) => !NOT_LOST.includes(reason));
}

export function dropsPerSecond(drops) {
  return lost(drops).reduce((sum, drop) => sum + (drop.per_s ?? 0), 0);
}
