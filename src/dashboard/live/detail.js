// One session: its numbers, how they went, and what happened when. Its address is
// `dashboard#session=ID`, so it can be sent to somebody.

import { Chart } from "./chart.js";
import { $, Rows, element, mark, put } from "./dom.js";
import {
  bits, bytes, clock, codecs, count, decimal, isKnown, lasting, millis, percent, rate, sentence,
  spoken,
} from "./format.js";
import { ENDS } from "./words.js";

// The server keeps a point each 5 s, 60 of them.
const HISTORY = { spanMs: 60 * 5000, stepMs: 5000 };
const WHAT = {
  created: "Offer answered",
  first_stun: "First STUN check",
  dtls: "Handshake done",
  first_media: "First media",
  connected: "Connected",
  moved: "Moved to another address",
  ended: "Ended",
};

export class Detail {
  #dialog = $("#detail");
  #numbers = new Rows($("#detail-numbers"), numberRow, fillNumber);
  #timeline = new Rows($("#detail-timeline"), momentItem, fillMoment);
  #charts;
  #feed;
  #id = null;
  #shown = null;

  // `end(session)` is called when somebody wants to end what is shown.
  constructor(feed, end) {
    this.#feed = feed;
    $("#detail-end").addEventListener("click", () => end(this.#shown));
    $("#detail-layer").addEventListener("change", ({ target }) => this.#choose(target.value));
    const root = $("#detail-charts");
    const one = (key) => [{ key, label: "", look: "first filled" }];
    const twice = [
      { key: "rtt_ms", label: "round trip", look: "first" },
      { key: "jitter_ms", label: "jitter", look: "second" },
    ];
    const chart = (title, series, format, options) =>
      new Chart(root, title, series, format, { ...HISTORY, ...options });
    this.#charts = [
      chart("Quality", one("score"), (n) => decimal(n, 0), { fixed: 100 }),
      chart("Loss", one("loss_ratio"), percent, { top: 0.01 }),
      chart("Delay", twice, millis, { top: 1 }),
      chart("Bitrate", one("bits_per_s"), bits, { top: 10_000 }),
    ];
    $("#detail-close").addEventListener("click", () => this.#dialog.close());
    // A click beside the sheet is one on the dialog itself.
    this.#dialog.addEventListener("click", ({ target }) => {
      if (target === this.#dialog) this.#dialog.close();
    });
    this.#dialog.addEventListener("close", () => this.#forget());
    addEventListener("hashchange", () => this.#follow());
  }

  // Opens what the address names.
  start() {
    this.#follow();
  }

  open(id) {
    location.hash = `session=${encodeURIComponent(id)}`;
  }

  get isOpen() {
    return this.#id !== null;
  }

  async refresh() {
    const id = this.#id;
    if (id === null) return;
    try {
      const session = await this.#feed.get(`sessions/${encodeURIComponent(id)}`);
      if (id === this.#id) this.#show(session);
    } catch (problem) {
      if (id === this.#id && problem.status === 404) this.#say(sentence(problem.message));
    }
  }

  #follow() {
    const id = new URLSearchParams(location.hash.slice(1)).get("session");
    if (!id) return this.#dialog.close();
    this.#id = id;
    $("#detail-end").hidden = true;
    showLayers(null);
    put($("#detail-title"), `Session ${id}`);
    put($("#detail-remark"), "");
    this.#say("");
    for (const rows of [this.#numbers, this.#timeline]) rows.show([], String);
    for (const chart of this.#charts) chart.draw([], 0);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.refresh();
  }

  #forget() {
    this.#id = null;
    history.replaceState(null, "", location.pathname + location.search);
  }

  #show(session) {
    const role = session.role === "publisher" ? "publishes" : "watches";
    const since = `since ${clock(session.created_at)}`;
    put($("#detail-remark"), `${spoken(session.state ?? "")}, ${role} ${session.stream}, ${since}`);
    const { ended } = session;
    this.#shown = session;
    $("#detail-end").hidden = Boolean(ended);
    showLayers(ended ? null : session.layer);
    this.#say(ended ? endWords(ended) : "");
    this.#numbers.show(numbers(session), ([label]) => label);
    const moments = (session.timeline ?? []).map((moment, i) => {
      return { ...moment, i, after: moment.at - session.created_at };
    });
    this.#timeline.show(moments, ({ i }) => i);
    const samples = (session.history ?? []).map((point) => ({ ...point, at: point.at * 1000 }));
    const now = samples.at(-1)?.at ?? 0;
    for (const chart of this.#charts) chart.draw(samples, now);
  }

  // A viewer's layer, as its player would choose it.
  async #choose(wish) {
    const path = `sessions/${encodeURIComponent(this.#id)}/layer`;
    try {
      await this.#feed.send("POST", path, JSON.parse(wish));
      this.#say("");
    } catch (problem) {
      this.#say(sentence(problem.message));
    }
  }

  #say(words) {
    const notice = $("#detail-notice");
    put(notice, words);
    notice.hidden = !words;
  }
}

// The choice is there where there is one, the largest layer first: of a single one, how many frames.
function showLayers(layer) {
  const field = $("#detail-layer");
  const { offered = [], fewer_frames = [] } = layer ?? {};
  const [single, ...others] = offered;
  const fewer = others.length ? [] : fewer_frames.map(({ temporal_layer, frames_per_s }) => {
    return new Option(`${frames_per_s} frames a second`, wishFor(single, temporal_layer));
  });
  const all = (name) => new Option(others.length ? name : "All frames", wishFor(name, null));
  const options = [...fewer, ...offered.map(all)].reverse();
  $("#detail-layer-field").hidden = options.length < 2;
  if (document.activeElement === field) return;
  field.replaceChildren(new Option("Automatic", "{}"), ...options);
  field.value = layer?.asked ? wishFor(layer.wanted, layer.wanted_temporal_layer) : "{}";
}

// What is asked for with a layer, as text.
function wishFor(encodingId, temporal) {
  return JSON.stringify({ encodingId, temporalLayerId: temporal ?? undefined });
}

function endWords({ at, reason, words }) {
  const title = ENDS[reason]?.title ?? spoken(reason ?? "ended");
  return `${title} at ${clock(at)}. ${sentence(words ?? ENDS[reason]?.means)}`;
}

// Rows of label and value, in the order of the sheet.
function numbers(session) {
  const phases = session.phases_ms ?? {};
  const level = session.level ? `, ${session.level}` : "";
  const expected = isKnown(session.expected_bits_per_s)
    ? ` of ${bits(session.expected_bits_per_s)}`
    : "";
  return [
    ["Quality", isKnown(session.score) ? `${decimal(session.score, 0)}${level}` : "–"],
    ["MOS", decimal(session.mos, 2)],
    ["Loss", percent(session.loss_ratio)],
    ["Round trip", millis(session.rtt_ms)],
    ["Jitter", millis(session.jitter_ms)],
    ["Bitrate", `${bits(session.bits_per_s)}${expected}`],
    ["Packets", count(session.packets)],
    ["Bytes", bytes(session.bytes)],
    ["Lost", count(session.lost)],
    ["Asked again", count(session.nacked)],
    ["Repaired", count(session.repaired)],
    ["Key frames asked", count(session.keyframe_requests)],
    ["Layer", layerWords(session.layer)],
    ["May be sent", estimateWords(session.estimate)],
    ["First STUN", millis(phases.first_stun)],
    ["Handshake", millis(phases.dtls)],
    ["First media", millis(phases.first_media)],
    ["Moves", count(session.moves)],
    ["Codecs", codecs(session.codecs?.video, session.codecs?.audio)],
    ["Shard, port", `${session.shard ?? "–"}, ${session.port ?? "–"}`],
    ["Security", session.dtls ?? "–"],
    ["Path", pathWords(session)],
  ];
}

// Which layer of its video a viewer gets, and why.
function layerWords(layer) {
  if (!layer) {
    return "–";
  }
  const { reason, wanted_temporal_layer, got_temporal_layer } = layer;
  const named = (name, temporal) => {
    return name && temporal !== null ? `${name} up to temporal layer ${temporal}` : name;
  };
  const wanted = named(layer.wanted, wanted_temporal_layer);
  const got = named(layer.got, got_temporal_layer);
  const words = got === wanted ? got : `${got ?? "none"} instead of ${wanted}`;
  return `${words}. ${sentence(reason)}`;
}

// What is thought of a viewer's path.
function estimateWords(estimate) {
  if (!estimate) {
    return "–";
  }
  const { bits_per_s, ceiling_bits_per_s, queue_ms, state, reason } = estimate;
  const most = isKnown(ceiling_bits_per_s) ? `, ${bits(ceiling_bits_per_s)} at most` : "";
  return `${bits(bits_per_s)}${most}; ${millis(queue_ms)} in a queue. ${sentence(state)} ${sentence(reason)}`;
}

// Addresses are for those with the admin token.
function pathWords({ local, remote }) {
  return remote ? `${local ?? "–"} → ${remote}` : "shown with the admin token";
}

function numberRow() {
  const row = element("div");
  row.append(element("dt"), element("dd"));
  return row;
}

function fillNumber(row, [label, value]) {
  put(row.firstChild, label);
  put(row.lastChild, value);
  mark(row, "row", label.toLowerCase().replaceAll(/[^a-z]+/g, "-"));
}

function momentItem() {
  const item = element("li");
  item.append(element("time"), element("span"));
  return item;
}

function fillMoment(item, { at, after, what }) {
  put(item.firstChild, after < 60 ? millis(Math.max(0, after) * 1000) : lasting(after));
  item.firstChild.title = clock(at);
  put(item.lastChild, WHAT[what] ?? spoken(what));
}
