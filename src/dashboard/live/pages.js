// Forth and back through a list that the server gives out a page at a time. Its cursors only point
// forward, so those passed are kept.

export class Pages {
  #passed = [];
  #next = null;
  #back;
  #forth;

  constructor(back, forth, turned) {
    this.#back = back;
    this.#forth = forth;
    const turn = (change) => () => {
      change();
      this.#showButtons();
      turned().catch(() => {});
    };
    back.addEventListener("click", turn(() => this.#passed.pop()));
    forth.addEventListener("click", turn(() => {
      if (this.#next !== null) this.#passed.push(this.#next);
      this.#next = null;
    }));
  }

  // What to ask the server to go on after; undefined for the first page.
  get cursor() {
    return this.#passed.at(-1);
  }

  get index() {
    return this.#passed.length;
  }

  restart() {
    this.#passed = [];
    this.#next = null;
  }

  answered(next) {
    this.#next = next ?? null;
    this.#showButtons();
  }

  #showButtons() {
    this.#back.disabled = this.#passed.length === 0;
    this.#forth.disabled = this.#next === null;
    this.#back.parentElement.hidden = this.#back.disabled && this.#forth.disabled &&
      this.#back.parentElement.childElementCount === 2;
  }
}
