// What the dashboard does to the server: sessions and streams ended, ports opened and drained. Each
// is asked about once, and what the server says to it is shown where it was asked.

import { $, put } from "./dom.js";
import { sentence } from "./format.js";

export class Acts {
  #feed;
  #done;
  #dialog = $("#sure");
  #act = null;

  // `done` is called when something was changed.
  constructor(feed, done) {
    this.#feed = feed;
    this.#done = done;
    $("#sure-yes").addEventListener("click", () => this.#go());
    $("#sure-no").addEventListener("click", () => this.#dialog.close());
    $("#open-port").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#openPort();
    });
  }

  endSession(id, stream) {
    const words = `End session ${id} of ${stream}? Its client is disconnected.`;
    this.#ask(words, "End the session", `sessions/${encodeURIComponent(id)}`);
  }

  endStream(name) {
    const words = `End the stream ${name}? Its publisher and everybody who watches it are ` +
      "disconnected.";
    this.#ask(words, "End the stream", `streams/${encodeURIComponent(name)}`);
  }

  drainPort(port) {
    const words = `Drain port ${port}? It takes no new sessions, and closes when it is empty.`;
    this.#ask(words, "Drain the port", `ports/${port}`);
  }

  #ask(words, verb, path) {
    put($("#sure-words"), words);
    put($("#sure-yes"), verb);
    this.#say("");
    this.#act = path;
    this.#dialog.showModal();
    $("#sure-no").focus();
  }

  async #go() {
    $("#sure-yes").disabled = true;
    try {
      await this.#feed.send("DELETE", this.#act);
      this.#dialog.close();
      this.#done();
    } catch (problem) {
      this.#say(sentence(problem.message));
    } finally {
      $("#sure-yes").disabled = false;
    }
  }

  async #openPort() {
    const input = $("#new-port");
    const notice = $("#port-notice");
    try {
      await this.#feed.send("POST", "ports", { port: Number(input.value) });
      input.value = "";
      notice.hidden = true;
      this.#done();
    } catch (problem) {
      put(notice, sentence(problem.message));
      notice.hidden = false;
    }
  }

  #say(words) {
    const notice = $("#sure-notice");
    put(notice, words);
    notice.hidden = !words;
  }
}
