// The page: two panels, publish and watch, each holding at most one session.
//
// `window.monoport` is the same page for programs: `publish(options)`, `watch(options)`, `stop()`
// and `stats()`. The browser tests drive it, and so may anyone's console.

import { Pattern } from "/pattern.js";
import { Problem, Session, sendableCodecs } from "/session.js";
import { Meter, rows } from "/stats.js";

const SAMPLE_MS = 1000;
const TRACE_SAMPLES = 120;
// Samples without a packet before a viewer is told that the publisher is silent.
const SILENT_SAMPLES = 3;
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };

const $ = (selector, root = document) => root.querySelector(selector);
const streamInput = $("#stream");
const tokenInput = $("#token");

class Panel {
  session = null;
  // Counts starts and stops: who had to wait for a camera sees whether it is still wanted.
  turn = 0;
  #role;
  #root;
  #meter = null;
  #asked = null;
  #timer = 0;
  #trace = [];
  #silent = 0;
  #release = () => {};

  constructor(role, begin) {
    this.#role = role;
    this.#root = $(`#${role}`);
    this.video = $("video", this.#root);
    this.button = $(".primary", this.#root);
    this.video.addEventListener("loadeddata", () => this.#root.classList.add("playing"));
    $("form", this.#root).addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.session) this.stop();
      else begin({}).catch(() => {});
    });
  }

  // Starts a session; resolves once it is live, rejects when it never will be.
  start(name, options, release = () => {}) {
    this.stop();
    this.#release = release;
    this.#meter = new Meter();
    this.#asked = new Meter();
    const session = new Session(this.#role, name, { ...options, token: storedToken() });
    this.session = session;
    this.button.textContent = "Stop";
    this.button.classList.add("active");
    this.#root.classList.add("running");
    this.#timer = setInterval(() => this.#refresh(), SAMPLE_MS);
    const live = new Promise((resolve, reject) => {
      session.addEventListener("state", ({ detail: { state, text } }) => {
        this.say(state, text);
        if (!session.pc) this.#showNothing();
        if (state === "live") resolve();
        if (state === "stopped") reject(new Problem("Stopped"));
        if (state === "failed") {
          if (session.problem.status === 401) askForToken();
          reject(session.problem);
          this.#clear();
        }
      });
    });
    session.run();
    return live;
  }

  stop() {
    this.turn += 1;
    if (!this.session) return;
    this.session.stop();
    this.#clear();
  }

  // One line beside the title; what needs an answer from the person is spelt out below.
  say(state, text) {
    const status = $(".status", this.#root);
    const notice = $(".notice", this.#root);
    const short = {
      waiting: "Waiting",
      reconnecting: "Trying again",
      failed: "Not possible",
    };
    status.dataset.state = state;
    status.textContent = short[state] ?? text;
    notice.hidden = !(state in short);
    notice.dataset.state = state;
    notice.textContent = notice.hidden ? "" : text;
    this.#root.dataset.state = state;
  }

  // The numbers now, with rates since the question before; null while there is no connection.
  async sample() {
    const { session } = this;
    if (!session?.pc) return null;
    const numbers = await this.#asked.sample(session.pc);
    const { state, answeredMs, connectedMs, firstFrameMs } = session;
    return { ...numbers, state, answeredMs, connectedMs, firstFrameMs };
  }

  // Without a connection no number holds, nor a viewer's picture; a publisher still sees its own.
  #showNothing() {
    if (this.#role === "watch" || !this.session) this.#root.classList.remove("playing");
    $(".live", this.#root).hidden = true;
  }

  #clear() {
    clearInterval(this.#timer);
    this.#release();
    this.#release = () => {};
    this.session = null;
    this.#trace = [];
    this.#silent = 0;
    this.video.srcObject = null;
    this.button.textContent = this.#role === "publish" ? "Publish" : "Watch";
    this.button.classList.remove("active");
    this.#root.classList.remove("running");
    this.#showNothing();
  }

  async #refresh() {
    const { session } = this;
    if (!session?.pc || session.pc.connectionState !== "connected") return;
    const numbers = await this.#meter.sample(session.pc).catch(() => null);
    if (!numbers || session !== this.session) return;
    const list = $(".numbers", this.#root);
    const shown = rows(this.#role, numbers, session);
    if (list.childElementCount !== shown.length) list.replaceChildren(...shown.map(emptyRow));
    shown.forEach(([, value], i) => {
      list.children[i].lastChild.textContent = value;
    });
    $(".live", this.#root).hidden = false;
    this.#drawTrace(numbers.bitsPerSecond);
    if (this.#role === "watch") this.#noticeSilence(numbers.bitsPerSecond);
  }

  // The connection can be well while the publisher is away; then the last picture stands still. It
  // may also be that the server was started anew and knows nothing of us.
  #noticeSilence(bitsPerSecond) {
    if (bitsPerSecond === null) return;
    const wasSilent = this.#silent >= SILENT_SAMPLES;
    this.#silent = bitsPerSecond > 0 ? 0 : this.#silent + 1;
    if (this.#silent === 0 && wasSilent) this.say("live", "Playing");
    if (this.#silent === 0 || this.#silent % SILENT_SAMPLES !== 0) return;
    this.say("waiting", "Connected, but nothing arrives: the publisher may be away.");
    this.session.verify();
  }

  #drawTrace(bitsPerSecond) {
    if (bitsPerSecond === null) return;
    this.#trace = [...this.#trace, bitsPerSecond].slice(-TRACE_SAMPLES);
    const top = Math.max(...this.#trace, 1) * 1.1;
    const first = TRACE_SAMPLES - this.#trace.length;
    const points = this.#trace.map((b, i) => `${first + i},${(24 - (24 * b) / top).toFixed(2)}`);
    $(".trace polyline", this.#root).setAttribute("points", points.join(" "));
  }
}

function emptyRow([label]) {
  const row = document.createElement("div");
  const [name, value] = [document.createElement("dt"), document.createElement("dd")];
  name.textContent = label;
  row.dataset.row = label.toLowerCase();
  row.append(name, value);
  return row;
}

const publishing = new Panel("publish", publish);
const watching = new Panel("watch", watch);

async function publish(options) {
  const source = options.source ?? $("input[name=source]:checked").value;
  const codec = options.codec ?? $("#codec").value;
  const name = streamName(options);
  $(`input[name=source][value=${source}]`).checked = true;
  $("#codec").value = codec;
  publishing.stop();
  const { turn } = publishing;
  publishing.say("connecting", "Starting…");
  let media;
  try {
    media = await open(source, { ...options, label: name });
  } catch (problem) {
    publishing.say("failed", problem.message);
    throw problem;
  }
  if (turn !== publishing.turn) {
    media.stop();
    throw new Problem("Stopped");
  }
  const sending = { media: media.stream, codec, sharp: media.sharp };
  const live = publishing.start(name, sending, media.stop);
  publishing.video.srcObject = media.stream;
  publishing.video.play().catch(() => {});
  return live;
}

async function watch(options) {
  const name = streamName(options);
  watching.video.muted = options.muted ?? true;
  showSound();
  return watching.start(name, { video: watching.video });
}

// A source is a stream and the way to let go of it; a sharp one keeps its size at any bitrate, or
// the pattern's clock could not be read. Without any camera the pattern steps in.
async function open(source, options) {
  if (source === "camera") {
    const camera = await openCamera(options);
    if (camera) return { stream: camera, stop: () => camera.getTracks().forEach((t) => t.stop()) };
    $("input[value=pattern]").checked = true;
  }
  const pattern = new Pattern(options);
  return { stream: pattern.stream, stop: () => pattern.stop(), sharp: true };
}

// Resolves to nothing when there is no camera to open.
async function openCamera({ width, height }) {
  if (!navigator.mediaDevices) {
    throw new Problem(
      "The browser gives the camera to https pages and to localhost only. Open this page there, " +
        "or publish the test pattern.",
    );
  }
  const video = { ...CAMERA };
  if (width && height) Object.assign(video, { width: { ideal: width }, height: { ideal: height } });
  try {
    return await navigator.mediaDevices.getUserMedia({ video, audio: true });
  } catch (error) {
    const refused = {
      NotAllowedError:
        "The browser was not allowed to use the camera and microphone. Allow them for this page, " +
        "or publish the test pattern.",
      NotReadableError: "Another program is using the camera. Close it there and start again.",
    };
    if (error.name in refused) throw new Problem(refused[error.name]);
    if (error.name !== "NotFoundError") throw new Problem(error.message);
    // A camera without a microphone still makes a stream.
    return navigator.mediaDevices.getUserMedia({ video }).catch(() => null);
  }
}

function streamName(options) {
  if (options.stream) streamInput.value = options.stream;
  showAddresses();
  const name = streamInput.value.trim();
  if (!name) {
    streamInput.reportValidity();
    throw new Problem("The stream needs a name.");
  }
  return name;
}

// The token lives as long as this tab. The field shows itself only when a server asks.
function storedToken() {
  return sessionStorage.getItem("token") ?? "";
}

function askForToken() {
  $("#token-field").hidden = false;
  tokenInput.value = "";
  tokenInput.focus();
}

function showSound() {
  const { muted } = watching.video;
  const button = $("[data-does=sound]");
  button.setAttribute("aria-pressed", String(!muted));
  $("span", button).textContent = muted ? "Turn sound on" : "Mute";
}

// Where programs publish and watch, shown as the name is typed.
function showAddresses() {
  const name = encodeURIComponent(streamInput.value.trim());
  $("#whip-url").textContent = new URL(`/whip/${name}`, location);
  $("#whep-url").textContent = new URL(`/whep/${name}`, location);
}

function wire() {
  for (const name of sendableCodecs()) $("#codec").append(new Option(name, name));
  $("#stream-form").addEventListener("submit", (event) => event.preventDefault());
  streamInput.addEventListener("input", showAddresses);
  tokenInput.addEventListener("change", () => sessionStorage.setItem("token", tokenInput.value));
  $("[data-does=sound]").addEventListener("click", () => {
    watching.video.muted = !watching.video.muted;
    watching.video.play().catch(() => {});
    showSound();
  });
  $("[data-does=fullscreen]").addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else watching.video.requestFullscreen?.();
  });
  $("#copy").addEventListener("click", async ({ target }) => {
    const name = encodeURIComponent(streamInput.value.trim());
    const link = new URL(`/?stream=${name}&watch=1`, location);
    try {
      await navigator.clipboard.writeText(link);
      target.textContent = "Copied";
    } catch {
      prompt("The link to watch this stream:", link);
    }
    setTimeout(() => (target.textContent = "Copy watch link"), 2000);
  });
  addEventListener("pagehide", stop);
}

// `/?stream=x&watch=1` and `&publish=pattern` or `camera` start by themselves.
function startFromAddress() {
  const asked = new URLSearchParams(location.search);
  if (asked.get("stream")) streamInput.value = asked.get("stream");
  showAddresses();
  const source = asked.get("publish");
  const watches = ["1", "true", ""].includes(asked.get("watch"));
  const radio = $(`input[name=source][value=${source === "pattern" ? "pattern" : "camera"}]`);
  if (source) radio.checked = true;
  if (asked.get("codec")) $("#codec").value = asked.get("codec").toUpperCase();
  document.body.classList.toggle("watch-first", watches && !source);
  if (source) publish({}).catch(() => {});
  if (watches) watch({}).catch(() => {});
}

function stop() {
  publishing.stop();
  watching.stop();
}

async function stats() {
  const [published, watched] = await Promise.all([publishing.sample(), watching.sample()]);
  return { publish: published, watch: watched };
}

window.monoport = { publish, watch, stop, stats };
wire();
startFromAddress();
