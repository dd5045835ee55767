// What lies under the pointer, in words.

const MOST_PHASES = 5;

class Hover {
  constructor(chart, frame, tip, cursor) {
    Object.assign(this, { chart, frame, tip, cursor });
    // Bokeh stops some of these events on their way up, so they are taken on their way down.
    frame.addEventListener("pointermove", (event) => this.moved(event), true);
    frame.addEventListener("pointerleave", () => this.hide());
    frame.addEventListener("wheel", (event) => this.later(event), { capture: true, passive: true });
    frame.addEventListener("pointerdown", (event) => (this.down = event), true);
    frame.addEventListener("pointerup", (event) => this.up(event), true);
  }

  /** Where a pointer is: seconds, pixels from the frame's corner, the GPU or the lane; null outside. */
  place(event) {
    const { chart } = this;
    const box = this.frame.getBoundingClientRect();
    const [sx, sy] = [event.clientX - box.left, event.clientY - box.top];
    const share = (sx - chart.facts.left) / chart.width;
    if (share < 0 || share > 1) return null;
    const [start, end] = chart.view;
    let below = 0;
    const place = { x: start + (end - start) * share, sx, sy, lane: -1, device: null };
    for (const [i, plot] of chart.plots.entries()) {
      const inside = sy - below;
      below += plot.outer_height;
      if (sy >= below && i + 1 < chart.plots.length) continue;
      place.device = chart.devices.find((each) => each.name === chart.names[i]) ?? null;
      if (chart.names[i] !== "lanes") break;
      place.lane = Math.floor(
        ((inside - plot.min_border_top) / plot.inner_height) * chart.phases.drawn,
      );
      if (place.lane < 0 || place.lane >= chart.phases.drawn) return null;
    }
    return place;
  }

  moved(event) {
    if (event.buttons) this.hide();
    else this.later(event);
  }

  later(event) {
    this.event = event;
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.tell(this.event);
    });
  }

  tell(event) {
    const place = this.chart.curves && this.place(event);
    if (!place) return this.hide();
    const lines = place.lane >= 0 ? this.ofLane(place) : this.ofMoment(place);
    if (!lines) return this.hide();
    this.tip.replaceChildren(...lines);
    this.tip.hidden = false;
    this.cursor.hidden = false;
    this.cursor.style.left = `${place.sx}px`;
    const box = this.frame.getBoundingClientRect();
    const [wide, high] = [this.tip.offsetWidth, this.tip.offsetHeight];
    const right = place.sx + 16 + wide < box.width;
    const left = right ? place.sx + 16 : Math.max(place.sx - 16 - wide, 0);
    const below = box.top + place.sy + 16 + high < window.innerHeight;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${below ? place.sy + 16 : place.sy - high - 12}px`;
  }

  hide() {
    this.tip.hidden = true;
    this.cursor.hidden = true;
  }

  up(event) {
    const moved = this.down && Math.hypot(event.clientX - this.down.clientX, event.clientY - this.down.clientY);
    const place = this.chart.curves && this.place(event);
    if (moved === undefined || moved > 4 || !place || place.lane < 0) return;
    const box = this.box(place);
    if (!box) return;
    if (box[4]) this.chart.clicked?.(box[3]);
    else this.chart.show(...this.around(box));
  }

  /** A stretch around a pixel in which several phases lie, 40 pixels wide before and 1 after. */
  around([, from, to]) {
    const [start, end] = this.chart.view;
    const reach = (end - start) / 40;
    const middle = (from + to) / 2e9;
    return [middle - reach, middle + reach];
  }

  box({ x, lane }) {
    const t = x * 1e9;
    const [start, end] = this.chart.view;
    const near = ((end - start) * 1e9) / this.chart.width;
    const inLane = this.chart.boxes.filter((box) => box[0] === lane);
    return (
      inLane.find(([, from, to]) => from <= t && t <= to) ??
      inLane.find(([, from, to]) => from - near <= t && t <= to + near)
    );
  }

  /** The nearest reading of each channel, and the phases that are open then. */
  ofMoment({ x, device }) {
    if (device) return this.ofDevice(device, x);
    const { chart } = this;
    const [start, end] = chart.view;
    const pixel = ((end - start) * 1e9) / chart.width;
    const step = (end - start) / chart.width / 2;
    const lines = [];
    let moment = x;
    chart.curves.forEach((curve, index) => {
      if (chart.hidden.has(index) || !curve.length) return;
      const i = curve.nearest(x * 1e9);
      if (curve.host) {
        lines.push(...this.ofHost(curve, i, x * 1e9, pixel));
        if (Math.abs(curve.t[i] - x * 1e9) < pixel * 4) moment = curve.t[i] / 1e9;
      } else {
        lines.push(row(curve.name, formatBytes(curve.value[i]), chart.color(curve.color)));
      }
    });
    const time = line("time", formatMoment(Math.max(moment, 0), step));
    return [time, ...lines, ...this.ofPhases(moment * 1e9)];
  }

  /** What one GPU held, from the top down as its layers lie, and the phases that are open then. */
  ofDevice(device, x) {
    const { chart } = this;
    const [start, end] = chart.view;
    const lines = [line("time", formatMoment(Math.max(x, 0), (end - start) / chart.width / 2))];
    const i = device.speaksOf(x * 1e9);
    if (i < 0) lines.push(line("note", `nothing more was read of ${device.label}`));
    device.names.forEach((name, k) => {
      const bytes = i < 0 ? NaN : device.layers[k][i];
      if (!name || Number.isNaN(bytes)) return;
      const color = chart.theme[chart.facts.layerColors[k]];
      const said = row(`${device.label} ${name}`, bytes < 0 ? "not known" : withBytes(bytes), color);
      lines.splice(1, 0, said);
    });
    return [...lines, ...this.ofPhases(x * 1e9)];
  }

  ofHost(curve, i, t, pixel) {
    const gap = this.gapAt(curve, t);
    if (gap >= 0) {
      const long = formatDuration((curve.t[gap + 1] - curve.t[gap]) / 1e9);
      const never = curve.known[gap + 1]
        ? [row("never above", withBytes(curve.high[gap + 1]), this.chart.theme.envelope)]
        : [];
      return [line("note", `no sample for ${long}`), ...never];
    }
    const [first, stop] = curve.within(t - pixel / 2, t + pixel / 2);
    const color = this.chart.color(curve.color);
    const highest = this.chart.theme.envelope;
    if (stop - first > 1) {
      const [low, top] = [curve.low.over(first, stop), curve.top.over(first, stop)];
      const range = formatBytes(low) === formatBytes(top)
        ? formatBytes(top) : `${formatBytes(low)} to ${formatBytes(top)}`;
      return [
        row(`${curve.name}, ${stop - first} readings`, range, color),
        row("highest among them", withBytes(curve.most.over(first, stop)), highest),
      ];
    }
    const rest = curve.known[i]
      ? row("highest since the last reading", withBytes(curve.high[i]), highest)
      : line("note", "the high-water mark is not known here");
    return [row(curve.name, withBytes(curve.value[i]), color), rest];
  }

  gapAt(curve, t) {
    const before = countBelow(curve.t, t, true) - 1;
    return before >= 0 && before + 1 < curve.length && curve.broken(before + 1) ? before : -1;
  }

  ofPhases(t) {
    const { facts, phases } = this.chart;
    const open = phases.openAt(t).reverse();
    const lines = open.slice(0, MOST_PHASES).map((i) => {
      const path = phases.path[i];
      return row(facts.paths[path], phases.details[phases.detail[i]] ?? "", facts.colors[path]);
    });
    const more = open.length - MOST_PHASES;
    if (more > 0) lines.push(line("note", `and ${more} more phases around or beside it`));
    if (!open.length && phases.length) lines.push(line("note", "outside every phase"));
    return lines;
  }

  ofLane(place) {
    const box = this.box(place);
    if (!box) return null;
    const { facts, phases } = this.chart;
    const [lane, from, to, i, alone] = box;
    if (!alone) {
      const [start, end] = this.chart.view;
      const half = ((end - start) * 0.5e9) / this.chart.width;
      const t = Math.min(Math.max(place.x * 1e9, from), to);
      const count = Math.max(phases.count(lane, t - half, t + half), 1);
      const what = count === 1 ? "a short phase" : `${count} phases`;
      return [line("time", `${what} in this pixel`), line("note", "zoom in, or click, to see them")];
    }
    return describePhase(facts, phases, i);
  }
}

/** The lines that tell of one phase; also shown beside the buttons that go to the next one. */
function describePhase(facts, phases, i, words = withBytes) {
  const path = phases.path[i];
  const detail = phases.details[phases.detail[i]];
  const begin = formatMoment(phases.begin[i] / 1e9, Math.max(phases.time[i] / 1e9 / 100, 1e-9));
  const lines = [
    row(facts.paths[path], detail ?? "", facts.colors[path]),
    line("note", `${formatDuration(phases.time[i] / 1e9)} long, from ${begin}`),
  ];
  if (phases.peak[i] >= 0) {
    const sign = phases.exact[i] ? "" : "~";
    lines.push(row("peak", sign + words(phases.peak[i])));
    lines.push(row("above its beginning", formatBytes(phases.delta[i], true)));
  }
  if (phases.open[i]) lines.push(line("note", "it never ended: shown to the end of the run"));
  return lines;
}

function withBytes(count) {
  return `${formatBytes(count)} (${count.toLocaleString("en")} bytes)`;
}

function line(kind, text) {
  const element = document.createElement("div");
  element.className = kind;
  element.textContent = text;
  return element;
}

function row(name, value, color) {
  const element = line("row", "");
  const swatch = document.createElement("i");
  if (color) swatch.style.background = color;
  const label = document.createElement("bdi");
  label.textContent = name;
  const figure = document.createElement("b");
  figure.textContent = value;
  element.append(swatch, label, figure);
  return element;
}
