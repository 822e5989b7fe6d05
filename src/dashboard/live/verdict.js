// Whether the server is well, in one line: the conditions of the alert rules (tools/alerts), as far
// as a page can see them that looks on for some minutes, each with what to do.
//
// Not among them are MonoportMemoryGrows, which takes two hours to see, and those of the process, its
// log and what it asks of other nodes.

import { $, Rows, element, mark, put } from "./dom.js";
import { count, latency, percent, rate, sentence } from "./format.js";

// Rates are over what was seen in the last so many milliseconds.
const WINDOW_MS = 60_000;
// How long a condition must hold before it is said, unless it is one that is never right.
const HOLDS_MS = 5_000;
const FAILURES_AT_LEAST = 3;
const QUALITY_SESSIONS_AT_LEAST = 10;

// `find(view)` gives the words for a condition that holds; `tile` takes its colour.
const RULES = [
  {
    alert: "MonoportShardStuck",
    level: "bad",
    find: ({ shards }) => {
      const stuck = shards.filter((one) => one.stuck).map(({ shard }) => shard);
      return stuck.length ? `Shard ${stuck.join(", ")} stands still.` : "";
    },
    remedy: "Its sessions hang. Take a core dump (gcore), then restart the server.",
  },
  {
    alert: "MonoportReceiveDrops",
    tile: "tile-in",
    find: ({ perSecond }) => {
      const lost = perSecond((one) => one.receiveDrops);
      return lost > 1 ? `${rate(lost)} packets/s are lost before they are read.` : "";
    },
    remedy: "See `monoport check` for --receive-buffer and the card, and the shards' load.",
  },
  {
    alert: "MonoportRingFull",
    tile: "tile-drops",
    find: ({ dropped }) =>
      dropped("ring_full") + dropped("media_ring_full") > 0
        ? "A shard does not take its mail in time." : "",
    remedy: "Look for the shard at its limit; without eBPF (CAP_BPF) strays take this way, too.",
  },
  {
    alert: "MonoportSendQueueFull",
    tile: "tile-out",
    find: ({ dropped }) =>
      dropped("send_queue_full") > 0 ? "The kernel does not take what goes to viewers." : "",
    remedy: "Compare the bitrate out with the link; see `monoport check` for --send-buffer.",
  },
  {
    alert: "MonoportSessionsFail",
    tile: "tile-connecting",
    find: ({ failed, grown }) => {
      const failures = failed((reason) => reason !== "vanished");
      const part = failures / (failures + grown((one) => one.setups));
      const holds = failures >= FAILURES_AT_LEAST && part > 0.1;
      return holds ? `${percent(part)} of the set-ups fail.` : "";
    },
    remedy: "The latest failures below say why. Never heard: a firewall, or --announce.",
  },
  {
    alert: "MonoportNoRoom",
    tile: "tile-sessions",
    find: ({ failed }) => {
      const refused = failed((reason) => reason === "no_room");
      return refused > 0 ? `${count(refused)} sessions were refused for want of room.` : "";
    },
    remedy: "Raise --max-sessions if CPU and memory allow, or add a server.",
  },
  {
    alert: "MonoportNearlyFull",
    tile: "tile-sessions",
    find: ({ status: { sessions } }) => {
      const part = sessions.total / sessions.max;
      return part > 0.9 ? `${percent(part)} of the sessions there may be are taken.` : "";
    },
    remedy: "Raise --max-sessions if CPU and memory allow, or add a server.",
  },
  {
    alert: "MonoportPoorQuality",
    tile: "tile-out",
    find: ({ status: { quality } }) => poor(quality),
    remedy: "Show the worst first. All of one stream: its publisher. All of the server: its link.",
  },
  {
    alert: "MonoportLatency",
    tile: "tile-latency",
    find: ({ status: { latency_us: { p99 } } }) =>
      p99 > 50_000 ? `One packet in a hundred takes ${latency(p99)} or longer.` : "",
    remedy: "Look at the shards' load. On a quiet machine something else has their cores: --cores.",
  },
  {
    alert: "MonoportShardBusy",
    find: ({ shards }) => {
      const busy = shards.filter((one) => one.cpu_percent > 90).map(({ shard }) => shard);
      return busy.length ? `Shard ${busy.join(", ")} uses its whole core.` : "";
    },
    remedy: "Add cores or take sessions away. With --busy-poll-us it is as it should be.",
  },
  {
    alert: "MonoportMemoryBudget",
    tile: "tile-memory",
    find: ({ status: { memory } }) => {
      const holds = ({ name, bytes, budget_bytes: most }) =>
        name.startsWith("session_") && most > 0 && bytes / most > 0.95;
      return (memory?.terms ?? []).some(holds) ? "Memory for sessions is nearly all in use." : "";
    },
    remedy: "Is the number of sessions what you expect? It can't pass its budget.",
  },
  {
    alert: "MonoportDtlsFails",
    tile: "tile-connecting",
    find: ({ failed, seconds }) =>
      failed((reason) => reason === "dtls_timeout") / seconds > 1
        ? "DTLS handshakes come to nothing." : "",
    remedy: "On many clients: large datagrams are lost (MTU), or a middlebox drops DTLS.",
  },
  {
    alert: "MonoportDirectorySilent",
    find: ({ cluster }) =>
      cluster?.directory === "silent" && !cluster.refused
        ? "The directory of nodes does not answer: this one serves alone." : "",
    remedy: "Its sessions go on. Look at the Redis of --cluster; the log has why it is not heard.",
  },
  {
    alert: "MonoportNodeRefused",
    level: "bad",
    find: ({ cluster }) =>
      cluster?.refused ? `The other nodes do not take this one: ${sentence(cluster.refused)}` : "",
    remedy: "It serves alone until that is put right.",
  },
];

function poor(quality) {
  for (const [key, words] of [["up", "from publishers"], ["down", "to viewers"]]) {
    const { excellent = 0, good = 0, poor: weak = 0, lost = 0 } = quality?.[key] ?? {};
    const total = excellent + good + weak + lost;
    const part = (weak + lost) / total;
    if (total >= QUALITY_SESSIONS_AT_LEAST && part > 0.2) {
      return `${percent(part)} of the connections ${words} are poor or lost.`;
    }
  }
  return "";
}

export class Verdict {
  #seen = [];
  // Since when each condition holds.
  #since = new Map();
  #others = new Rows($("#verdict-others"), () => element("li"), (item, text) => put(item, text));

  // Takes what the server said at a moment, in milliseconds.
  add({ status, ports }, at) {
    const sum = (items, key) => (items ?? []).reduce((n, item) => n + (item[key] ?? 0), 0);
    this.#seen.push({
      at,
      receiveDrops: sum(ports?.ports, "receive_drops"),
      setups: status.setup_ms?.count ?? 0,
      drops: byReason(status.drops),
      failures: byReason(status.failures),
      startedAt: status.started_at,
    });
    // A server that was started anew counts anew.
    this.#seen = this.#seen.filter((one) =>
      one.at >= at - WINDOW_MS && one.startedAt === status.started_at);
  }

  // `state` is the feed's; a snapshot is there unless nothing has come yet, and of the cluster what
  // is known where the server is a node of one.
  show(state, snapshot, at, cluster) {
    if (["unreachable", "stale"].includes(state)) {
      const remedy = "Look whether the process runs, and at the last lines of its log.";
      return this.#say("bad", [{ words: "The server does not answer.", remedy }]);
    }
    if (!snapshot) return this.#say("", []);
    const found = this.#find({ ...snapshot, cluster }, at);
    for (const tile of document.querySelectorAll(".tile")) {
      const own = found.filter((rule) => rule.tile === tile.id);
      mark(tile, "level", own.length ? "wait" : "");
    }
    const level = found.some((rule) => rule.level === "bad") ? "bad" : "wait";
    this.#say(found.length ? level : "good", found.length ? found : [allIsWell(snapshot.status)]);
  }

  // What holds, the worst first.
  #find(snapshot, at) {
    const view = this.#view(snapshot);
    const found = [];
    if (snapshot.status.state === "draining") {
      const remedy = "New sessions are refused; those there are may go on for --drain-timeout.";
      found.push({ words: "The server is stopping.", remedy });
    }
    for (const rule of RULES) {
      const words = rule.find(view);
      if (!words) this.#since.delete(rule.alert);
      else if (!this.#since.has(rule.alert)) this.#since.set(rule.alert, at);
      const holds = words && at - this.#since.get(rule.alert) >= HOLDS_MS;
      if (words && (holds || rule.level === "bad")) found.push({ ...rule, words });
    }
    return found.sort((a, b) => Number(b.level === "bad") - Number(a.level === "bad"));
  }

  #view({ status, shards, cluster }) {
    const [first, last] = [this.#seen[0], this.#seen.at(-1)];
    const seconds = Math.max(1, ((last?.at ?? 0) - (first?.at ?? 0)) / 1000);
    const grown = (read) => (last ? Math.max(0, read(last) - read(first)) : 0);
    return {
      status,
      cluster,
      shards: shards?.shards ?? [],
      seconds,
      grown,
      perSecond: (read) => grown(read) / seconds,
      dropped: (reason) => grown((one) => one.drops.get(reason) ?? 0),
      failed: (isMeant) => grown((one) => {
        return [...one.failures].reduce((n, [reason, total]) => n + isMeant(reason) * total, 0);
      }),
    };
  }

  #say(level, found) {
    mark($("#verdict"), "level", level);
    const [first, ...others] = found;
    put($("#verdict-words"), first?.words ?? "Looking…");
    put($("#verdict-remedy"), first?.remedy ?? "");
    this.#others.show(others.map(({ words, remedy }) => `${words} ${remedy}`), (text) => text);
  }
}

function allIsWell({ sessions, streams, state }) {
  if (state === "ready" && !sessions.publishers) {
    return { words: "All is well.", remedy: "Nobody publishes now." };
  }
  const told = `${plural(streams, "stream")} to ${plural(sessions.viewers, "viewer")}.`;
  return { words: "All is well.", remedy: told };
}

function plural(n, what) {
  return `${count(n)} ${what}${n === 1 ? "" : "s"}`;
}

function byReason(list) {
  return new Map((list ?? []).map(({ reason, total }) => [reason, total]));
}
