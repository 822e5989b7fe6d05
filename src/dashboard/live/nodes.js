// The nodes of the cluster that the server is one of, and how it goes with the directory they share.

import { $, Rows, bar, element, fill, mark, put, tableRow } from "./dom.js";
import { count, percent, sentence } from "./format.js";

// From here on publishers are taken to other nodes (NODE_BUSY_PERMILLE of src/limits).
const LOADED = 0.7;

export class Nodes {
  #rows = new Rows($("#nodes tbody"), nodeRow, fillNode);
  #feed;
  // What was last told of the cluster; null before that.
  cluster = null;

  constructor(feed) {
    this.#feed = feed;
  }

  // Whether the server is known to be no node of a cluster, which it stays until it is started anew.
  get isAlone() {
    return this.cluster?.directory === "none";
  }

  // It may be another server that answers now.
  forget() {
    this.cluster = null;
  }

  async refresh() {
    this.cluster = await this.#feed.get("cluster");
    $("#nodes").hidden = this.isAlone;
    if (this.isAlone) return;
    const { node, directory, refused, nodes = [] } = this.cluster;
    const isSilent = directory === "silent";
    put($("#nodes-remark"), isSilent ? "as last heard" : `as ${node} knows them`);
    const silence = isSilent ? `The directory does not answer: ${node} serves alone.` : "";
    const words = refused ? `The others do not take ${node}: ${sentence(refused)}` : silence;
    put($("#nodes-notice"), words);
    $("#nodes-notice").hidden = !words;
    const here = nodes.map((one) => ({ ...one, isAsked: one.name === node }));
    this.#rows.show(here, ({ name }) => name);
  }
}

function nodeRow() {
  const row = tableRow(["", "load", "n", "more", "more", "more", ""]);
  row.children[1].append(bar(), element("span", "beside"));
  return row;
}

function fillNode(row, node) {
  const [name, load, sessions, zone, version, http, state] = row.children;
  put(name, node.isAsked ? `${node.name} (this one)` : node.name);
  const [box, number] = load.children;
  fill(box, node.load);
  mark(load, "level", node.load >= LOADED ? "wait" : "");
  put(number, percent(node.load));
  put(sessions, count(node.sessions));
  mark(sessions, "value", node.sessions ?? "");
  put(zone, node.zone ?? "–");
  put(version, node.version || "–");
  put(http, node.http);
  put(state, node.draining ? "draining" : "alive");
}
