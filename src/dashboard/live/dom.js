// Changing the page without churning it: text is set only where it differs, rows are kept.

export const $ = (selector, root = document) => root.querySelector(selector);

// An element with a class and a text.
export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A number on the page: the text for people, the value itself in `data-value` for programs.
export function show(id, value, text) {
  const node = document.getElementById(id);
  put(node, text);
  mark(node, "value", value ?? "");
}

export function mark(node, name, value) {
  const text = String(value);
  if (node.dataset[name] !== text) node.dataset[name] = text;
}

// Sets how much of a bar is filled, between 0 and 1. By the object model, not by an attribute: the
// page's policy allows no inline style.
export function fill(node, part) {
  const text = Math.max(0, Math.min(1, part || 0)).toFixed(3);
  if (node.style.getPropertyValue("--part") !== text) node.style.setProperty("--part", text);
}

// Rows of a table or a list, one for each key. A row stays the same element as long as its key is
// there, so the focus stays on it and a click meets what was aimed at.
export class Rows {
  #body;
  #make;
  #fill;
  #rows = new Map();

  constructor(body, make, fillRow) {
    this.#body = body;
    this.#make = make;
    this.#fill = fillRow;
  }

  // Shows `items`, in their order, under the keys that `key` gives.
  show(items, key) {
    const focused = document.activeElement;
    const wanted = new Map(items.map((item) => [String(key(item)), item]));
    const spare = [];
    for (const [name, row] of this.#rows) {
      if (wanted.has(name)) continue;
      this.#rows.delete(name);
      spare.push(row);
    }
    let place = this.#body.firstElementChild;
    for (const [name, item] of wanted) {
      let row = this.#rows.get(name);
      if (!row) {
        row = spare.pop() ?? this.#make();
        this.#rows.set(name, row);
      }
      mark(row, "key", name);
      if (row === place) place = place.nextElementSibling;
      else this.#body.insertBefore(row, place);
      this.#fill(row, item);
    }
    for (const row of spare) row.remove();
    this.#sayEmpty();
    // A row that is moved loses the focus.
    if (this.#body.contains(focused) && document.activeElement !== focused) focused.focus();
  }

  // Refreshes the rows that are shown, where they stand.
  refresh(items, key) {
    for (const item of items) {
      const row = this.#rows.get(String(key(item)));
      if (row) this.#fill(row, item);
    }
  }

  // The sentence for an empty table stands right behind it.
  #sayEmpty() {
    const shown = this.#body.closest("table") ?? this.#body;
    const sentence = shown.nextElementSibling;
    const isEmpty = this.#rows.size === 0;
    if (shown.hidden !== isEmpty) shown.hidden = isEmpty;
    if (sentence?.matches(".empty") && sentence.hidden === isEmpty) sentence.hidden = !isEmpty;
  }
}

// A table row whose cells have these classes; the first is the row's header.
export function tableRow(classes) {
  const row = element("tr");
  row.append(...classes.map((className, i) => element(i ? "td" : "th", className)));
  row.firstChild.scope = "row";
  return row;
}

// A bar beside its number, which says the same to those who do not see it.
export function bar() {
  const box = element("span", "bar");
  box.setAttribute("aria-hidden", "true");
  box.append(element("i"));
  return box;
}

// Runs `paint` soon, and at most ten times a second however often it is asked for; not at all while
// nobody looks.
export class Painter {
  paints = 0;
  #paint;
  #last = -Infinity;
  #timer = 0;
  #paused = false;

  constructor(paint) {
    this.#paint = paint;
    document.addEventListener("visibilitychange", () => this.ask());
  }

  ask() {
    if (this.#timer || this.#paused || document.hidden) return;
    const wait = Math.max(0, 100 - (performance.now() - this.#last));
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      if (this.#paused || document.hidden) return;
      this.#last = performance.now();
      this.paints += 1;
      this.#paint();
    }, wait);
  }

  set paused(paused) {
    this.#paused = paused;
    this.ask();
  }

  get paused() {
    return this.#paused;
  }
}
