// Server-sent events read from a stream of text: `EventSource` cannot send an Authorization header.

// A server that never ends a line, or an event, is not read for ever.
const LONGEST_EVENT_CHARS = 8 << 20;

export class EventReader {
  #rest = "";
  #name = "";
  #data = [];
  #chars = 0;

  // Takes the next piece of the stream; gives the events that it completes, as `{ name, data }`.
  read(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    this.#chars += text.length;
    const events = [];
    for (const line of lines) {
      const event = this.#line(line);
      if (event) events.push(event);
    }
    if (this.#chars > LONGEST_EVENT_CHARS) throw new Error("an event of the server has no end");
    return events;
  }

  // An empty line ends an event; a line that begins with a colon only keeps the connection alive.
  #line(line) {
    if (line === "") {
      const event = this.#data.length && {
        name: this.#name || "message",
        data: this.#data.join("\n"),
      };
      this.#name = "";
      this.#data = [];
      this.#chars = this.#rest.length;
      return event || null;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    if (field === "data") this.#data.push(value);
    return null;
  }
}
