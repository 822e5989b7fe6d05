// What went wrong, by reason, the most frequent first, each with what it means and what to do; and
// how the latest sessions ended.

import { $, Rows, element, mark, put, tableRow } from "/dashboard/dom.js";
import { clock, count, rate, spoken } from "/dashboard/format.js";
import { DROPS, ENDS } from "/dashboard/words.js";

const SHOWN_AT_FIRST = 6;
const ENDINGS_KEPT = 8;

export class Ranks {
  #drops = new Rows($("#drops tbody"), () => ranked(["n", "n"]), fillDrop);
  #failures = new Rows($("#failures tbody"), () => ranked(["n"]), fillFailure);
  #endings = new Rows($("#endings"), endingItem, fillEnding);
  #latest = [];
  #serial = 0;
  #showsAll = false;
  #all = $("#drops [data-does=all]");

  constructor(again) {
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
    this.#endings.show(this.#latest, ({ serial }) => serial);
  }

  // An event of the stream about a session.
  noteEnd(event) {
    if (event.what !== "ended") return;
    this.#serial += 1;
    this.#latest.unshift({ ...event, serial: this.#serial });
    this.#latest.length = Math.min(this.#latest.length, ENDINGS_KEPT);
  }
}

// A reason with its sentence below, and numbers of these classes.
function ranked(classes) {
  const row = tableRow(["reason", ...classes]);
  row.firstChild.append(element("strong"), element("p"));
  return row;
}

function explain(cell, label, book) {
  const known = book[label];
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

function endingItem() {
  const item = element("li");
  item.append(element("time"), element("a"), element("span"));
  return item;
}

function fillEnding(item, { id, role, stream, reason, at }) {
  const [time, link, words] = item.children;
  put(time, clock(at));
  put(link, id);
  link.href = `#session=${encodeURIComponent(id)}`;
  const ended = ENDS[reason]?.title ?? spoken(reason ?? "ended");
  put(words, `${role === "publisher" ? "published" : "watched"} ${stream}. ${ended}.`);
}
