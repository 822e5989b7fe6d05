// What went wrong, in words; `code` is for programs, `status` the HTTP status if there was one.
export class Problem extends Error {
  constructor(text, { code = "lost", retry = true, afterMs = null, status = 0 } = {}) {
    super(text);
    Object.assign(this, { code, retry, afterMs, status });
  }
}
