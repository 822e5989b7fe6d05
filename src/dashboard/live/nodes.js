// The nodes of the cluster that the server is one of, how it goes with the directory they share, and
// what goes from node to node.

import { $, Rows, bar, element, fill, mark, put, tableRow } from "./dom.js";
import { count, millis, percent, sentence } from "./format.js";

// From here on publishers are taken to other nodes (NODE_BUSY_PERMILLE of src/limits).
const LOADED = 0.7;

// Links that are shown: each is an element or ten, once a second.
const SHOWN = 100;

// How a layer of a link is, unless it comes.
const STATES = {
  unasked: "not watched there",
  loses: "left out: the way loses too much",
  capped: "left out: above --link-mbps",
  above: "left out on the way before",
};

export class Nodes {
  #rows = new Rows($("#nodes tbody"), nodeRow, fillNode);
  #links = new Rows($("#links tbody"), linkRow, fillLink);
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
    for (const part of ["#nodes", "#links"]) $(part).hidden = this.isAlone;
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
    this.#showLinks();
  }

  #showLinks() {
    const { node, links = [] } = this.cluster;
    const all = links.map((link) => {
      const [from, to] = link.direction === "in" ? [link.node, node] : [node, link.node];
      return { ...link, from, to, withheld: link.layers.filter(isWithheld).length };
    });
    // Those that lack most come first, where there are more than are shown.
    const lack = (one, other) => other.withheld - one.withheld || other.lost - one.lost;
    const shown = all.length > SHOWN ? all.sort(lack).slice(0, SHOWN) : all;
    const some = `the ${SHOWN} of ${count(all.length)} links of ${node} that lack most`;
    put($("#links-remark"), shown.length < all.length ? some : `the links of ${node}`);
    this.#links.show(shown, ({ stream, from, to }) => `${from} ${to} ${stream}`);
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

function isWithheld({ state }) {
  return ["loses", "capped", "above"].includes(state);
}

function linkRow() {
  return tableRow(["", "", "", "n", "n more", "n", "n more", ""]);
}

function fillLink(row, link) {
  const [stream, from, to, packets, repaired, lost, roundTrip, layers] = row.children;
  put(stream, link.stream);
  put(from, link.from);
  put(to, link.to);
  put(packets, count(link.packets));
  put(repaired, count(link.repaired));
  put(lost, count(link.lost));
  mark(lost, "level", link.lost > 0 ? "wait" : "");
  put(roundTrip, millis(link.round_trip_ms));
  const words = link.layers.map(({ layer, state }) =>
    state in STATES ? `${layer} ${STATES[state]}` : layer,
  );
  put(layers, words.join(", ") || "–");
  mark(layers, "level", link.withheld ? "wait" : "");
}
