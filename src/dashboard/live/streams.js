// The streams: who publishes how well, and how many watch.

import { $, Rows, bar, element, fill, mark, put, tableRow } from "./dom.js";
import { bits, codecs, count, decimal, rate } from "./format.js";
import { Pages } from "./pages.js";

const PAGE_ROWS = 12;
// Sound that is less loud than this shows nothing: rooms are.
const QUIET_DBOV = -60;

export class Streams {
  #rows = new Rows($("#streams tbody"), streamRow, fillStream);
  #pages;
  #feed;

  // `showSessions(name)` is called when somebody wants to see a stream's sessions, `end(name)` when
  // it shall end.
  constructor(feed, showSessions, end) {
    this.#feed = feed;
    this.#pages = new Pages($("#streams-back"), $("#streams-next"), () => this.refresh());
    $("#streams tbody").addEventListener("click", ({ target }) => {
      const name = target.closest("tr").dataset.key;
      if (target.closest(".ends")) end(name);
      else if (!target.closest("a")) showSessions(name);
    });
  }

  async refresh() {
    const asked = new URLSearchParams({ limit: PAGE_ROWS });
    const { cursor } = this.#pages;
    if (cursor) asked.set("after", cursor);
    const answer = await this.#feed.get(`streams?${asked}`);
    if (cursor !== this.#pages.cursor) return;
    this.#rows.show(answer.streams ?? [], ({ name }) => name);
    this.#pages.answered(answer.next);
  }
}

function streamRow() {
  const row = tableRow(["stream", "more", "n more", "n more", "n", "n", "n", "acts"]);
  const name = element("button", "link");
  name.type = "button";
  row.firstChild.append(name);
  row.children[1].append(element("span"), bar());
  const ends = element("button", "link ends", "End");
  ends.type = "button";
  row.lastChild.append(element("a", "", "Watch"), ends);
  return row;
}

function fillStream(row, stream) {
  const [name, media, quality, asked, viewers, incoming, outgoing, acts] = row.children;
  put(name.firstChild, stream.name);
  const spelt = codecs(stream.video, stream.audio);
  const [words, loudness] = media.children;
  put(words, stream.publisher ? spelt : "nobody publishes");
  const levels = (stream.layers ?? []).map(({ level_dbov }) => level_dbov ?? -Infinity);
  const level = Math.max(-Infinity, ...levels);
  loudness.hidden = level === -Infinity;
  loudness.title = loudness.hidden ? "" : `sound: ${level} dBov`;
  fill(loudness, 1 - level / QUIET_DBOV);
  put(viewers, count(stream.viewers));
  mark(viewers, "value", stream.viewers ?? "");
  put(quality, decimal(stream.publisher_quality, 0));
  put(incoming, bits(stream.in_bits_per_s));
  put(outgoing, bits(stream.out_bits_per_s));
  const [watch, ends] = acts.children;
  watch.href = `watch/${encodeURIComponent(stream.name)}`;
  watch.setAttribute("aria-label", `Watch ${stream.name}`);
  ends.setAttribute("aria-label", `End ${stream.name}`);
  put(asked, rate(stream.keyframe_requests_per_s));
}
