// What went wrong, by reason, the most frequent first, each with what it means and what to do; and
// the latest failures, in the server's words.

import { $, Rows, element, mark, put, tableRow } from "./dom.js";
import { clock, count, rate, sentence, spoken } from "./format.js";
import { DROPS, ENDS } from "./words.js";

const SHOWN_AT_FIRST = 6;
const LATEST_SHOWN = 6;

export class Ranks {
  #drops = new Rows($("#drops tbody"), () => ranked(["n", "n"]), fillDrop);
  #failures = new Rows($("#failures tbody"), () => ranked(["n"]), fillFailure);
  #latest = new Rows($("#latest"), latestItem, fillLatest);
  #feed;
  #showsAll = false;
  #all = $("#drops [data-does=all]");

  constructor(feed, again) {
    this.#feed = feed;
    this.#all.addEventListener("click", () => {
      this.#showsAll = !this.#showsAll;
      again();
    });
  }

  show({ status }) {
    const drops = [...(status.drops ?? [])].sort((a, b) => b.total - a.total);
    const shown = this.#showsAll ? drops : drops.slice(0, SHOWN_AT_FIRST);
    this.#drops.show(shown, ({ reason }) => reason);
    const words = this.#showsAll ? "Show fewer" : `Show all ${drops.length}`;
    put(this.#all, words);
    this.#all.setAttribute("aria-expanded", String(this.#showsAll));
    this.#all.parentElement.hidden = drops.length <= SHOWN_AT_FIRST;
    const failures = [...(status.failures ?? [])].filter(({ total }) => total > 0);
    failures.sort((a, b) => b.total - a.total);
    this.#failures.show(failures, ({ reason }) => reason);
  }

  async refresh() {
    const { failures } = await this.#feed.get(`failures?limit=${LATEST_SHOWN}`);
    const listed = (failures ?? []).map((failure, i) => ({ ...failure, i }));
    this.#latest.show(listed, ({ i }) => i);
  }
}

// A reason with its sentence below, and numbers of these classes.
function ranked(classes) {
  const row = tableRow(["reason", ...classes]);
  row.firstChild.append(element("strong"), element("p"));
  return row;
}

function explain(cell, label, words) {
  const known = words[label];
  put(cell.firstChild, known?.title ?? spoken(label));
  put(cell.lastChild, known ? `${known.means} ${known.remedy}` : "");
}

function fillDrop(row, { reason, per_s: perSecond, total }) {
  explain(row.children[0], reason, DROPS);
  put(row.children[1], rate(perSecond));
  mark(row.children[1], "level", perSecond > 0 ? "moving" : "");
  put(row.children[2], count(total));
  mark(row, "total", total ?? "");
}

function fillFailure(row, { reason, total }) {
  explain(row.children[0], reason, ENDS);
  put(row.children[1], count(total));
  mark(row, "total", total ?? "");
}

function latestItem() {
  const item = element("li");
  item.append(element("time"), element("a"), element("span"), element("p"));
  return item;
}

// A POST that was refused never was a session, and has no name.
function fillLatest(item, { id, role, stream, reason, words, at }) {
  const [time, link, who, said] = item.children;
  put(time, clock(at));
  put(link, id ?? "");
  link.hidden = !id;
  link.href = id ? `#session=${encodeURIComponent(id)}` : "#failures";
  put(who, `${role} of ${stream}, ${(ENDS[reason]?.title ?? spoken(reason)).toLowerCase()}`);
  put(said, sentence(words));
}
