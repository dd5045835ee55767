// The Bokeh document: its colours, and its sources filled anew whenever the view moves.

const LABEL_FONT = "11px helvetica"; // Bokeh's own, in the size of page/chart.py
const SHORTEST_LABEL = 3; // letters before the dots

class Chart {
  /**
   * @param bokeh the document after embedding
   * @param element what it was embedded in
   * @param facts the page's contents
   */
  constructor(bokeh, element, facts) {
    this.bokeh = bokeh;
    this.element = element;
    this.facts = facts;
    this.curves = null;
    this.devices = [];
    this.phases = null;
    this.marks = null;
    this.fit = false;
    this.chosen = -1;
    this.shown = {};
    this.boxes = [];
    this.hidden = new Set();
    this.times = this.model("times");
    this.sizes = this.model("sizes");
    // From the top down: the curve, the GPUs, the lanes.
    this.names = ["curve", ...facts.devices.map((each) => each.name), "lanes"];
    this.names = this.names.filter((name) => this.model(`${name} figure`));
    this.plots = this.names.map((name) => this.model(`${name} figure`));
    this.wholeSizes = this.sizes.end;
    for (const plot of this.plots) {
      for (const axis of plot.below) axis.formatter.doFormat = labelMoments;
      for (const axis of plot.left) axis.formatter.doFormat = labelBytes;
    }
    this.times.change.connect(() => this.draw());
    // Bokeh paints at once when its width changes. Sources that are filled anew at that moment are
    // painted half old, half new: so they wait for the next frame.
    new ResizeObserver(() => requestAnimationFrame(() => this.resized())).observe(this.element);
  }

  model(name) {
    return this.bokeh.get_model_by_name(name);
  }

  /** Pixels of the time axis. */
  get width() {
    return Math.max(this.element.clientWidth - this.facts.left - this.facts.right, 50);
  }

  /** The view, in seconds since the start. */
  get view() {
    return [this.times.start, this.times.end];
  }

  resized() {
    const ticks = Math.min(Math.max(Math.round(this.width / 130), 2), 9);
    for (const plot of this.plots) {
      for (const axis of plot.below) {
        for (const ticker of axis.ticker.tickers) ticker.desired_num_ticks = ticks;
      }
    }
    this.draw();
  }

  /** Take the colours of a theme; sources that hold colours are filled with them as well. */
  wear(theme) {
    this.theme = this.facts.themes[theme];
    for (const [name, property, color] of this.facts.paint) {
      const model = this.model(name);
      if (model) model[property] = this.color(color);
    }
    this.draw();
  }

  color(name) {
    const [key, place] = name.split("/");
    const color = this.theme[key];
    return place === undefined ? color : color[Number(place) % color.length];
  }

  load(curves, phases, marks, devices) {
    Object.assign(this, { curves, phases, marks, devices });
    this.draw();
  }

  /** Show a stretch of time, moved inside the bounds. */
  show(from, to) {
    const [least, most] = this.times.bounds;
    const width = Math.min(Math.max(to - from, this.times.min_interval), most - least);
    const start = Math.min(Math.max((from + to - width) / 2, least), most - width);
    this.times.setv({ start, end: start + width });
  }

  showAll() {
    this.show(...this.times.bounds);
  }

  /** Zoom by a factor around the middle, as the buttons and keys do. */
  zoom(factor) {
    const [from, to] = this.view;
    const [middle, half] = [(from + to) / 2, ((to - from) / 2) * factor];
    this.show(middle - half, middle + half);
  }

  move(share) {
    const [from, to] = this.view;
    this.show(from + (to - from) * share, to + (to - from) * share);
  }

  /** Show one phase with a little around it, and mark it. */
  choose(phase) {
    this.chosen = phase;
    const [begin, end] = [this.phases.begin[phase] / 1e9, this.phases.end[phase] / 1e9];
    const around = Math.max((end - begin) * 0.35, 1e-6);
    this.show(begin - around, end + around);
    this.draw();
  }

  unchoose() {
    this.chosen = -1;
    this.draw();
  }

  draw() {
    if (!this.curves || !this.theme) return;
    const [start, end] = this.view;
    const [from, to] = [start * 1e9, end * 1e9];
    this.drawCurves(from, to);
    for (const device of this.devices) this.drawDevice(device, from, to);
    this.drawMarks(start, end);
    this.drawLimits(start);
    if (this.phases.length) this.drawLanes(from, to);
    this.drawChosen();
    this.moved?.();
  }

  drawCurves(from, to) {
    const fill = (name, points, ...names) => {
      const nothing = () => Object.fromEntries(names.map((each) => [each, []]));
      this.model(name).data = points ? points.data?.(...names) ?? points : nothing();
    };
    this.drawSizes(from, to);
    const thick = (1.5 * (this.sizes.end - this.sizes.start)) / (this.plots[0].inner_height || 300);
    const dots = { x: [], y: [], color: [] };
    this.shown = {};
    this.curves.forEach((curve, index) => {
      const hidden = this.hidden.has(index);
      const view = hidden ? {} : curve.view(from, to, Math.round(this.width), thick, curve.host);
      if (!hidden) this.shown[curve.name] = view;
      fill(`line ${index}`, view.line, "x", "y");
      fill(`body ${index}`, view.body, "x", "low", "high");
      if (this.facts.family) this.stack(curve, hidden, from, to, fill);
      if (curve.host) {
        fill("bands", view.band, "x", "low", "high");
        fill("outlines", view.outline, "x", "y");
        fill("ceilings", view.ceilings, "x0", "x1", "y");
        fill("gaps", hidden ? null : curve.gapsIn(from, to, this.width), "left", "right");
      }
      // One dot a reading, where they stand apart, and where a lone one has no line.
      const count = hidden ? 0 : view.stop - view.first;
      if (count * 7 <= this.width || curve.length === 1) {
        for (let i = view.first; i < view.first + count; i++) {
          dots.x.push(curve.t[i] / 1e9);
          dots.y.push(curve.value[i]);
          dots.color.push(this.color(curve.color));
        }
      }
    });
    this.model("dots").data = dots;
    this.drawPeak();
  }

  /** Up to the memory of all a colour, and over that, up to the target's own, another. */
  stack(curve, hidden, from, to, fill) {
    const area = (extreme) => (hidden ? null : curve.area(from, to, Math.round(this.width), extreme));
    if (curve.name === this.facts.family) fill("family area", area(curve.top), "x", "low", "high");
    if (curve.host) fill("under area", area(curve.low), "x", "low", "high");
  }

  drawDevice(device, from, to) {
    device.areas(from, to, Math.round(this.width)).forEach((area, k) => {
      this.model(`${device.name} ${this.facts.layers[k]} edges`).data = area;
    });
    const labels = this.model(`${device.name} labels`);
    labels.data = { ...labels.data, x: [Math.max(from / 1e9, 0)] };
  }

  drawSizes(from, to) {
    const tops = this.curves.filter((_, i) => !this.hidden.has(i)).map((c) => 1.1 * c.maximum);
    const whole = Math.max(this.wholeSizes, ...tops);
    let [low, high] = [0, whole];
    if (this.fit) {
      [low, high] = [Infinity, -Infinity];
      this.curves.forEach((curve, index) => {
        if (this.hidden.has(index)) return;
        const [first, stop] = curve.within(from, to);
        const [i, j] = [Math.max(first - 1, 0), Math.min(stop + 1, curve.length)];
        low = Math.min(low, curve.low.over(i, j));
        high = Math.max(high, curve.most.over(i, j));
      });
      const pad = Math.max((high - low) * 0.1, 8192);
      [low, high] = low <= high ? [Math.max(low - pad, 0), high + pad] : [0, whole];
    }
    if (low !== this.sizes.start || high !== this.sizes.end) {
      this.sizes.setv({ start: low, end: high });
    }
  }

  drawPeak() {
    const peaks = { x: [], y: [], text: [], align: [], shift: [] };
    const index = this.curves.findIndex((curve) => curve.host && curve.length);
    if (index >= 0 && !this.hidden.has(index)) {
      const about = this.curves[index];
      const [start, end] = this.view;
      const x = about.peak_ns / 1e9;
      const place = (x - start) / (end - start);
      peaks.x.push(x);
      peaks.y.push(about.peak);
      peaks.text.push(`peak ${about.exact ? "" : "~"}${formatBytes(about.peak)}`);
      peaks.align.push(place < 0.5 ? "left" : "right");
      peaks.shift.push(place < 0.5 ? 8 : -8);
    }
    this.model("peaks").data = peaks;
  }

  drawMarks(start, end) {
    const { t, text, texts } = this.marks;
    const pixel = (end - start) / this.width;
    const lines = { x: [] };
    const labels = { x: [], y: [], text: [] };
    let i = countBelow(t, start * 1e9);
    while (i < t.length && t[i] <= end * 1e9) {
      const x = t[i] / 1e9;
      lines.x.push(x);
      const next = Math.max(countBelow(t, (x + pixel) * 1e9), i + 1);
      const room = ((next < t.length ? t[next] / 1e9 : Infinity) - x) / pixel - 8;
      const label = next - i > 1 ? `${next - i} marks` : texts[text[i]];
      const fitted = fitText(label, Math.min(room, this.width - (x - start) / pixel - 8));
      if (fitted) {
        labels.x.push(x);
        labels.y.push(this.sizes.start);
        labels.text.push(fitted);
      }
      i = next;
    }
    this.model("marks").data = lines;
    this.model("mark labels").data = labels;
  }

  drawLimits(start) {
    const y = this.facts.limits.map((limit) => limit.bytes);
    this.model("limits").data = { y };
    const text = this.facts.limits.map((limit) => limit.text);
    this.model("limit labels").data = { x: y.map(() => Math.max(start, 0)), y, text };
  }

  drawLanes(from, to) {
    const pixels = Math.min(this.width, 40000 / this.phases.drawn);
    const tall = this.model("lanes figure").inner_height / this.phases.drawn;
    const pixel = (to - from) / this.width;
    const gap = tall >= 8 ? 0.08 : 0;
    const { colors, inks, paths } = this.facts;
    const views = this.phases.view(from, to, pixels);
    const boxes = { left: [], right: [], top: [], bottom: [], color: [] };
    const names = { x: [], y: [], text: [], color: [] };
    for (const [lane, begin, end, phase, alone] of views) {
      const path = this.phases.path[phase];
      boxes.left.push(begin / 1e9);
      // A hair of paper between two that touch, where there is room for it.
      const hair = alone && (end - begin) / pixel > 4 ? pixel : 0;
      boxes.right.push((end - hair) / 1e9);
      boxes.top.push(lane + gap);
      boxes.bottom.push(lane + 1 - gap);
      boxes.color.push(colors[path]);
      if (alone && tall >= 13) {
        const left = Math.max(begin, from);
        const room = (Math.min(end, to) - left) / pixel - 9;
        const label = fitPath(paths[path], room);
        if (label) {
          names.x.push(left / 1e9);
          names.y.push(lane + 0.5);
          names.text.push(label);
          names.color.push(inks[path]);
        }
      }
    }
    this.boxes = views;
    this.model("boxes").data = boxes;
    this.model("names").data = names;
  }

  drawChosen() {
    const focus = this.model("focus");
    const box = { left: [], right: [], top: [], bottom: [] };
    if (this.chosen >= 0) {
      const { begin, end, lane } = this.phases;
      const i = this.chosen;
      focus.setv({ left: begin[i] / 1e9, right: end[i] / 1e9, visible: true });
      box.left.push(begin[i] / 1e9);
      box.right.push(end[i] / 1e9);
      box.top.push(lane[i] + 0.04);
      box.bottom.push(lane[i] + 0.96);
    } else if (focus.visible) {
      focus.visible = false;
    }
    const chosen = this.model("chosen");
    if (chosen) chosen.data = box;
  }
}

const pen = document.createElement("canvas").getContext("2d");
pen.font = LABEL_FONT;
const widths = new Map();

function widthOf(text) {
  if (!widths.has(text)) widths.set(text, pen.measureText(text).width);
  return widths.get(text);
}

/** As much of a text as fits into some pixels, or nothing where that is too little to read. */
function fitText(text, room) {
  if (room < 8) return "";
  const width = widthOf(text);
  if (width <= room) return text;
  const letters = Math.floor((text.length * (room - widthOf("…"))) / width);
  if (letters < SHORTEST_LABEL) return "";
  return `${text.slice(0, letters).replace(/[\ud800-\udbff]$/, "")}…`;
}

/** A phase's path where there is room for it, else its last part, which tells more than the first. */
function fitPath(path, room) {
  const last = path.slice(path.lastIndexOf("/") + 1) || path;
  return widthOf(path) <= room ? path : fitText(last, room);
}
