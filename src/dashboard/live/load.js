// Who carries what: shards, ports, and memory against its budget.

import { $, Rows, bar, element, fill, mark, put, show, tableRow } from "./dom.js";
import { bits, bytes, clock, count, isKnown, lasting, micros, rate, spoken }
  from "./format.js";

// From here on a bar is drawn as a warning: a shard's core is nearly used up.
const NEARLY_FULL = 0.8;
const FULL = 0.95;
// Colours for shards in a port's bar; with more shards they come round again.
const SHARD_COLOURS = 8;
const DECISIONS_SHOWN = 5;

export class Load {
  #shards = new Rows($("#shards tbody"), shardRow, fillShard);
  #ports = new Rows($("#ports tbody"), portRow, fillPort);
  #memory = new Rows($("#memory tbody"), memoryRow, fillTerm);
  #decisions = new Rows($("#port-decisions"), () => element("li"), fillDecision);

  // `drain(port)` is called when somebody wants a port to be drained.
  constructor(drain) {
    $("#ports tbody").addEventListener("click", ({ target }) => {
      if (target.closest(".ends")) drain(target.closest("tr").dataset.port);
    });
  }

  show({ status, ports, shards }) {
    const list = shards?.shards ?? [];
    this.#shards.show(list, ({ shard }) => shard);
    const turns = list.reduce((sum, { turns_per_s: turns }) => sum + (turns ?? 0), 0);
    show("shards-turns", turns, rate(turns));
    this.#ports.show(ports?.ports ?? [], ({ port, protocol }) => `${port} ${protocol}`);
    put($("#ports-mode"), modeWords(ports));
    // With a port a session there is none to open or to drain.
    $("#open-port").hidden = ports?.mode !== "mux";
    this.#showDecisions(ports?.auto?.decisions ?? []);
    this.#memory.show(status.memory?.terms ?? [], ({ name }) => name);
  }

  #showDecisions(decisions) {
    const latest = decisions.slice(-DECISIONS_SHOWN).reverse();
    this.#decisions.show(latest, ({ at, port, action }) => `${at} ${action} ${port}`);
    $("#port-decisions").hidden = latest.length === 0;
  }
}

function modeWords(ports) {
  if (!ports) return "";
  const { mode, range, auto } = ports;
  if (mode === "range" && range) {
    const { first, last, used, free } = range;
    return `a port a session, ${first}–${last}: ${count(used)} in use, ${count(free)} free`;
  }
  if (auto) return `${auto.min} to ${auto.max} ports, as load asks`;
  return "each is read by every shard";
}

function shardRow() {
  const row = tableRow(["", "load", "n", "n more", "n more", "n more", "n more", "n", "n"]);
  row.children[1].append(bar(), element("span", "beside"));
  return row;
}

function fillShard(row, shard) {
  const [name, load, sessions, mail, turn, handed, incoming, outgoing, drops] = row.children;
  put(name, String(shard.shard));
  mark(name, "shade", shard.shard % SHARD_COLOURS);
  const core = isKnown(shard.core) ? `core ${shard.core}` : "not pinned";
  name.title = `Shard ${shard.shard}, ${core}, ${count(shard.flows)} flows`;
  const part = (shard.cpu_percent ?? 0) / 100;
  fill(load.firstChild, part);
  mark(load, "level", shard.stuck ? "bad" : level(part));
  const percentage = isKnown(shard.cpu_percent) ? `${Math.round(shard.cpu_percent)} %` : "–";
  put(load.lastChild, shard.stuck ? "stuck" : percentage);
  mark(load, "value", shard.cpu_percent ?? "");
  number(sessions, shard.sessions, count);
  sessions.title = `${count(shard.publishers)} publish, ${count(shard.viewers_ready)} watch`;
  number(incoming, shard.packets_in_per_s, rate);
  number(outgoing, shard.packets_out_per_s, rate);
  outgoing.title = bits(shard.bits_out_per_s);
  number(drops, shard.drops_per_s, rate);
  number(handed, shard.handed_over_per_s, rate);
  number(turn, shard.turn_us?.p99, micros);
  number(mail, shard.mail_depth, count);
  mail.title = `times the mailbox was full: ${count(shard.mail_full)}`;
}

function portRow() {
  const row = tableRow(["", "split more", "n", "n more", "n more", "n", "n", "acts"]);
  const drains = element("button", "link ends", "Drain");
  drains.type = "button";
  row.lastChild.append(drains);
  row.firstChild.append(element("span"), element("small"));
  row.children[1].append(element("span", "parts"), element("span", "beside"));
  return row;
}

function fillPort(row, port) {
  const [name, split, sessions, incoming, bitrate, outgoing, drops, acts] = row.children;
  const protocol = (port.protocol ?? "udp").toUpperCase();
  put(name.firstChild, port.port === null ? `all ${protocol}` : `${port.port} ${protocol}`);
  const left = port.drain_deadline_at ? port.drain_deadline_at - Date.now() / 1000 : null;
  const ending = left === null ? "" : `, ${lasting(left)} left`;
  const isOpen = (port.state ?? "open") === "open";
  put(name.lastChild, isOpen ? "" : ` ${port.state}${ending}`);
  mark(row, "state", port.state ?? "");
  mark(row, "port", port.port ?? "");
  acts.firstChild.hidden = !isOpen || port.port === null || protocol !== "UDP";
  acts.firstChild.setAttribute("aria-label", `Drain port ${port.port}`);
  number(sessions, port.sessions, count);
  number(incoming, port.packets_in_per_s, rate);
  number(outgoing, port.packets_out_per_s, rate);
  number(bitrate, port.bits_out_per_s, bits);
  const lost = [port.receive_drops, port.send_drops].filter(isKnown);
  number(drops, lost.length ? lost.reduce((a, b) => a + b) : null, count);
  drops.title = `receive queue full: ${count(port.receive_drops)}, not sent: ` +
    count(port.send_drops);
  fillParts(split, port.shards ?? []);
}

// What part of a port's packets each shard carries.
function fillParts(cell, shards) {
  const [parts, words] = cell.children;
  const carried = ({ packets_in_per_s: received, packets_out_per_s: sent }) =>
    (received ?? 0) + (sent ?? 0);
  const total = shards.reduce((sum, shard) => sum + carried(shard), 0);
  while (parts.childElementCount < shards.length) parts.append(element("i"));
  while (parts.childElementCount > shards.length) parts.lastChild.remove();
  const told = shards.map((shard, i) => {
    const part = total > 0 ? carried(shard) / total : 0;
    fill(parts.children[i], part);
    parts.children[i].hidden = part === 0;
    mark(parts.children[i], "shade", shard.shard % SHARD_COLOURS);
    return `${shard.shard}: ${Math.round(100 * part)} %`;
  });
  const spelt = total > 0 ? told.join(", ") : "idle";
  put(words, shards.length <= 2 ? spelt : "");
  cell.title = `Packets by shard: ${spelt}`;
  parts.setAttribute("role", "img");
  parts.setAttribute("aria-label", cell.title);
}

function memoryRow() {
  const row = tableRow(["", "load", "n"]);
  row.children[1].append(bar());
  return row;
}

function fillTerm(row, term) {
  const [name, load, sizes] = row.children;
  put(name, spoken(term.name));
  // What is set aside at the start is all there will be, and no part of anything.
  const grows = growsWithSessions(term);
  const part = grows && term.budget_bytes ? term.bytes / term.budget_bytes : 0;
  fill(load.firstChild, part);
  load.firstChild.hidden = !grows || !term.budget_bytes;
  mark(load, "level", part > 1 ? "bad" : "");
  const budget = grows && term.budget_bytes ? ` of ${bytes(term.budget_bytes)}` : "";
  put(sizes, bytes(term.bytes) + (grows ? budget : ", fixed"));
  mark(sizes, "value", term.bytes ?? "");
}

// Of the others a term's budget is what it takes.
export function growsWithSessions({ name }) {
  return name.startsWith("session_") || name === "ended_sessions";
}

function fillDecision(item, { at, action, port, why }) {
  put(item, `${clock(at)} ${action === "add" ? "opened" : "drains"} ${port}: ${why}`);
}

function number(cell, value, format) {
  put(cell, format(value));
  mark(cell, "value", value ?? "");
}

function level(part) {
  if (part >= FULL) return "bad";
  return part >= NEARLY_FULL ? "wait" : "";
}
