// The dashboard: brings what the feed says to the parts of the page that show it.
//
// `window.monoport` is for programs: `state()`, `samples()` of the last five minutes, and `paints`,
// how often the page was drawn. Numbers on the page have their value in `data-value`.

import { Acts } from "./acts.js";
import { Detail } from "./detail.js";
import { $, Painter, mark, put } from "./dom.js";
import { Feed } from "./feed.js";
import { lasting, sentence } from "./format.js";
import { Load } from "./load.js";
import { Nodes } from "./nodes.js";
import { Quality } from "./quality.js";
import { Ranks } from "./ranks.js";
import { Sessions } from "./sessions.js";
import { Streams } from "./streams.js";
import { Totals } from "./totals.js";
import { Trend } from "./trend.js";
import { Verdict } from "./verdict.js";

const LIST_MS = 2000;
const AGE_MS = 500;
const STATES = {
  connecting: { words: "Connecting", look: "connecting" },
  live: { words: "Live", look: "live" },
  polling: { words: "Live, by polling", look: "live" },
  stale: { words: "Stale", look: "waiting" },
  unreachable: { words: "No answer", look: "failed" },
  denied: { words: "Not allowed", look: "failed" },
};

const feed = new Feed();
const trend = new Trend();
const painter = new Painter(paint);
const totals = new Totals();
const verdict = new Verdict();
const acts = new Acts(feed, () => refreshLists());
const load = new Load((port) => acts.drainPort(port));
const ranks = new Ranks(feed, () => painter.ask());
const nodes = new Nodes(feed);
const detail = new Detail(feed, ({ id, stream }) => acts.endSession(id, stream));
const sessions = new Sessions(feed, (id) => detail.open(id));
const quality = new Quality((role) => sessions.showWorst({ role }));
const streams = new Streams(
  feed,
  (stream) => sessions.showWorst({ stream }),
  (stream) => acts.endStream(stream),
);
let snapshot = null;

window.monoport = {
  state: () => shownState(),
  samples: () => structuredClone(trend.samples),
  get paints() {
    return painter.paints;
  },
};

function paint() {
  if (!snapshot) return;
  totals.show(snapshot.status, trend);
  load.show(snapshot);
  quality.show(snapshot);
  ranks.show(snapshot);
}

function shownState() {
  return feed.isStale && ["live", "polling"].includes(feed.state) ? "stale" : feed.state;
}

// What the page shows may be old; then it says so and fades.
function showState() {
  const state = shownState();
  const { words, look } = STATES[state];
  mark(document.body, "feed", state);
  mark($("#feed-state"), "state", look);
  put($("#feed-words"), painter.paused ? "Paused" : words);
  const isFresh = ["live", "polling"].includes(state);
  $("#server-state").hidden = !isFresh || !snapshot;
  const isOld = feed.ageMs !== null && !isFresh && state !== "connecting";
  put($("#feed-age"), isOld ? `for ${lasting(feed.ageMs / 1000)}` : "");
  const trouble = $("#trouble");
  trouble.hidden = !["unreachable", "stale"].includes(state);
  const old = snapshot ? " The numbers below are the last that came." : "";
  const why = state === "stale" ? "The server has fallen silent." : sentence(feed.words);
  put(trouble, trouble.hidden ? "" : `${why} Trying again.${old}`);
  $("#everything").hidden = state === "denied";
  verdict.show(state, snapshot, performance.now(), nodes.cluster);
  askForToken(state === "denied");
}

function refreshLists() {
  for (const part of [sessions, streams, detail]) part.refresh().catch(() => {});
}

// The nodes are asked for as long as there may be some: the section is not in sight before.
function refreshNodes() {
  const isWanted = !document.hidden && !painter.paused && !nodes.isAlone;
  if (isWanted && ["live", "polling"].includes(feed.state)) nodes.refresh().catch(() => {});
}

// `dashboard#stream=NAME`: the sessions of a stream, as the player links to them.
function followStream() {
  const stream = new URLSearchParams(location.hash.slice(1)).get("stream");
  if (stream) sessions.showWorst({ stream });
}

// The way in, where the API is closed. A server without an admin token asks for none: then its
// words say what to start it with.
function askForToken(isNeeded) {
  const form = $("#token-entry");
  if (form.hidden !== isNeeded) return;
  form.hidden = !isNeeded;
  if (!isNeeded) return;
  const { wantsToken } = feed;
  put($("#token-title"), wantsToken ? "The API asks who you are" : "The API is closed here");
  put($("#token-words"), sentence(feed.words));
  for (const part of [$("#token").parentElement, $("#token-note")]) part.hidden = !wantsToken;
  put($("button", form), wantsToken ? "Open" : "Try again");
  $("#token").value = "";
  $("#token").required = wantsToken;
  (wantsToken ? $("#token") : $("button", form)).focus();
}

// Lists are asked for while they are looked at: in sight, in a tab that is in front.
function keepFresh(section, refresh) {
  let isInSight = false;
  const again = () => {
    const isWanted = isInSight && !document.hidden && !painter.paused;
    if (isWanted && ["live", "polling"].includes(feed.state)) refresh().catch(() => {});
  };
  new IntersectionObserver(([entry]) => {
    isInSight = entry.isIntersecting;
    again();
  }, { rootMargin: "200px" }).observe(section);
  setInterval(again, LIST_MS);
  feed.addEventListener("snapshot", again, { once: true });
}

function wire() {
  feed.addEventListener("snapshot", (event) => {
    snapshot = event.detail;
    trend.add(snapshot.status, performance.now());
    verdict.add(snapshot, performance.now());
    painter.ask();
  });
  feed.addEventListener("state", showState);
  feed.addEventListener("state", () => {
    if (!["live", "polling"].includes(feed.state)) nodes.forget();
  });
  feed.addEventListener("snapshot", refreshNodes, { once: true });
  setInterval(refreshNodes, LIST_MS);
  setInterval(showState, AGE_MS);
  keepFresh($("#sessions"), () => sessions.refresh());
  keepFresh($("#streams"), () => streams.refresh());
  keepFresh($("#failures"), () => ranks.refresh());
  setInterval(() => {
    if (!document.hidden && !painter.paused) detail.refresh();
  }, LIST_MS);
  $("#pause").addEventListener("click", ({ currentTarget }) => {
    painter.paused = !painter.paused;
    put(currentTarget, painter.paused ? "Resume" : "Pause");
    showState();
  });
  $("#token-entry").addEventListener("submit", (event) => {
    event.preventDefault();
    feed.retry($("#token").value.trim());
  });
}

wire();
showState();
followStream();
detail.start();
feed.run();
