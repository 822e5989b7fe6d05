// The page to publish: one session at a time, from a camera, a screen or the test pattern.
//
// `window.monoport` is the same page for programs: `publish(options)`, `stop()` and `stats()`. The
// browser tests drive it, and so may anyone's console.

import { Problem, publish as publishTo, sendableCodecs } from "./monoport.js";
import { $, Panel, SERVER, askForToken, storeToken, storedToken, takeToken } from "./page.js";
import { showLines, showPrograms } from "./programs.js";
import { devices, open, openSound } from "./sources.js";

const root = $("#publish");
const panel = new Panel("publish", root);
const streamInput = $("#stream");
const button = $("#start");

// Options, each of which the page's own choice stands for where it is not given: `stream`,
// `source`, `codec`, `width`, `height`, `maxBitrate`, `simulcast`, `scalabilityMode`, and those of
// `open`.
async function publish(options = {}) {
  if (options.stream) streamInput.value = options.stream;
  if (options.source) $(`input[name=source][value=${options.source}]`).checked = true;
  if (options.codec) $("#codec").value = options.codec;
  const name = streamInput.value.trim();
  showAddresses();
  showSettings();
  if (!streamInput.reportValidity()) throw new Problem("The stream needs a name.");
  return begin(name, { ...chosen(), ...options, label: name });
}

async function begin(name, wanted, opening = open) {
  stop();
  const { turn } = panel;
  panel.say("connecting", "Starting…");
  $("#instead").hidden = true;
  let media;
  try {
    media = await opening(wanted.source, wanted);
  } catch (problem) {
    panel.say("failed", problem.message);
    if (["missing", "busy", "insecure"].includes(problem.code)) offerOthers(name, wanted);
    throw problem;
  }
  if (turn !== panel.turn) {
    media.stop();
    throw new Problem("Stopped", { code: "stopped" });
  }
  return goLive(name, wanted, media);
}

async function goLive(name, wanted, media) {
  const { codec, maxBitrate, simulcast, scalabilityMode } = wanted;
  const keepSize = media.sharp && !simulcast;
  const options = { codec, maxBitrate, simulcast, scalabilityMode, keepSize };
  const session = publishTo({
    ...options,
    server: SERVER,
    stream: name,
    token: storedToken(),
    media: media.stream,
  });
  const live = panel.start(session, media.stop);
  showButton(true);
  panel.video.srcObject = media.stream;
  panel.video.play().catch(() => {});
  for (const track of media.stream.getTracks()) {
    track.addEventListener("ended", () => endedByItself(session, track));
  }
  showDevices();
  await live;
  if (media.remark) panel.say("remark", media.remark);
}

// Whoever stops sharing in the browser's own bar, or pulls the plug, has stopped.
function endedByItself(session, { kind }) {
  if (panel.session !== session) return;
  const isScreen = chosen().source === "screen";
  const what = kind === "audio" ? "The microphone is gone." : "The camera is gone.";
  if (isScreen && kind === "audio") return;
  stop();
  panel.say("failed", isScreen ? "Sharing has ended." : `${what} Publishing has stopped.`);
}

// Nothing goes out in place of a camera that is not there, unless it is chosen here.
function offerOthers(name, wanted) {
  const box = $("#instead");
  const isThere = Boolean(navigator.mediaDevices);
  const start = (source, opening) => () => {
    if (source) $(`input[name=source][value=${source}]`).checked = true;
    showSettings();
    begin(name, { ...wanted, source }, opening).catch(() => {});
  };
  const answers = [
    isThere && ["Try again", start(wanted.source)],
    isThere && navigator.mediaDevices.getDisplayMedia && ["Share the screen", start("screen")],
    isThere && ["Sound alone", start("camera", (_source, options) => openSound(options))],
    ["Test pattern", start("pattern")],
  ];
  box.replaceChildren(...answers.filter(Boolean).map(([words, act]) => {
    const answer = document.createElement("button");
    answer.type = "button";
    answer.className = "quiet";
    answer.textContent = words;
    answer.addEventListener("click", act);
    return answer;
  }));
  box.hidden = false;
  $("button", box).focus();
}

// What is chosen on the page.
function chosen() {
  const [width, height] = $("#size").value.split("x").map(Number);
  return {
    source: $("input[name=source]:checked").value,
    camera: $("#camera").value,
    microphone: $("#microphone").value,
    music: $("#sound").value === "music",
    width,
    height,
    maxBitrate: Number($("#bitrate").value) * 1000,
    codec: $("#codec").value,
    simulcast: $("#simulcast").checked,
  };
}

function stop() {
  panel.stop();
  showButton(false);
}

function showButton(isRunning) {
  for (const control of root.elements) {
    if (control !== button) control.disabled = isRunning;
  }
  button.textContent = isRunning ? "Stop" : "Publish";
  button.classList.toggle("active", isRunning);
}

// Only what the source has is asked.
function showSettings() {
  const { source } = chosen();
  for (const field of root.querySelectorAll("[data-for]")) {
    field.hidden = !field.dataset.for.split(" ").includes(source);
  }
}

async function showDevices() {
  for (const [kind, id] of [["videoinput", "camera"], ["audioinput", "microphone"]]) {
    const select = $(`#${id}`);
    const fixed = [...select.options].filter(({ value }) => ["", "none"].includes(value));
    const { value } = select;
    const named = (await devices(kind)).map((one) => new Option(one.label, one.id));
    select.replaceChildren(...fixed, ...named);
    select.value = value;
    if (select.selectedIndex < 0) select.value = "";
  }
}

// Where others watch, and where programs publish, shown as the name is typed.
function showAddresses() {
  const name = encodeURIComponent(streamInput.value.trim());
  const at = (path) => new URL(`${path}/${name}`, SERVER).href;
  const allow = "autoplay; fullscreen; picture-in-picture";
  // Never part of the page, so nothing is loaded.
  const frame = document.createElement("iframe");
  Object.assign(frame, { src: at("embed"), width: 640, height: 360, allow });
  showLines($("#share"), [
    { label: "Link to watch", text: at("watch") },
    { label: "Player for a page", text: frame.outerHTML },
    { label: "WHEP, for programs", text: at("whep") },
  ]);
  showPrograms($("#programs"), at("whip"), storedToken());
}

function wire() {
  for (const name of sendableCodecs()) $("#codec").append(new Option(name, name));
  // Enter in any field starts, as the button does.
  root.addEventListener("submit", (event) => {
    event.preventDefault();
    if (panel.session) stop();
    else publish().catch(() => {});
  });
  root.addEventListener("failed", ({ detail: problem }) => {
    showButton(false);
    const asks = ["token", "wrong-token", "forbidden"].includes(problem.code);
    if (asks) askForToken($("#token-field"), problem);
  });
  streamInput.addEventListener("input", showAddresses);
  $("#sources").addEventListener("change", showSettings);
  $("#token").addEventListener("input", ({ target }) => {
    storeToken(target.value);
    showAddresses();
  });
  navigator.mediaDevices?.addEventListener("devicechange", showDevices);
}

// `?stream=NAME&source=pattern&codec=VP8` choose, and `start=1` starts.
function startFromAddress() {
  const asked = new URLSearchParams(location.search);
  if (asked.get("stream")) streamInput.value = asked.get("stream");
  const radio = root.querySelector(`input[name=source][value="${asked.get("source") ?? ""}"]`);
  if (radio) radio.checked = true;
  const codec = asked.get("codec")?.toUpperCase();
  if (sendableCodecs().includes(codec)) $("#codec").value = codec;
  showAddresses();
  showSettings();
  if (asked.get("start") === "1") publish().catch(() => {});
}

async function stats() {
  return { publish: await panel.sample(), watch: null };
}

window.monoport = { publish, stop, stats };
takeToken("publish");
wire();
showDevices();
startFromAddress();
