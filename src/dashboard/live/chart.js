// Lines over time, drawn as SVG so that they take the page's colours. A pointer, or the arrow keys,
// read a moment of the past; the legend holds the numbers.

import { element, put } from "./dom.js";
import { isKnown, lasting } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 120;
// Two samples further apart than this many usual steps are not joined: nothing is known between.
const GAP_STEPS = 3.5;
const MOST_DECADES = 4;

export class Chart {
  #series;
  #format;
  #options;
  #plot;
  #cursor;
  #when;
  #ticks = [];
  #drawn = { samples: [], now: 0 };
  // Milliseconds before the newest sample that are being read; null for now.
  #readAgo = null;

  // `series` are `{ key, label, look }`; `options` are `spanMs`, `stepMs`, `scale` (`linear` or
  // `log`) and `top`, a value that the axis reaches at least (linear) or always (`fixed`).
  constructor(root, title, series, format, options) {
    this.#format = format;
    this.#options = options;
    const figure = element("figure", "chart");
    const caption = element("figcaption");
    const legend = element("ul", "legend");
    this.#when = element("span", "when");
    caption.append(element("h3", "", title), legend);
    this.#plot = element("div", "plot");
    this.#plot.tabIndex = 0;
    this.#plot.setAttribute("role", "img");
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    this.#series = series.map((one) => ({ ...one, ...drawn(svg, one.look) }));
    this.#cursor = element("i", "cursor");
    this.#cursor.hidden = true;
    this.#plot.append(svg, this.#cursor);
    for (const one of this.#series) legend.append(legendEntry(one));
    figure.append(caption, this.#plot, this.#axis());
    root.append(figure);
    this.title = title;
    this.#listen();
  }

  // Draws samples `{ at, … }`; `now` is the time at the right edge, both in milliseconds.
  draw(samples, now) {
    const { spanMs } = this.#options;
    this.#drawn = { samples, now };
    const scale = this.#scale(samples);
    this.#showTicks(scale.ticks);
    const x = (at) => WIDTH * (1 - (now - at) / spanMs);
    const y = (value) => HEIGHT * (1 - scale.place(value));
    for (const one of this.#series) {
      const runs = this.#runs(samples, one.key);
      const points = (run) => run.map((s) => `${x(s.at).toFixed(1)} ${y(s[one.key]).toFixed(1)}`);
      one.line.setAttribute("d", runs.map((run) => `M${points(run).join("L")}`).join(""));
      if (!one.area) continue;
      const closed = (run) =>
        `M${x(run[0].at).toFixed(1)} ${HEIGHT}L${points(run).join("L")}` +
        `L${x(run.at(-1).at).toFixed(1)} ${HEIGHT}Z`;
      one.area.setAttribute("d", runs.map(closed).join(""));
    }
    this.#read();
  }

  // Unbroken runs of samples that know this value. A lone sample is drawn as a dot's worth of line.
  #runs(samples, key) {
    const runs = [];
    let before = -Infinity;
    for (const sample of samples) {
      if (!isKnown(sample[key])) continue;
      if (sample.at - before > this.#options.stepMs * GAP_STEPS) runs.push([]);
      runs.at(-1).push(sample);
      before = sample.at;
    }
    return runs.map((run) => (run.length > 1 ? run : [run[0], { ...run[0], at: run[0].at + 1 }]));
  }

  #scale(samples) {
    const values = samples.flatMap((s) => this.#series.map(({ key }) => s[key])).filter(isKnown);
    if (this.#options.scale === "log") return logarithmic(values.filter((value) => value > 0));
    const { top = 0, fixed } = this.#options;
    return linear(fixed ?? rounded(Math.max(top, ...values)));
  }

  #showTicks(ticks) {
    while (this.#ticks.length < ticks.length) {
      const tick = element("span", "tick");
      this.#ticks.push(tick);
      this.#plot.prepend(tick);
    }
    this.#ticks.forEach((tick, i) => {
      tick.hidden = i >= ticks.length;
      if (tick.hidden) return;
      put(tick, withoutZeros(this.#format(ticks[i].value)));
      tick.style.setProperty("bottom", `${(100 * ticks[i].place).toFixed(2)}%`);
    });
  }

  // The legend: the newest values, or those of the moment that is being read.
  #read() {
    const { samples, now } = this.#drawn;
    const sample = this.#nearest() ?? samples.at(-1);
    for (const one of this.#series) put(one.value, this.#format(sample?.[one.key]));
    const isReading = this.#readAgo !== null && sample !== undefined;
    const ago = isReading ? (now - sample.at) / 1000 : 0;
    put(this.#when, isReading ? `${lasting(ago)} ago` : "");
    this.#cursor.hidden = !isReading;
    if (isReading) {
      const place = 100 * (1 - (now - sample.at) / this.#options.spanMs);
      this.#cursor.style.setProperty("left", `${place.toFixed(2)}%`);
    }
    const told = this.#series.map(({ key, label }) => {
      return `${label} ${this.#format(sample?.[key])}`.trim();
    });
    const when = isReading ? `${lasting(ago)} ago` : "now";
    this.#plot.setAttribute("aria-label", `${this.title}, ${when}: ${told.join(", ")}`);
  }

  #nearest() {
    if (this.#readAgo === null) return undefined;
    const { samples, now } = this.#drawn;
    const wanted = now - this.#readAgo;
    let best;
    for (const sample of samples) {
      if (!best || Math.abs(sample.at - wanted) < Math.abs(best.at - wanted)) best = sample;
    }
    return best;
  }

  #listen() {
    const { spanMs } = this.#options;
    const readAt = (ago) => {
      this.#readAgo = ago === null ? null : Math.max(0, Math.min(spanMs, ago));
      this.#read();
    };
    this.#plot.addEventListener("pointermove", ({ clientX }) => {
      const { left, width } = this.#plot.getBoundingClientRect();
      readAt(spanMs * (1 - (clientX - left) / width));
    });
    this.#plot.addEventListener("pointerleave", () => readAt(null));
    this.#plot.addEventListener("blur", () => readAt(null));
    this.#plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: spanMs / 60, ArrowRight: -spanMs / 60 }[event.key];
      if (step) readAt((this.#readAgo ?? 0) + step);
      if (step) event.preventDefault();
    });
  }

  #axis() {
    const axis = element("div", "axis");
    axis.setAttribute("aria-hidden", "true");
    const span = lasting(this.#options.spanMs / 1000);
    axis.append(element("span", "", `${span} ago`), this.#when, element("span", "", "now"));
    return axis;
  }
}

function drawn(svg, look) {
  const path = (className) => {
    const made = document.createElementNS(SVG, "path");
    made.setAttribute("class", `${className} ${look}`);
    svg.append(made);
    return made;
  };
  const area = look.includes("filled") ? path("area") : null;
  return { area, line: path("line") };
}

function legendEntry(one) {
  const entry = element("li", one.look);
  one.value = element("b", "", "–");
  if (one.label) entry.append(element("i"), element("span", "", one.label));
  entry.append(one.value);
  return entry;
}

// A number on the axis is round: 1.20 M reads 1.2 M.
function withoutZeros(text) {
  return text.replace(/(\.\d*?)0+(?!\d)/, "$1").replace(/\.(?!\d)/, "");
}

// From zero to `top`, with lines at the top and half way.
function linear(top) {
  const place = (value) => Math.max(0, Math.min(1, value / top));
  return { place, ticks: [0.5, 1].map((part) => ({ place: part, value: part * top })) };
}

// Whole decades around the values, at most a few: what is below stands on the floor.
function logarithmic(values) {
  const highest = Math.max(Math.ceil(Math.log10(Math.max(...values, 10))), 1);
  const least = Math.floor(Math.log10(Math.min(...values, 10 ** (highest - 1))));
  const lowest = Math.max(least, highest - MOST_DECADES);
  const decades = highest - lowest;
  const place = (value) => {
    const part = (Math.log10(Math.max(value, 1e-9)) - lowest) / decades;
    return Math.max(0, Math.min(1, part));
  };
  const ticks = Array.from({ length: decades }, (_, i) => {
    return { place: (i + 1) / decades, value: 10 ** (lowest + i + 1) };
  });
  return { place, ticks };
}

// The next round number.
function rounded(value) {
  if (!(value > 0)) return 1;
  const decade = 10 ** Math.floor(Math.log10(value));
  const steps = [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10];
  return decade * steps.find((step) => step * decade >= value * 0.999);
}
