// Publish to a monoport server and watch from it: WHIP (RFC 9725), WHEP, and nothing else needed.
//
//   import { publish, watch } from "https://media.example.org/monoport.js";
//   const watching = watch({ stream: "demo", video: document.querySelector("video") });
//   watching.addEventListener("state", ({ detail }) => console.log(detail.state, detail.text));
//
// A session keeps itself up: when the connection is lost or the server asks to wait, it tries again
// with growing pauses until `stop()`. What happens is told by "state" events whose detail is
// `{ state, text }`, with the text in words for a person. The states:
//
//   connecting → live → reconnecting → live …   the usual life
//   waiting                                     the server said "not yet" (409)
//   failed                                      trying again would not help; see `problem`
//   stopped                                     by `stop()`, or because the page was left
//
// `monoport.d.ts` beside this file has every name with its type, the manual's page `player` the
// rest.

import { Layers } from "./layers.js";
import { Problem } from "./problem.js";
import { describeFrames, iceServersOf, preferCodec } from "./sdp.js";
import { sendableCodecs, serverPort, withStereo } from "./sdp.js";

export { Problem, sendableCodecs };

const CONNECT_TIMEOUT_MS = 15_000;
// A connection that lasted this long forgives the failures before it.
const STABLE_AFTER_MS = 5_000;
// A network change often heals by itself within this time.
const DISCONNECTED_GRACE_MS = 5_000;
const GOODBYE_TIMEOUT_MS = 2_000;
const QUESTION_TIMEOUT_MS = 5_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
const MAX_VIDEO_BITRATE = 2_500_000;
// The server this file was loaded from, whatever path it stands under.
const HERE = new URL(".", import.meta.url);
// Ends after which whoever was ended stays away.
const KICKED = ["kicked"];
// Simulcast: the picture's parts of width and of bitrate, and what each layer is called.
const LAYERS = [
  { rid: "q", scaleResolutionDownBy: 4, part: 0.08 },
  { rid: "h", scaleResolutionDownBy: 2, part: 0.27 },
  { rid: "f", scaleResolutionDownBy: 1, part: 0.65 },
];

// Publishes `media`, a MediaStream, as `stream`.
export function publish(options) {
  return begin("publish", options);
}

// Watches `stream`, in the element `video` where one is given.
export function watch(options) {
  return begin("watch", options);
}

// What is live, as far as the token may watch: `[{ name, width, height, viewers, age_s, … }]`.
// Fifty at most: `after` a name are the next; `name` asks for one.
export async function streams({ server = HERE, token = "", name, after } = {}) {
  const url = new URL("live", server);
  if (name) url.searchParams.set("name", name);
  if (after) url.searchParams.set("after", after);
  const response = await ask(url, token);
  if (!response) throw new Problem("The server does not answer.", { code: "unreachable" });
  if (!response.ok) throw await refusal(response, { token, wish: "list streams" });
  return (await response.json()).streams;
}

// One stream, published or watched. Made by `publish` and `watch`.
export class Session extends EventTarget {
  pc = null;
  state = "idle";
  problem = null;
  // What arrives, or what is sent.
  media;
  // Milliseconds from the POST to the answer, to the connection, to the first picture.
  answeredMs = null;
  connectedMs = null;
  firstFrameMs = null;
  #lose = () => {};
  #role;
  #options;
  #resource = null;
  #abort = new AbortController();
  #failures = 0;
  #postedAt = 0;
  // The URL of the last connection that was live: what ended it is told there.
  #former = null;
  // Which layers the stream has, for those who watch it.
  layers = [];
  // Those that do not come, and why.
  inactiveLayers = [];
  #layers = null;
  #links = ["", null];
  #connection = null;
  #wish = null;

  constructor(role, options) {
    super();
    this.#role = role;
    this.#options = { server: HERE, token: "", ...options };
    this.media = options.media ?? null;
    const { signal } = this.#abort;
    addEventListener("pagehide", () => this.stop(), { signal });
    options.video?.addEventListener("loadeddata", () => this.#sawFrame(), { signal });
  }

  get stream() {
    return this.#options.stream;
  }

  // Runs until stopped, or until a problem that trying again cannot solve.
  async run() {
    this.#tell("connecting", "Connecting…");
    while (!this.#stopped()) {
      const ended = await this.#once();
      const problem = (ended.retry && (await this.#whyNotAgain())) || ended;
      this.#hangUp();
      if (this.#stopped()) return;
      if (problem.retry) await this.#pause(problem);
      else this.#fail(problem);
    }
  }

  stop() {
    if (this.#stopped()) return;
    this.#abort.abort();
    this.#hangUp();
    this.#tell("stopped", "Stopped");
  }

  // Asks whether the server still knows this session. A server that was started anew does not, and
  // says so long before ICE gives up.
  async verify() {
    const lose = this.#lose;
    if (!this.#resource) return;
    const response = await ask(this.#resource, this.#options.token);
    if ([404, 410].includes(response?.status)) lose();
  }

  #fail(problem) {
    this.problem = problem;
    this.#tell("failed", problem.message);
    this.#abort.abort();
  }

  // One connection from offer to end; what ended it is the result.
  async #once() {
    try {
      const problem = await this.#whyNotAgain();
      if (problem) return problem;
      await this.#connect();
      const since = performance.now();
      this.#former = this.#resource;
      this.#tellLive();
      const lost = await this.#untilLost();
      if (performance.now() - since > STABLE_AFTER_MS) this.#failures = 0;
      return lost;
    } catch (error) {
      if (error instanceof Problem) return error;
      return new Problem(error.message, { code: "refused", retry: false });
    }
  }

  // After a connection that was lost: why this session must not come back, if it must not. The
  // server says so at the former's URL (410). Two publishers that take a stream from each other in
  // turn would go on for ever; so one does not come back either where another is live by now.
  async #whyNotAgain() {
    if (!this.#former) return null;
    const { token, server, stream } = this.#options;
    const response = await ask(this.#former, token);
    if (!response || response.ok) return null;
    const { detail, reason, successor } = await spoken(response);
    if (KICKED.includes(reason)) {
      return new Problem(sentence(detail ?? reason), { code: "kicked", retry: false });
    }
    if (this.#role === "watch") return null;
    if (reason !== "replaced" && !(await isLive(server, stream, token))) return null;
    const who = successor ? ` (session ${successor})` : "";
    const text = `Another publisher${who} has taken over “${stream}”. This one has stopped, and ` +
      "does not take it back by itself.";
    return new Problem(text, { code: "replaced", retry: false });
  }

  async #connect() {
    // The answer bundles everything. To demand that in the offer gains nothing, and some servers
    // take what a demanding browser leaves without a port for a track that is not wanted.
    const pc = new RTCPeerConnection();
    this.pc = pc;
    if (this.#role === "publish") this.#offerMedia(pc);
    else this.#askForMedia(pc);
    const offer = await pc.createOffer();
    const sdp = this.#wantsStereo() ? withStereo(offer.sdp, this.#role === "publish") : offer.sdp;
    // The offer goes out before candidates are gathered: the server learns our address from our
    // first check, and its response may name relays to gather from.
    const { answer, location, iceServers } = await this.#post(sdp);
    this.#resource = location;
    if (iceServers.length) pc.setConfiguration({ ...pc.getConfiguration(), iceServers });
    // A browser may take back no more than what it offered; then sound is what it made of it.
    await pc
      .setLocalDescription({ type: "offer", sdp })
      .catch(() => pc.setLocalDescription(offer));
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
    await this.#untilConnected(pc, answer);
    this.connectedMs = this.#sincePost();
    if (this.#role === "watch") this.#lookAtLayers();
  }

  // What was chosen is chosen again after the connection was made anew.
  #lookAtLayers() {
    const { token, speakers } = this.#options;
    this.#connection = new AbortController();
    const { signal } = this.#connection;
    const [links, base] = this.#links;
    this.#layers = new Layers({ links, base, headers: authorization(token), signal });
    const tell = (name, detail) => this.dispatchEvent(new CustomEvent(name, { detail }));
    const changed = (layers, inactive) => {
      Object.assign(this, { layers, inactiveLayers: inactive });
      tell("layers", { layers, inactive });
    };
    this.#layers.listen(changed, speakers && ((heard) => tell("speakers", { speakers: heard })));
    if (this.#wish) this.#layers.choose(this.#wish).catch(() => {});
  }

  // Of a stream that is watched: the layer `{ encodingId }`, as `layers` has it; the smallest that
  // has as much as `{ maxWidth, maxHeight }`; or `{}`, whatever is best.
  async chooseLayer(wish) {
    if (!this.#layers) throw new Problem("Nothing plays yet.", { code: "absent" });
    await this.#layers.choose(wish);
    this.#wish = wish;
  }

  // Sound that is known to have one channel is not sent as two.
  #wantsStereo() {
    if (this.#role === "watch") return true;
    const [track] = this.media.getAudioTracks();
    return Boolean(track) && track.getSettings().channelCount !== 1;
  }

  #offerMedia(pc) {
    const { codec, keepSize: isSharp } = this.#options;
    for (const track of this.media.getTracks()) {
      const transceiver = pc.addTransceiver(track, {
        direction: "sendonly",
        streams: [this.media],
        sendEncodings: track.kind === "video" ? this.#encodings() : [{}],
      });
      if (track.kind !== "video") continue;
      describeFrames(transceiver);
      if (codec && codec !== "auto") preferCodec(transceiver, codec);
      if (isSharp) keepSize(transceiver.sender);
    }
  }

  #encodings() {
    const { maxBitrate = MAX_VIDEO_BITRATE, simulcast = false, codec } = this.#options;
    const { scalabilityMode } = this.#options;
    const asked = scalabilityMode ? { scalabilityMode } : {};
    if (!simulcast) return [{ ...asked, maxBitrate }];
    // These codecs would make spatial layers of one stream instead.
    const own = ["VP9", "AV1"].includes(codec) ? { scalabilityMode: "L1T1" } : {};
    return LAYERS.map(({ part, ...layer }) => {
      return { ...layer, ...own, ...asked, maxBitrate: Math.round(maxBitrate * part) };
    });
  }

  #askForMedia(pc) {
    const { video } = this.#options;
    const playing = new MediaStream();
    this.media = playing;
    pc.addTransceiver("audio", { direction: "recvonly" });
    describeFrames(pc.addTransceiver("video", { direction: "recvonly" }));
    pc.ontrack = ({ track }) => {
      playing.addTrack(track);
      if (track.kind === "video" && video) video.srcObject = playing;
      this.dispatchEvent(new CustomEvent("track", { detail: { track, media: playing } }));
    };
  }

  async #post(offer) {
    const { server, stream, token } = this.#options;
    const endpoint = new URL(`${this.#role === "publish" ? "whip" : "whep"}/`, server);
    this.#postedAt = performance.now();
    this.answeredMs = this.connectedMs = this.firstFrameMs = null;
    let response;
    try {
      response = await fetch(new URL(encodeURIComponent(stream), endpoint), {
        method: "POST",
        headers: { "Content-Type": "application/sdp", ...authorization(token) },
        body: offer,
        signal: this.#abort.signal,
      });
    } catch {
      throw new Problem("The server does not answer.", { code: "unreachable" });
    }
    if (response.status !== 201) throw await this.#refusal(response);
    this.answeredMs = this.#sincePost();
    const location = response.headers.get("Location");
    const links = response.headers.get("Link") ?? "";
    this.#links = [links, response.url];
    return {
      answer: await response.text(),
      location: location && new URL(location, response.url),
      iceServers: iceServersOf(links),
    };
  }

  #refusal(response) {
    const { token, stream } = this.#options;
    const isPublisher = this.#role === "publish";
    const absent = isPublisher
      ? ""
      : `Nobody publishes “${stream}” yet: waiting for it to start.`;
    const wish = `${isPublisher ? "publish" : "watch"} “${stream}”`;
    return refusal(response, { token, wish, absent });
  }

  #untilConnected(pc, answer) {
    return this.#until((resolve, reject, signal) => {
      const look = () => {
        if (pc.connectionState === "connected") resolve();
        if (pc.connectionState === "failed") reject(unreachable(answer));
      };
      pc.addEventListener("connectionstatechange", look, { signal });
      const timer = setTimeout(() => reject(unreachable(answer)), CONNECT_TIMEOUT_MS);
      signal.addEventListener("abort", () => clearTimeout(timer));
    });
  }

  // Resolves with the problem that ended a live connection.
  #untilLost() {
    const { pc } = this;
    const lost = new Problem("The connection was lost.");
    const transport = pc.getTransceivers()[0].receiver.transport;
    return this.#until((resolve, reject, signal) => {
      let grace = 0;
      this.#lose = () => resolve(lost);
      const look = () => {
        clearTimeout(grace);
        const ended = [pc.connectionState, transport?.state];
        if (ended.includes("failed") || ended.includes("closed")) {
          resolve(lost);
        } else if (pc.connectionState === "disconnected") {
          this.#tell("reconnecting", "The connection is interrupted.");
          grace = setTimeout(resolve, DISCONNECTED_GRACE_MS, lost);
          this.verify();
        } else if (this.state !== "live") {
          this.#tellLive();
        }
      };
      pc.addEventListener("connectionstatechange", look, { signal });
      transport?.addEventListener("statechange", look, { signal });
      signal.addEventListener("abort", () => clearTimeout(grace));
      look();
    });
  }

  // Waits as long as the server asks, or else twice as long each time, with jitter so that the
  // viewers of a restarted server do not come back all at once. A network that returns cuts it
  // short.
  async #pause(problem) {
    const growing = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures);
    const ms = problem.afterMs ?? growing * (0.75 + Math.random() / 2);
    this.#failures += 1;
    if (problem.status === 409) this.#tell("waiting", problem.message);
    else this.#tell("reconnecting", `${problem.message} Trying again in ${inSeconds(ms)}.`);
    const pause = this.#until((resolve, _reject, signal) => {
      const timer = setTimeout(resolve, ms);
      addEventListener("online", resolve, { signal });
      signal.addEventListener("abort", () => clearTimeout(timer));
    });
    await pause.catch(() => {});
  }

  // A promise that a stop ends too; the signal given to `start` fires once it is settled.
  #until(start) {
    const settled = new AbortController();
    const promise = new Promise((resolve, reject) => {
      const stop = () => reject(new Problem("Stopped", { code: "stopped", retry: false }));
      if (this.#stopped()) stop();
      this.#abort.signal.addEventListener("abort", stop, { signal: settled.signal });
      start(resolve, reject, settled.signal);
    });
    return promise.finally(() => settled.abort());
  }

  // The goodbye goes before the connection: closed first, it would end the session by itself, and
  // the DELETE would find nothing. When it fails nobody is left to tell; the server reaps a
  // vanished peer.
  #hangUp() {
    this.#connection?.abort();
    this.#layers = null;
    const { pc } = this;
    const resource = this.#resource;
    this.pc = this.#resource = null;
    this.#lose = () => {};
    if (!resource) return pc?.close();
    const goodbye = {
      method: "DELETE",
      keepalive: true,
      headers: authorization(this.#options.token),
      signal: AbortSignal.timeout(GOODBYE_TIMEOUT_MS),
    };
    fetch(resource, goodbye)
      .catch(() => {})
      .finally(() => pc.close());
  }

  #sawFrame() {
    this.firstFrameMs ??= this.#sincePost();
  }

  #sincePost() {
    return performance.now() - this.#postedAt;
  }

  #tell(state, text) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, text } }));
  }

  #tellLive() {
    this.#tell("live", this.#role === "publish" ? "On air" : "Playing");
  }

  #stopped() {
    return this.#abort.signal.aborted;
  }
}

function begin(role, options) {
  const session = new Session(role, options);
  // Whoever asked for it listens first.
  queueMicrotask(() => session.run());
  return session;
}

// Browsers that do not know the wish scale the picture as they like.
function keepSize(sender) {
  const parameters = sender.getParameters();
  parameters.degradationPreference = "maintain-resolution";
  sender.setParameters(parameters).catch(() => {});
}

function unreachable(answer) {
  return new Problem(
    `The server answered, but nothing comes back from ${serverPort(answer)}. A firewall may be ` +
      "closing it.",
    { code: "blocked" },
  );
}

// What an answer other than the one wished for means, and whether to try again. `absent` is said
// of a stream that nobody publishes.
async function refusal(response, { token, wish, absent = "" }) {
  const { status } = response;
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  const afterMs = Number.isFinite(seconds) ? Math.max(250, seconds * 1000) : null;
  const { detail } = await spoken(response);
  if (status === 401) {
    const text = token
      ? "The token is wrong: the server does not know it."
      : `This server asks for a token to ${wish}.`;
    return new Problem(text, { code: token ? "wrong-token" : "token", retry: false, status });
  }
  if (status === 403) {
    const why = detail ? ` ${sentence(detail)}` : "";
    const text = token ? `This token may not ${wish}.${why}` : `You may not ${wish}.${why}`;
    return new Problem(text, { code: token ? "forbidden" : "closed", retry: false, status });
  }
  if (status === 409 && absent) {
    return new Problem(absent, { code: "absent", afterMs: afterMs ?? 2000, status });
  }
  const retry = status === 409 || status === 429 || status >= 500;
  const text = detail ? sentence(detail) : `The server refused with status ${status}.`;
  return new Problem(text, { code: "refused", retry, afterMs, status });
}

async function isLive(server, name, token) {
  const live = await streams({ server, name, token }).catch(() => []);
  return live.some((stream) => stream.name === name);
}

// A question that changes nothing; null when no answer came.
function ask(url, token) {
  const signal = AbortSignal.timeout(QUESTION_TIMEOUT_MS);
  const request = { headers: authorization(token), cache: "no-store", signal };
  return fetch(url, request).catch(() => null);
}

function authorization(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// The server's own words, from problem+json (RFC 9457): `detail`, and what it has for programs.
async function spoken(response) {
  if (!/[/+]json/i.test(response.headers.get("Content-Type") ?? "")) return {};
  const { detail, title, ...others } = await response.json().catch(() => ({}));
  return { ...others, detail: detail ?? title };
}

function sentence(words) {
  const begun = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

function inSeconds(ms) {
  return ms < 1500 ? "a second" : `${Math.round(ms / 1000)} s`;
}
