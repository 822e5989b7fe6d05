// Numbers as people read them. What is unknown is a dash.

const NONE = "–";
const CODECS = { opus: "Opus", vp8: "VP8", vp9: "VP9", h264: "H.264", h265: "H.265", av1: "AV1" };

export function isKnown(value) {
  return typeof value === "number" && Number.isFinite(value);
}

// Whole things: 12, 9,988, 1.24 M.
export function count(n) {
  if (!isKnown(n)) return NONE;
  if (n >= 1e9) return `${significant(n / 1e9)} G`;
  if (n >= 1e6) return `${significant(n / 1e6)} M`;
  return Math.round(n).toLocaleString("en");
}

// Things a second; small ones with a decimal, or one in three seconds would read as none.
export function rate(n) {
  if (!isKnown(n)) return NONE;
  return n > 0 && n < 10 && n % 1 !== 0 ? n.toFixed(1) : count(n);
}

export function bits(perSecond) {
  if (!isKnown(perSecond)) return NONE;
  if (perSecond >= 1e9) return `${significant(perSecond / 1e9)} Gb/s`;
  if (perSecond >= 1e6) return `${significant(perSecond / 1e6)} Mb/s`;
  return `${Math.round(perSecond / 1e3)} kb/s`;
}

export function bytes(n) {
  if (!isKnown(n)) return NONE;
  if (n >= 1e9) return `${significant(n / 1e9)} GB`;
  if (n >= 1e6) return `${significant(n / 1e6)} MB`;
  if (n >= 1e3) return `${significant(n / 1e3)} KB`;
  return `${Math.round(n)} B`;
}

export function micros(us) {
  if (!isKnown(us)) return NONE;
  if (us < 1e3) return `${Math.round(us)} µs`;
  return us < 1e6 ? `${significant(us / 1e3)} ms` : `${significant(us / 1e6)} s`;
}

// A packet's time through the server. Beyond a second there are no finer buckets to tell it by.
export function latency(us) {
  return isKnown(us) && us > 1e6 ? "> 1 s" : micros(us);
}

export function millis(ms) {
  return isKnown(ms) ? micros(ms * 1e3) : NONE;
}

export function percent(ratio) {
  if (!isKnown(ratio)) return NONE;
  const part = 100 * ratio;
  if (part > 0 && part < 0.01) return "< 0.01 %";
  return `${part === 0 || part >= 10 ? part.toFixed(0) : part.toFixed(part < 0.1 ? 2 : 1)} %`;
}

export function decimal(n, places = 1) {
  return isKnown(n) ? n.toFixed(places) : NONE;
}

// A length of time: 8 s, 12 min 5 s, 3 h 12 min, 4 d 2 h.
export function lasting(seconds) {
  if (!isKnown(seconds)) return NONE;
  const s = Math.max(0, Math.round(seconds));
  const pair = (big, bigUnit, small, smallUnit) =>
    small ? `${big} ${bigUnit} ${small} ${smallUnit}` : `${big} ${bigUnit}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return pair(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return pair(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return pair(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}

// A length of time in a table's column: 8 s, 12 min, 3 h, 4 d.
export function briefly(seconds) {
  const spelt = lasting(seconds).split(" ");
  return spelt.slice(0, 2).join(" ");
}

// The time of day of a Unix time in seconds.
export function clock(at) {
  return isKnown(at) ? new Date(at * 1000).toLocaleTimeString("en-GB") : NONE;
}

const ABBREVIATIONS = /\b(dtls|rtcp|rtp|srtp|stun|tcp|udp)\b/g;

// A label of the API as words: `unknown_flow` is “Unknown flow”, and `dtls` “DTLS”.
export function spoken(label) {
  const plain = String(label).replaceAll("_", " ");
  const words = plain.replace(ABBREVIATIONS, (short) => short.toUpperCase());
  return words.charAt(0).toUpperCase() + words.slice(1);
}

// A server's words as a sentence of this page.
export function sentence(words) {
  const line = (words ?? "").replace(/\s+/g, " ").trim();
  if (!line) return "";
  const begun = line.charAt(0).toUpperCase() + line.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

// Codecs as their makers write them.
export function codecs(...names) {
  const written = names.filter(Boolean).map((name) => CODECS[name.toLowerCase()] ?? name);
  return written.join(", ") || NONE;
}

// Three digits that say something: 1.24, 12.4, 124.
function significant(n) {
  if (n >= 100) return n.toFixed(0);
  return n >= 10 ? n.toFixed(1) : n.toFixed(2);
}
