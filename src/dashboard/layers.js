// The layers of a stream that is watched: which there are, and the choice of one, by the extensions
// `server-sent-events` and `layer` of WHEP.

import { Problem } from "./problem.js";

const EXTENSIONS = "urn:ietf:params:whep:ext:core:";

// The URL that a Link header has for one of WHEP's extensions; fetch joins several with commas.
export function extension(links, name, base) {
  for (const [, url, rest] of links.matchAll(/<([^>]*)>([^<]*)/g)) {
    if (rest.includes(`rel="${EXTENSIONS}${name}"`)) return new URL(url, base);
  }
  return null;
}

// Those of one connection, until `signal` says that it is over.
export class Layers {
  #choose;
  #headers;
  #signal;

  constructor({ links, base, headers, signal }) {
    this.#choose = extension(links, "layer", base);
    this.#headers = { "Content-Type": "application/json", ...headers };
    this.#signal = signal;
    this.events = extension(links, "server-sent-events", base);
  }

  // Calls `changed` with the layers there are, the smallest first, and those that do not come, now
  // and whenever they change; and `heard`, where it is given, with the tracks in which somebody
  // speaks, the loudest first.
  async listen(changed, heard) {
    if (!this.events) return;
    const wanted = heard ? ["layers", "speakers"] : ["layers"];
    const channel = await this.#post(this.events, wanted).catch(() => null);
    const location = channel?.ok && channel.headers.get("Location");
    if (!location || this.#signal.aborted) return;
    const source = new EventSource(new URL(location, this.events));
    this.#signal.addEventListener("abort", () => source.close());
    source.addEventListener("layers", ({ data }) => {
      const [section] = Object.values(JSON.parse(data));
      changed(section?.layers ?? [], section?.inactive ?? []);
    });
    source.addEventListener("speakers", ({ data }) => heard(JSON.parse(data).speakers));
  }

  // Asks for a layer by `encodingId`, for no more than `maxWidth` or `maxHeight` need, or for
  // whatever is best.
  async choose(wish) {
    if (!this.#choose) {
      throw new Problem("The server lets nobody choose a layer.", { code: "unsupported" });
    }
    const response = await this.#post(this.#choose, wish).catch(() => null);
    if (response?.ok) return;
    const { detail } = (await response?.json().catch(() => null)) ?? {};
    throw new Problem(detail ?? "The server does not answer.", { code: "refused" });
  }

  #post(url, body) {
    const request = { method: "POST", headers: this.#headers, body: JSON.stringify(body) };
    return fetch(url, { ...request, signal: this.#signal });
  }
}
