// The home page: what is live, for those who may watch, and the ways in.
//
// `window.monoport` is for programs: `streams()`, what is listed.

import { Problem, streams } from "./monoport.js";
import { $, SERVER, askForToken, copy, storeToken, storedToken, takeToken } from "./page.js";

const EVERY_MS = 3000;
const list = $("#streams");
const rows = new Map();
let listed = [];

async function look() {
  let problem = null;
  try {
    listed = await streams({ server: SERVER, token: storedToken() });
  } catch (error) {
    problem = error instanceof Problem ? error : new Problem(error.message);
    if (problem.status) listed = [];
  }
  tell(problem);
  show();
}

function tell(problem) {
  const state = $("#list-state");
  const notice = $("#list-notice");
  const n = listed.length;
  state.dataset.state = problem ? "failed" : n ? "live" : "idle";
  const words = n === 1 ? "1 stream" : `${n} streams`;
  put(state, problem ? "Not shown" : n ? words : "Nobody");
  notice.hidden = !problem;
  put(notice, problem?.message ?? "");
  const form = $("#token-form");
  const isGuarded = Boolean(problem?.status);
  if (form.hidden === isGuarded) askForToken(form, problem);
  $("#nobody").hidden = Boolean(problem) || n > 0;
}

// A row stays the same element as long as its stream is live, so that the focus stays on it.
function show() {
  const names = new Set(listed.map(({ name }) => name));
  for (const [name, row] of rows) {
    if (names.has(name)) continue;
    row.remove();
    rows.delete(name);
  }
  let place = list.firstElementChild;
  for (const stream of listed) {
    const row = rows.get(stream.name) ?? made(stream.name);
    if (row === place) place = place.nextElementSibling;
    else list.insertBefore(row, place);
    put($(".facts", row), facts(stream));
  }
}

function made(name) {
  const row = document.createElement("li");
  const address = new URL(`watch/${encodeURIComponent(name)}`, SERVER).href;
  const link = document.createElement("a");
  link.href = address;
  link.className = "name";
  link.textContent = name;
  const said = document.createElement("span");
  said.className = "facts";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Copy link";
  button.setAttribute("aria-label", `Copy link to ${name}`);
  button.addEventListener("click", () => copy(button, address));
  row.append(link, said, button);
  rows.set(name, row);
  return row;
}

function facts({ width, height, viewers, age_s: age, video, audio }) {
  const picture = width && height ? `${width}×${height}` : video ? "size not known yet" : "sound";
  const watched = viewers === 1 ? "1 viewer" : `${viewers} viewers`;
  const sound = video && !audio ? "no sound" : "";
  return [picture, sound, watched, `for ${lasting(age)}`].filter(Boolean).join(" · ");
}

function lasting(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  const hours = Math.floor(seconds / 3600);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d`;
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function wire() {
  $("#open-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = encodeURIComponent($("#stream").value.trim());
    location.assign(new URL(`watch/${name}`, SERVER));
  });
  $("#token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    storeToken($("#token").value);
    $("#token-form").hidden = true;
    look();
  });
  setInterval(() => {
    // Who types a token is not interrupted.
    if (!document.hidden && $("#token-form").hidden) look();
  }, EVERY_MS);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) look();
  });
}

// Links of earlier versions: `/?stream=x&watch=1` and `&publish=pattern` or `camera`.
function followOldLink() {
  const asked = new URLSearchParams(location.search);
  const name = asked.get("stream");
  if (name && asked.has("publish")) {
    const source = asked.get("publish") === "pattern" ? "pattern" : "camera";
    const wanted = new URLSearchParams({ stream: name, source, start: 1 });
    if (asked.get("codec")) wanted.set("codec", asked.get("codec"));
    location.replace(new URL(`publish?${wanted}`, SERVER));
  } else if (name && asked.has("watch")) {
    location.replace(new URL(`watch/${encodeURIComponent(name)}`, SERVER));
  }
}

window.monoport = { streams: () => structuredClone(listed) };
takeToken("watch");
followOldLink();
wire();
look();
