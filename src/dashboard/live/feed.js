// What the server says of itself, as it comes: by its stream of events, or by asking again and
// again where the stream cannot be had.
//
// Events of a Feed: `snapshot` with `{ status, ports, shards }` each second; `state` when `state` or
// `words` changed.

import { EventReader } from "./sse.js";

// A server may stand under any path: what is asked for is named from where this file is.
const API = new URL("../api/v1/", import.meta.url);
const POLL_MS = 2000;
// The server speaks each second. After so long a silence numbers are old, and then the connection
// is given up.
const STALE_MS = 4000;
const DEAD_MS = 12000;
const ANSWER_TIMEOUT_MS = 10000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15000;
const TOKEN = "admin-token";

// An answer other than the one asked for, in the server's words.
export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export class Feed extends EventTarget {
  // connecting, live, polling, unreachable, denied
  state = "connecting";
  words = "";
  // Whether a token could open what is denied: without one on the server's side, none does.
  wantsToken = false;
  #heardAt = null;
  #failures = 0;
  #wake = () => {};
  #stream = null;

  // Runs for as long as the page is open.
  async run() {
    addEventListener("online", () => this.#wake());
    setInterval(() => this.#watch(), 1000);
    for (;;) {
      const problem = await this.#listen().catch((error) => error);
      if (this.#isDenied(problem)) await this.#until(Infinity);
      else await this.#poll(problem);
    }
  }

  // Milliseconds since the server was heard, or null.
  get ageMs() {
    return this.#heardAt === null ? null : performance.now() - this.#heardAt;
  }

  get isStale() {
    return this.ageMs !== null && this.ageMs > STALE_MS;
  }

  // Tries again at once, with another token where one is given.
  retry(token) {
    if (token) sessionStorage.setItem(TOKEN, token);
    this.#failures = 0;
    this.#tell("connecting", "");
    this.#wake();
  }

  // The JSON at a path of the API. Throws a Refusal, or what fetch throws.
  async get(path) {
    const response = await ask("GET", path);
    if (response.ok) return response.json();
    const refusal = await refusalOf(response);
    // While the stream is open it is that one path which is not allowed.
    if (this.state !== "live") this.#isDenied(refusal);
    throw refusal;
  }

  // Has the server do something. Throws a Refusal, or what fetch throws.
  async send(method, path, body) {
    const response = await ask(method, path, body);
    if (!response.ok) throw await refusalOf(response);
  }

  // Reads the stream until it breaks. Resolves or throws with why it did.
  async #listen() {
    this.#stream = new AbortController();
    const { signal } = this.#stream;
    const opening = setTimeout(() => this.#stream.abort(), ANSWER_TIMEOUT_MS);
    const headers = { ...authorization(), Accept: "text/event-stream" };
    const request = { headers, cache: "no-store", signal };
    const opened = fetch(new URL("events", API), request).finally(() => clearTimeout(opening));
    const response = await opened;
    if (!response.ok) throw await refusalOf(response);
    const events = new EventReader();
    const pieces = response.body.pipeThrough(new TextDecoderStream()).getReader();
    this.#heard();
    for (;;) {
      const { value, done } = await pieces.read();
      if (done) return new Error("The server ended the stream.");
      for (const event of events.read(value)) this.#take(event);
    }
  }

  // The stream also tells what happens to sessions; the page asks for lists of those instead.
  #take({ name, data }) {
    if (name !== "status") return;
    this.#failures = 0;
    this.#heard();
    this.#tell("live", "");
    this.dispatchEvent(new CustomEvent("snapshot", { detail: JSON.parse(data) }));
  }

  // Between two attempts at the stream, the same numbers are asked for. Pauses grow, with jitter,
  // so that the pages of a restarted server do not come back all at once.
  async #poll(problem) {
    const growing = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures);
    const end = performance.now() + growing * (0.75 + Math.random() / 2);
    this.#failures += 1;
    for (;;) {
      const wasAnswered = await this.#ask().catch((error) => {
        if (this.#isDenied(error)) return false;
        this.#tell("unreachable", reason(error, problem));
        return false;
      });
      if (this.state === "denied") return;
      if (wasAnswered) this.#tell("polling", reason(problem));
      const left = end - performance.now();
      if (left <= 0) return;
      if (await this.#until(Math.min(left, POLL_MS))) return;
    }
  }

  async #ask() {
    // One question first: a server that is away is not asked three.
    const status = await this.get("status");
    const others = ["ports", "shards"].map((name) => this.get(name));
    const [ports, shards] = await Promise.all(others);
    this.#heard();
    this.dispatchEvent(new CustomEvent("snapshot", { detail: { status, ports, shards } }));
    return true;
  }

  // Waits, at most so long; true when it was woken.
  #until(ms) {
    return new Promise((resolve) => {
      const timer = ms < Infinity ? setTimeout(resolve, ms, false) : 0;
      this.#wake = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }

  #watch() {
    if (this.state === "live" && this.ageMs > DEAD_MS) this.#stream.abort();
  }

  #heard() {
    this.#heardAt = performance.now();
  }

  #isDenied(problem) {
    const denied = problem?.status === 401 || problem?.status === 403;
    if (denied) this.wantsToken = problem.status === 401;
    if (denied) this.#tell("denied", problem.message);
    return denied;
  }

  #tell(state, words) {
    if (state === this.state && words === this.words) return;
    this.state = state;
    this.words = words;
    this.dispatchEvent(new Event("state"));
  }
}

function ask(method, path, body) {
  return fetch(new URL(path, API), {
    method,
    headers: body ? { ...authorization(), "Content-Type": "application/json" } : authorization(),
    body: body && JSON.stringify(body),
    cache: "no-store",
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  });
}

function authorization() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// What fetch throws differs from browser to browser and says little.
function reason(...problems) {
  const spoken = problems.find((problem) => problem instanceof Refusal);
  return spoken?.message ?? "The server does not answer.";
}

// The server's own words, from problem+json (RFC 9457).
async function refusalOf(response) {
  const isJson = /[/+]json/i.test(response.headers.get("Content-Type") ?? "");
  const body = isJson ? await response.json().catch(() => ({})) : {};
  const words = body.detail ?? body.title ?? `The server answered ${response.status}.`;
  return new Refusal(words, response.status);
}
