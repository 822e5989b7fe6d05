// What the pages to publish and to watch have in common: one session at a time, told in words and
// numbers, and the token of this tab.

import { Problem } from "./monoport.js";
import { Meter, rows } from "./stats.js";

const SAMPLE_MS = 1000;
const TRACE_SAMPLES = 120;
// Samples without a packet before a viewer is told that the publisher is silent.
const SILENT_SAMPLES = 3;
const COPIED_MS = 2000;

export const $ = (selector, root = document) => root.querySelector(selector);

// The server these pages are of, whatever path it stands under.
export const SERVER = new URL(".", import.meta.url);

export class Panel {
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

  // `root` holds a `video`, a `.status` and a `.notice`; and, to show numbers, a `.live`.
  constructor(role, root) {
    this.#role = role;
    this.#root = root;
    this.video = $("video", root);
    this.video.addEventListener("loadeddata", () => root.classList.add("playing"));
  }

  // Takes a session that begins; resolves once it is live, rejects when it never will be.
  // `release` lets go of what it was made with.
  start(session, release = () => {}) {
    this.stop();
    this.#release = release;
    this.#meter = new Meter();
    this.#asked = new Meter();
    this.session = session;
    this.#root.classList.add("running");
    this.#timer = setInterval(() => this.#refresh(), SAMPLE_MS);
    const live = new Promise((resolve, reject) => {
      session.addEventListener("state", ({ detail: { state, text } }) => {
        this.say(state, text);
        if (!session.pc) this.#showNothing();
        if (state === "live") resolve();
        if (state === "stopped") reject(new Problem("Stopped", { code: "stopped" }));
        if (state !== "failed") return;
        reject(session.problem);
        this.#clear();
        this.#root.dispatchEvent(new CustomEvent("failed", { detail: session.problem }));
      });
    });
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
      remark: status.textContent,
    };
    if (state !== "remark") {
      status.dataset.state = state;
      status.textContent = short[state] ?? text;
      this.#root.dataset.state = state;
    }
    notice.hidden = !(state in short);
    notice.dataset.state = state;
    notice.textContent = notice.hidden ? "" : text;
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

// The token lives as long as this tab. In a frame of another site it may not even be kept for so
// long: then it is what the address says. One to publish and one to watch may differ; while a page
// knows none of its own it tries the other.
let token = "";
let kept = "";

export function storedToken() {
  return token;
}

export function storeToken(entered) {
  token = entered.trim();
  try {
    sessionStorage.setItem(kept, token);
  } catch {
    // The browser keeps nothing for this page.
  }
}

// Finds the token for a page of a `role`. One of the address, behind `#token=` or `?token=`, is
// taken out of it: addresses are shown, copied and kept.
export function takeToken(role) {
  const names = ["publish", "watch"].map((name) => `${name}-token`);
  kept = `${role}-token`;
  try {
    const found = [kept, ...names].map((name) => sessionStorage.getItem(name));
    token = found.find(Boolean) ?? "";
  } catch {
    // The browser keeps nothing for this page.
  }
  const address = new URL(location.href);
  const behind = new URLSearchParams(address.hash.slice(1));
  const given = behind.get("token") ?? address.searchParams.get("token");
  if (!given) return;
  storeToken(given);
  behind.delete("token");
  address.searchParams.delete("token");
  address.hash = behind.toString();
  history.replaceState(null, "", address);
}

// Shows the form for the token where a problem says that one is needed, or that it is wrong.
export function askForToken(form, problem) {
  const isAsked = ["token", "wrong-token", "forbidden"].includes(problem?.code);
  form.hidden = !isAsked;
  const input = $("input", form);
  if (!isAsked) return;
  input.value = "";
  input.setAttribute("aria-invalid", String(problem.code !== "token"));
  input.focus();
}

// Puts a text where the person can paste it from, and says so on the button.
export async function copy(button, text) {
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  if (await isCopied(text)) button.textContent = "Copied";
  else prompt("Copy this:", text);
  setTimeout(() => (button.textContent = before), COPIED_MS);
}

// Browsers have a clipboard for https pages and localhost only; elsewhere a selection is copied.
async function isCopied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const held = document.createElement("textarea");
    held.value = text;
    document.body.append(held);
    held.select();
    const done = document.execCommand("copy");
    held.remove();
    return done;
  }
}
