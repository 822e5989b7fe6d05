// The list of sessions, a page at a time: the server sorts and cuts, so ten thousand cost no more
// than fifty.

import { $, Rows, bar, element, fill, mark, put, tableRow } from "./dom.js";
import { bits, briefly, count, decimal, isKnown, millis, percent, spoken }
  from "./format.js";
import { Pages } from "./pages.js";

const PAGE_ROWS = 20;
const COLUMNS = [
  "name", "stream", "more", "more", "n more", "n more", "n more", "quality-column", "n more",
  "n more", "n more", "n", "n",
];

export class Sessions {
  #rows = new Rows($("#sessions tbody"), sessionRow, fillSession);
  #feed;
  #pages;
  #isHeld = false;
  #wasAsked = "";

  constructor(feed, open) {
    this.#feed = feed;
    this.#pages = new Pages($("#sessions-back"), $("#sessions-next"), () => this.refresh());
    const filters = $("#filters");
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("input", () => this.#restart());
    const body = $("#sessions tbody");
    // The whole row opens its session; its link is for the keyboard and for new tabs.
    body.addEventListener("click", ({ target }) => {
      if (!target.closest("a")) open(target.closest("tr").dataset.key);
    });
    // Whoever aims at a row does not want it to move away.
    const hold = (held) => () => {
      this.#isHeld = held || body.contains(document.activeElement);
    };
    body.addEventListener("mouseenter", hold(true));
    body.addEventListener("mouseleave", hold(false));
    body.addEventListener("focusin", hold(true));
    body.addEventListener("focusout", () => setTimeout(hold(body.matches(":hover"))));
  }

  // Shows the sessions of a role, or of a stream, the worst first.
  showWorst({ role = "", stream = "" }) {
    $("#order").value = "worst";
    $("#role").value = role;
    $("#state").value = "";
    $("#stream").value = stream;
    this.#restart();
    const section = $("#sessions");
    section.scrollIntoView({ block: "start" });
    section.focus({ preventScroll: true });
  }

  async refresh() {
    const query = this.#query();
    const isSame = query === this.#wasAsked;
    const answer = await this.#feed.get(`sessions?${query}`);
    // Somebody may have asked for something else meanwhile.
    if (query !== this.#query()) return;
    this.#wasAsked = query;
    const list = answer.sessions ?? [];
    const key = ({ id }) => id;
    if (this.#isHeld && isSame) this.#rows.refresh(list, key);
    else this.#rows.show(list, key);
    this.#pages.answered(answer.next);
    const first = this.#pages.index * PAGE_ROWS;
    const shown = list.length ? `${count(first + 1)}–${count(first + list.length)}` : "";
    put($("#sessions-remark"), this.#isHeld && isSame ? `${shown}, order held` : shown);
  }

  #restart() {
    this.#pages.restart();
    this.refresh().catch(() => {});
  }

  #query() {
    const asked = new URLSearchParams({ limit: PAGE_ROWS, order: $("#order").value });
    for (const name of ["role", "state", "stream"]) {
      const value = $(`#${name}`).value.trim();
      if (value) asked.set(name, value);
    }
    if (this.#pages.cursor) asked.set("after", this.#pages.cursor);
    return asked.toString();
  }
}

function sessionRow() {
  const row = tableRow(COLUMNS);
  row.children[0].append(element("a"));
  row.children[7].append(bar(), element("span", "beside"));
  return row;
}

function fillSession(row, session) {
  const [name, stream, role, state, age, shard, port, quality, mos, jitter, trip, loss, bitrate] =
    row.children;
  put(name.firstChild, session.id);
  name.firstChild.href = `#session=${encodeURIComponent(session.id)}`;
  put(stream, session.stream ?? "–");
  put(role, session.role ? spoken(session.role) : "–");
  put(state, session.state ? spoken(session.state) : "–");
  mark(state, "level", session.state === "connecting" ? "wait" : "");
  fill(quality.firstChild, (session.score ?? 0) / 100);
  mark(quality, "quality", session.level ?? "");
  put(quality.lastChild, isKnown(session.score) ? decimal(session.score, 0) : "–");
  quality.title = session.level ? spoken(session.level) : "Not known yet";
  put(mos, decimal(session.mos, 2));
  put(loss, percent(session.loss_ratio));
  put(jitter, millis(session.jitter_ms));
  put(trip, millis(session.rtt_ms));
  put(bitrate, bits(session.bits_per_s));
  put(shard, String(session.shard ?? "–"));
  put(port, String(session.port ?? "–"));
  put(age, briefly(Date.now() / 1000 - session.created_at));
}
