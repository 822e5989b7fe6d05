// One WebRTC session with the server: WHIP to publish (RFC 9725), WHEP to watch.
//
// A session keeps itself up: when the connection is lost or the server asks to wait, it tries again
// with growing pauses until `stop()`. What happens is told by "state" events whose detail is
// `{ state, text }`, with the text in words for a person. The states:
//
//   connecting → live → reconnecting → live …   the usual life
//   waiting                                     the server said "not yet" (409)
//   failed                                      trying again would not help; see `problem`
//   stopped                                     by `stop()`

const CONNECT_TIMEOUT_MS = 15_000;
// A connection that lasted this long forgives the failures before it.
const STABLE_AFTER_MS = 5_000;
// A network change often heals by itself within this time.
const DISCONNECTED_GRACE_MS = 5_000;
const GOODBYE_TIMEOUT_MS = 2_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
const MAX_VIDEO_BITRATE = 2_500_000;

// What went wrong, in words, and what may be done about it.
export class Problem extends Error {
  constructor(text, { retry = true, afterMs = null, status = 0 } = {}) {
    super(text);
    Object.assign(this, { retry, afterMs, status });
  }
}

export class Session extends EventTarget {
  pc = null;
  state = "idle";
  problem = null;
  // Milliseconds from the POST to the answer, to the connection, to the first picture.
  answeredMs = null;
  connectedMs = null;
  firstFrameMs = null;
  #lose = () => {};
  #role;
  #name;
  #options;
  #resource = null;
  #abort = new AbortController();
  #failures = 0;
  #postedAt = 0;

  // `role` is "publish" or "watch". Options: `token`; to publish `media` (a MediaStream), `codec`
  // and `sharp` (keep the picture's size, drop frames instead); to watch `video`, the element.
  constructor(role, name, options) {
    super();
    this.#role = role;
    this.#name = name;
    this.#options = options;
    if (role === "watch") {
      const { signal } = this.#abort;
      options.video.addEventListener("loadeddata", () => this.#sawFrame(), { signal });
    }
  }

  // Runs until stopped, or until a problem that trying again cannot solve.
  async run() {
    this.#tell("connecting", "Connecting…");
    while (!this.#stopped()) {
      const problem = await this.#once();
      this.#hangUp();
      if (this.#stopped()) return;
      if (!problem.retry) {
        this.problem = problem;
        this.#tell("failed", problem.message);
        this.#abort.abort();
        return;
      }
      await this.#pause(problem);
    }
  }

  stop() {
    if (this.#stopped()) return;
    this.#abort.abort();
    this.#hangUp();
    this.#tell("stopped", "Stopped");
  }

  // One connection from offer to end; what ended it is the result.
  async #once() {
    try {
      await this.#connect();
      const since = performance.now();
      this.#tellLive();
      const problem = await this.#untilLost();
      if (performance.now() - since > STABLE_AFTER_MS) this.#failures = 0;
      return problem;
    } catch (error) {
      return error instanceof Problem ? error : new Problem(error.message, { retry: false });
    }
  }

  // Asks whether the server still knows this session. A server that was started anew does not, and
  // says so long before ICE gives up.
  async verify() {
    const lose = this.#lose;
    if (!this.#resource) return;
    const request = { headers: this.#authorization(), cache: "no-store" };
    const response = await fetch(this.#resource, request).catch(() => null);
    if (response?.status === 404) lose();
  }

  async #connect() {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.pc = pc;
    if (this.#role === "publish") this.#offerMedia(pc);
    else this.#askForMedia(pc);
    const offer = await pc.createOffer();
    // The offer goes out before candidates are gathered: the server learns our address from our
    // first check, and its response may name relays to gather from.
    const { answer, location, iceServers } = await this.#post(offer.sdp);
    this.#resource = location;
    if (iceServers.length) pc.setConfiguration({ ...pc.getConfiguration(), iceServers });
    await pc.setLocalDescription(offer);
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
    await this.#untilConnected(pc, answer);
    this.connectedMs = this.#sincePost();
  }

  #offerMedia(pc) {
    const { media, codec, sharp } = this.#options;
    for (const track of media.getTracks()) {
      const encodings = track.kind === "video" ? [{ maxBitrate: MAX_VIDEO_BITRATE }] : [{}];
      const transceiver = pc.addTransceiver(track, {
        direction: "sendonly",
        streams: [media],
        sendEncodings: encodings,
      });
      if (track.kind !== "video") continue;
      if (codec && codec !== "auto") preferCodec(transceiver, codec);
      if (sharp) keepSize(transceiver.sender);
    }
  }

  #askForMedia(pc) {
    const playing = new MediaStream();
    pc.addTransceiver("audio", { direction: "recvonly" });
    pc.addTransceiver("video", { direction: "recvonly" });
    pc.ontrack = ({ track }) => {
      playing.addTrack(track);
      if (track.kind === "video") this.#options.video.srcObject = playing;
    };
  }

  async #post(offer) {
    const endpoint = this.#role === "publish" ? "/whip/" : "/whep/";
    this.#postedAt = performance.now();
    this.answeredMs = this.connectedMs = this.firstFrameMs = null;
    let response;
    try {
      response = await fetch(endpoint + encodeURIComponent(this.#name), {
        method: "POST",
        headers: { "Content-Type": "application/sdp", ...this.#authorization() },
        body: offer,
        signal: this.#abort.signal,
      });
    } catch {
      throw new Problem("The server does not answer.");
    }
    if (response.status !== 201) throw await this.#refusal(response);
    this.answeredMs = this.#sincePost();
    const location = response.headers.get("Location");
    return {
      answer: await response.text(),
      location: location && new URL(location, response.url),
      iceServers: iceServersOf(response.headers.get("Link") ?? ""),
    };
  }

  async #refusal(response) {
    const { status } = response;
    const seconds = Number(response.headers.get("Retry-After") ?? NaN);
    const afterMs = Number.isFinite(seconds) ? Math.max(250, seconds * 1000) : null;
    const said = await spokenBy(response);
    if (status === 401) {
      return new Problem("This server asks for a token. Enter it and start again.", {
        retry: false,
        status,
      });
    }
    if (status === 409 && this.#role === "watch") {
      const text = `Nobody publishes “${this.#name}” yet: waiting for it to start.`;
      return new Problem(text, { afterMs: afterMs ?? 2000, status });
    }
    const retry = status === 409 || status === 429 || status >= 500;
    const text = said || `The server refused with status ${status}.`;
    return new Problem(text, { retry, afterMs, status });
  }

  #authorization() {
    const { token } = this.#options;
    return token ? { Authorization: `Bearer ${token}` } : {};
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
      const stop = () => reject(new Problem("Stopped", { retry: false }));
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
    const { pc } = this;
    const resource = this.#resource;
    this.pc = this.#resource = null;
    this.#lose = () => {};
    if (!resource) return pc?.close();
    const goodbye = {
      method: "DELETE",
      keepalive: true,
      headers: this.#authorization(),
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

// Codecs this browser can send, as the page's menu names them.
export function sendableCodecs() {
  const known = ["VP8", "H264", "VP9", "AV1"];
  const able = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  return known.filter((name) => able.some((c) => sameCodec(c, name)));
}

// An explicit choice is offered alone (with its repair stream): an answer may not turn to another.
// Of H.264's profiles constrained baseline comes first, the one every browser decodes.
function preferCodec(transceiver, name) {
  const { codecs } = RTCRtpSender.getCapabilities("video");
  const chosen = codecs.filter((c) => sameCodec(c, name));
  if (!chosen.length) throw new Problem(`This browser cannot send ${name}.`, { retry: false });
  const rank = (c) => (/profile-level-id=42e0/i.test(c.sdpFmtpLine ?? "") ? 0 : 1);
  chosen.sort((a, b) => rank(a) - rank(b));
  transceiver.setCodecPreferences([...chosen, ...codecs.filter((c) => sameCodec(c, "rtx"))]);
}

// Browsers that do not know the wish scale the picture as they like.
function keepSize(sender) {
  const parameters = sender.getParameters();
  parameters.degradationPreference = "maintain-resolution";
  sender.setParameters(parameters).catch(() => {});
}

function sameCodec(codec, name) {
  return codec.mimeType.toLowerCase() === `video/${name.toLowerCase()}`;
}

// Names the port that did not answer: that is what a firewall's owner has to look for.
function unreachable(answer) {
  const candidate = answer.match(/^a=candidate:\S+ 1 udp \d+ (\S+) (\d+)/im);
  const where = candidate ? `UDP port ${candidate[2]} of ${candidate[1]}` : "its UDP port";
  return new Problem(
    `The server answered, but nothing comes back from ${where}. A firewall may be closing it.`,
  );
}

// STUN and TURN servers in Link headers (RFC 9725 §4.6), which fetch joins with commas.
function iceServersOf(links) {
  const servers = [];
  for (const [, urls, rest] of links.matchAll(/<((?:stun|turn)s?:[^>]*)>([^<]*)/g)) {
    const said = Object.fromEntries([...rest.matchAll(/([\w-]+)="([^"]*)"/g)].map((m) => m.slice(1)));
    if (said.rel !== "ice-server") continue;
    const { username, credential } = said;
    servers.push(username ? { urls, username, credential } : { urls });
  }
  return servers;
}

// The server's own words, from problem+json (RFC 9457).
async function spokenBy(response) {
  if (!/[/+]json/i.test(response.headers.get("Content-Type") ?? "")) return "";
  const body = await response.json().catch(() => ({}));
  return body.detail ?? body.title ?? "";
}

function inSeconds(ms) {
  return ms < 1500 ? "a second" : `${Math.round(ms / 1000)} s`;
}
