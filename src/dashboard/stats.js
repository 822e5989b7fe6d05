// What the browser measures of a connection, once a second, as numbers and as rows for the page.

export class Meter {
  #before = null;

  // Reads one report of `pc`. Rates are taken against the sample before; totals are totals.
  async sample(pc) {
    const report = [...(await pc.getStats()).values()];
    const find = (type, kind) => report.find((s) => s.type === type && (!kind || s.kind === kind));
    const byId = (id) => report.find((s) => s.id === id);
    const video = find("inbound-rtp", "video") ?? find("outbound-rtp", "video");
    const audio = find("inbound-rtp", "audio") ?? find("outbound-rtp", "audio");
    const pair = byId(find("transport")?.selectedCandidatePairId) ?? nominated(report);
    const now = {
      at: performance.now(),
      width: video?.frameWidth ?? 0,
      height: video?.frameHeight ?? 0,
      framesDecoded: video?.framesDecoded ?? 0,
      framesEncoded: video?.framesEncoded ?? 0,
      framesSent: video?.framesSent ?? 0,
      framesDropped: video?.framesDropped ?? 0,
      freezeCount: video?.freezeCount ?? 0,
      freezeSeconds: video?.totalFreezesDuration ?? 0,
      keyFrames: video?.keyFramesDecoded ?? video?.keyFramesEncoded ?? 0,
      limitedBy: video?.qualityLimitationReason ?? "none",
      bytes: sum([video, audio], (s) => s.bytesReceived ?? s.bytesSent),
      ...losses(report, video, audio),
      // Sent again: heard by a viewer, said by a publisher.
      repaired: video?.retransmittedPacketsReceived ?? video?.retransmittedPacketsSent ?? 0,
      // How far the sound being heard is ahead of the picture being seen.
      soundAheadMs: soundAhead(video, audio),
      videoSsrc: video?.ssrc ?? null,
      audioEnergy: audio?.totalAudioEnergy ?? mediaSource(byId, audio)?.totalAudioEnergy ?? 0,
      bufferSeconds: video?.jitterBufferDelay ?? 0,
      bufferedFrames: video?.jitterBufferEmittedCount ?? 0,
      roundTripMs: milliseconds(pair?.currentRoundTripTime),
      videoCodec: codecName(byId(video?.codecId)),
      audioCodec: codecName(byId(audio?.codecId)),
      pair: describePair(byId(pair?.localCandidateId), byId(pair?.remoteCandidateId)),
    };
    Object.assign(now, rates(this.#before ?? now, now));
    this.#before = now;
    return now;
  }
}

// Rows of label and value, in the order the page shows them.
export function rows(role, n, session) {
  const shared = [
    ["Resolution", n.width ? `${n.width}×${n.height}` : "–"],
    ["Frames/s", n.framesPerSecond === null ? "–" : n.framesPerSecond.toFixed(0)],
    ["Bitrate", n.bitsPerSecond === null ? "–" : bitrate(n.bitsPerSecond)],
    ["Round trip", roundTrip(n.roundTripMs)],
    ["Loss", n.lossRatio === null ? "–" : `${(100 * n.lossRatio).toFixed(1)} %`],
    ["Repaired", count(n.repaired)],
    ["Codec", [n.videoCodec, n.audioCodec].filter(Boolean).join(" + ") || "–"],
  ];
  const publishing = [
    ["Frames sent", count(n.framesEncoded)],
    ["Key frames", count(n.keyFrames)],
    ["Held back by", { none: "nothing", cpu: "processor" }[n.limitedBy] ?? n.limitedBy],
  ];
  const watching = [
    ["Jitter buffer", n.bufferMs === null ? "–" : `${n.bufferMs.toFixed(0)} ms`],
    ["Frames decoded", count(n.framesDecoded)],
    ["Frames dropped", count(n.framesDropped)],
    ["Freezes", freezes(n)],
    ["Lip sync", n.soundAheadMs === null ? "–" : `${Math.abs(n.soundAheadMs).toFixed(0)} ms apart`],
    ["First picture", session.firstFrameMs ? `${session.firstFrameMs.toFixed(0)} ms` : "–"],
  ];
  const path = [["Path", n.pair || "–"]];
  return shared.concat(role === "publish" ? publishing : watching, path);
}

// Everything that is a difference over the interval; null until there are two samples.
function rates(before, now) {
  const seconds = (now.at - before.at) / 1000;
  if (seconds <= 0) {
    return { framesPerSecond: null, bitsPerSecond: null, lossRatio: null, bufferMs: null };
  }
  const grown = (key) => Math.max(0, now[key] - before[key]);
  const lost = grown("packetsLost");
  const expected = lost + grown("packets");
  const emitted = grown("bufferedFrames");
  return {
    framesPerSecond: (grown("framesDecoded") + grown("framesEncoded")) / seconds,
    bitsPerSecond: (8 * grown("bytes")) / seconds,
    lossRatio: now.reportedLossRatio ?? (expected > 0 ? lost / expected : 0),
    bufferMs: emitted > 0 ? (1000 * grown("bufferSeconds")) / emitted : null,
  };
}

// A viewer counts its own losses; a publisher hears of them from the server.
function losses(report, video, audio) {
  const heard = report.filter((s) => s.type === "remote-inbound-rtp");
  const packets = sum([video, audio], (s) => s.packetsReceived ?? s.packetsSent);
  if (video?.type !== "outbound-rtp" && audio?.type !== "outbound-rtp") {
    return { packets, packetsLost: sum([video, audio], (s) => s.packetsLost) };
  }
  const ratios = heard.map((s) => s.fractionLost).filter(Number.isFinite);
  return {
    packets,
    packetsLost: sum(heard, (s) => s.packetsLost),
    reportedLossRatio: ratios.length ? Math.max(...ratios) : null,
  };
}

// Both on the publisher's clock, so their difference is what lip sync lacks; null until the first
// sender reports of both tracks.
function soundAhead(video, audio) {
  const ms = (audio?.estimatedPlayoutTimestamp || NaN) - (video?.estimatedPlayoutTimestamp || NaN);
  return Number.isFinite(ms) ? ms : null;
}

function sum(items, value) {
  return items.reduce((total, item) => total + ((item && value(item)) ?? 0), 0);
}

function nominated(report) {
  return report.find((s) => s.type === "candidate-pair" && s.nominated && s.state === "succeeded");
}

function mediaSource(byId, outbound) {
  return byId(outbound?.mediaSourceId);
}

function milliseconds(seconds) {
  return Number.isFinite(seconds) ? seconds * 1000 : null;
}

function codecName(codec) {
  return codec?.mimeType.split("/")[1] ?? "";
}

function describePair(local, remote) {
  if (!remote) return "";
  const end = (c) => {
    const address = c.address ?? c.ip ?? "";
    const shown = address.includes(":") ? `[${address}]` : address;
    return `${shown || "hidden"}:${c.port}`;
  };
  return `${end(local)} → ${end(remote)} ${remote.protocol} (${local.candidateType})`;
}

// Browsers give whole milliseconds.
function roundTrip(ms) {
  if (ms === null) return "–";
  return ms < 1 ? "under 1 ms" : `${ms.toFixed(0)} ms`;
}

function bitrate(bitsPerSecond) {
  if (bitsPerSecond < 1e6) return `${(bitsPerSecond / 1e3).toFixed(0)} kb/s`;
  return `${(bitsPerSecond / 1e6).toFixed(2)} Mb/s`;
}

function freezes(n) {
  return n.freezeCount ? `${n.freezeCount} (${n.freezeSeconds.toFixed(1)} s)` : "none";
}

function count(n) {
  return n.toLocaleString("en");
}
