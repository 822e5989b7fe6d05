// How well sessions fare, up (from publishers) and down (to viewers) apart: a publisher's bad
// uplink and a viewer's bad downlink have different owners.

import { $, element, fill, mark, put } from "./dom.js";
import { count, percent } from "./format.js";

const LEVELS = ["excellent", "good", "poor", "lost"];
const DIRECTIONS = [
  { key: "up", role: "publisher", title: "Up", note: "from publishers" },
  { key: "down", role: "viewer", title: "Down", note: "to viewers" },
];

export class Quality {
  #directions;

  // `showWorst(role)` is called when somebody wants to see the worst sessions of a direction.
  constructor(showWorst) {
    this.#directions = DIRECTIONS.map((direction) => new Direction(direction, showWorst));
    $("#quality .directions").append(...this.#directions.map(({ root }) => root));
  }

  show({ status }) {
    for (const direction of this.#directions) direction.show(status.quality);
  }
}

class Direction {
  root = element("div", "direction");
  #key;
  #total = element("b", "", "–");
  #parts = element("button", "parts");
  #counts = [];

  constructor({ key, role, title, note }, showWorst) {
    this.#key = key;
    const head = element("div", "direction-head");
    const name = element("h3", "", title);
    name.append(element("span", "remark", note));
    const worst = element("button", "link", "Worst first");
    worst.type = this.#parts.type = "button";
    worst.id = `worst-${key}`;
    worst.setAttribute("aria-label", `Show the sessions ${note}, the worst first`);
    // The bar does what the button beside it does, for those who aim at it.
    this.#parts.tabIndex = -1;
    this.#parts.setAttribute("aria-hidden", "true");
    for (const button of [worst, this.#parts]) {
      button.addEventListener("click", () => showWorst(role));
    }
    head.append(name, this.#total, worst);
    const legend = element("dl", "levels");
    for (const level of LEVELS) {
      const part = element("i");
      const [box, term, number] = [element("div"), element("dt", "", level), element("dd")];
      part.dataset.level = box.dataset.level = level;
      number.id = `quality-${key}-${level}`;
      box.append(term, number);
      this.#parts.append(part);
      legend.append(box);
      this.#counts.push({ level, part, number });
    }
    this.root.append(head, this.#parts, legend);
  }

  show(quality) {
    const levels = quality?.[this.#key] ?? {};
    const total = LEVELS.reduce((sum, level) => sum + (levels[level] ?? 0), 0);
    put(this.#total, count(total));
    for (const { level, part, number } of this.#counts) {
      const n = levels[level] ?? 0;
      fill(part, total ? n / total : 0);
      part.hidden = n === 0;
      put(number, total ? `${count(n)} (${percent(n / total)})` : count(n));
      mark(number, "value", n);
    }
  }
}
