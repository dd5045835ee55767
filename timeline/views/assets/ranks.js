// All ranks of a run: their envelope, a strip of each, and the one that the reader chose.

const facts = JSON.parse(byId("facts").textContent);
const timeline = (window.timeline = { ready: false, failure: null, chosen: null });

const LEFT = 84;
const RIGHT = 10;
const TOP = 26;
const BOTTOM = 26;

class Ranks {
  constructor(columns) {
    Object.assign(this, columns);
    this.buckets = facts.buckets;
    this.end = facts.span_s;
    this.range = [0, this.end];
    this.chosen = facts.ranks.indexOf(facts.peak_rank);
    this.drag = null;
    this.overlay = byId("overlay");
    this.strip = byId("strip");
    const rows = facts.world;
    this.stripHeight = Math.min(Math.max(rows * 14, 28), 420);
    this.strip.style.height = `${this.stripHeight}px`;
    // One spike of one rank must not make all others look alike.
    const known = this.high.filter((size) => size >= 0).sort();
    this.least = known[0] ?? 0;
    this.full = known[Math.floor((known.length - 1) * 0.995)] ?? 1;
  }

  get ink() {
    const style = getComputedStyle(document.documentElement);
    return (name) => style.getPropertyValue(`--${name}`).trim();
  }

  x(t, width) {
    const [begin, end] = this.range;
    return LEFT + ((t - begin) / (end - begin)) * (width - LEFT - RIGHT);
  }

  t(x, width) {
    const [begin, end] = this.range;
    const part = (x - LEFT) / (width - LEFT - RIGHT);
    return begin + Math.min(Math.max(part, 0), 1) * (end - begin);
  }

  sized(canvas, height) {
    const width = canvas.clientWidth;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = "12px system-ui, sans-serif";
    return [pen, width, ratio];
  }

  draw() {
    this.drawOverlay();
    this.drawStrip();
  }

  drawOverlay() {
    const height = this.overlay.clientHeight;
    const [pen, width] = this.sized(this.overlay, height);
    const ink = this.ink;
    const top = facts.peak * 1.12 || 1;
    const y = (size) => height - BOTTOM - (size / top) * (height - TOP - BOTTOM);
    this.grid(pen, width, height, top, y);
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, width - LEFT - RIGHT, height);
    pen.clip();
    this.area(pen, width, y, this.envelopeLow, this.envelopeHigh, 0, ink("envelope"), 1);
    this.line(pen, width, y, this.median, 0, ink("faint"), 1);
    const peak = facts.ranks.indexOf(facts.peak_rank);
    this.line(pen, width, y, this.high, peak * this.buckets, ink("curve"), 1.2);
    if (this.chosen !== peak) {
      const at = this.chosen * this.buckets;
      this.area(pen, width, y, this.low, this.high, at, ink("others-2"), 0.35);
      this.line(pen, width, y, this.high, at, ink("others-2"), 1.4);
    }
    pen.fillStyle = ink("peak");
    pen.beginPath();
    pen.arc(this.x(facts.peak_s, width), y(facts.peak), 4, 0, 7);
    pen.fill();
    if (this.drag) {
      pen.globalAlpha = 0.2;
      pen.fillStyle = ink("curve");
      const [a, b] = this.drag.map((t) => this.x(t, width));
      pen.fillRect(Math.min(a, b), 0, Math.abs(b - a), height);
    }
    pen.restore();
  }

  grid(pen, width, height, top, y) {
    const ink = this.ink;
    let step = 1;
    while (top / step > 8) step *= 2;
    const ticks = [];
    for (let size = 0; size <= top; size += step) ticks.push(size);
    pen.strokeStyle = ink("grid");
    pen.fillStyle = ink("faint");
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    labelBytes(ticks).forEach((label, i) => {
      const at = Math.round(y(ticks[i])) + 0.5;
      pen.beginPath();
      pen.moveTo(LEFT, at);
      pen.lineTo(width - RIGHT, at);
      pen.stroke();
      pen.fillText(label, LEFT - 8, at);
    });
    const [begin, end] = this.range;
    const rough = (end - begin) / Math.max(width / 130, 2);
    const tens = 10 ** Math.floor(Math.log10(rough));
    const by =
      rough > 40
        ? [60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400].find((s) => s >= rough) ?? 864000
        : [1, 2, 5, 10].map((digit) => digit * tens).find((s) => s >= rough);
    const moments = [];
    for (let t = Math.ceil(begin / by) * by; t <= end; t += by) moments.push(t);
    pen.textAlign = "center";
    labelMoments(moments).forEach((label, i) => {
      pen.fillText(label, Math.min(this.x(moments[i], width), width - 30), height - 10);
    });
  }

  /** The buckets in view, as [index, left, right] each. */
  *view(width) {
    const [begin, end] = this.range;
    const last = Math.min(Math.ceil(end / facts.width_s), this.buckets - 1);
    for (let i = Math.max(Math.floor(begin / facts.width_s), 0); i <= last; i++) {
      yield [i, this.x(i * facts.width_s, width), this.x((i + 1) * facts.width_s, width)];
    }
  }

  area(pen, width, y, low, high, at, color, alpha) {
    pen.fillStyle = color;
    pen.globalAlpha = alpha;
    for (const [i, left, right] of this.view(width)) {
      if (high[at + i] < 0) continue;
      const top = y(high[at + i]);
      pen.fillRect(left, top, right - left + 0.5, Math.max(y(low[at + i]) - top, 1));
    }
    pen.globalAlpha = 1;
  }

  line(pen, width, y, values, at, color, weight) {
    pen.strokeStyle = color;
    pen.lineWidth = weight;
    pen.beginPath();
    let open = false;
    for (const [i, left, right] of this.view(width)) {
      const size = values[at + i];
      if (size < 0) open = false;
      else {
        if (open) pen.lineTo(left, y(size));
        else pen.moveTo(left, y(size));
        pen.lineTo(right, y(size));
        open = true;
      }
    }
    pen.stroke();
    pen.lineWidth = 1;
  }

  drawStrip() {
    const [pen, width, ratio] = this.sized(this.strip, this.stripHeight);
    const ink = this.ink;
    const columns = Math.max(Math.round((width - LEFT - RIGHT) * ratio), 1);
    const rows = Math.min(facts.world, Math.round(this.stripHeight * ratio));
    const image = new ImageData(columns, rows);
    const most = new Float64Array(columns * rows).fill(-1);
    const [begin, end] = this.range;
    const scale = columns / (end - begin);
    facts.ranks.forEach((rank, index) => {
      const row = Math.floor((rank * rows) / facts.world) * columns;
      for (const [i] of this.view(width)) {
        const size = this.high[index * this.buckets + i];
        const from = Math.max(Math.floor((i * facts.width_s - begin) * scale), 0);
        const to = Math.min(Math.ceil(((i + 1) * facts.width_s - begin) * scale), columns);
        for (let x = from; x < to; x++) if (size > most[row + x]) most[row + x] = size;
      }
    });
    const [pale, strong, over] = ["gap", "curve", "peak"].map((name) => rgb(ink(name)));
    const reach = Math.max(this.full - this.least, 1);
    for (let p = 0; p < most.length; p++) {
      if (most[p] < 0) continue;
      const part = 0.25 + 0.75 * Math.min((most[p] - this.least) / reach, 1);
      const red = most[p] > this.full + 0.05 * reach;
      for (let c = 0; c < 3; c++) {
        image.data[4 * p + c] = red ? over[c] : pale[c] + (strong[c] - pale[c]) * part;
      }
      image.data[4 * p + 3] = 255;
    }
    const paper = document.createElement("canvas");
    paper.width = columns;
    paper.height = rows;
    paper.getContext("2d").putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = ink("gap");
    pen.fillRect(LEFT, 0, width - LEFT - RIGHT, this.stripHeight);
    pen.drawImage(paper, LEFT, 0, width - LEFT - RIGHT, this.stripHeight);
    const each = this.stripHeight / facts.world;
    if (each >= 6) {
      pen.fillStyle = ink("paper");
      for (let i = 1; i < facts.world; i++) pen.fillRect(LEFT, i * each - 0.5, width, 1);
    }
    pen.fillStyle = ink("faint");
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    let step = 1;
    while (step * each < 14) step *= step % 3 === 2 ? 2.5 : 2;
    for (let rank = 0; rank < facts.world; rank += Math.ceil(step)) {
      const text = rank ? String(rank) : "rank 0";
      pen.fillText(text, LEFT - 8, Math.max((rank + 0.5) * each, 7));
    }
    pen.textAlign = "center";
    pen.fillStyle = ink("peak");
    pen.font = "bold 14px system-ui, sans-serif";
    for (const [rank, t] of facts.died) {
      if (t < begin || t > end) continue;
      const middle = Math.min(Math.max((rank + 0.5) * each, 6), this.stripHeight - 6);
      pen.fillText("×", this.x(t, width) + 6, middle);
    }
    const rank = facts.ranks[this.chosen];
    pen.strokeStyle = ink("others-2");
    pen.lineWidth = 2;
    pen.strokeRect(LEFT, rank * each - 1, width - LEFT - RIGHT, Math.max(each, 2) + 2);
  }

  choose(index, scroll = true) {
    if (index < 0 || index >= facts.ranks.length) return;
    this.chosen = index;
    timeline.chosen = facts.ranks[index];
    for (const row of document.querySelectorAll("#ranks tbody tr")) {
      const here = Number(row.dataset.rank) === timeline.chosen;
      row.classList.toggle("here", here);
      if (here && scroll) row.scrollIntoView({ block: "nearest" });
    }
    byId("chosen").textContent = `rank ${timeline.chosen}`;
    this.draw();
  }

  tell(event, canvas) {
    const box = canvas.getBoundingClientRect();
    const t = this.t(event.clientX - box.left, box.width);
    const i = Math.min(Math.floor(t / facts.width_s), this.buckets - 1);
    let index = this.chosen;
    if (canvas === this.strip) {
      const row = Math.floor(((event.clientY - box.top) / this.stripHeight) * facts.world);
      index = facts.ranks.indexOf(row);
      if (index < 0) return this.say(event, [`rank ${row}: nothing is recorded of it here`]);
    }
    const size = this.high[index * this.buckets + i];
    const host = facts.hosts[facts.host_of[index]];
    const own = size < 0 ? "no reading" : `up to ${formatBytes(size)}`;
    const lines = [
      `${formatMoment(t, facts.width_s / 2)}, in ${formatDuration(facts.width_s)}`,
      `rank ${facts.ranks[index]} on ${host}: ${own}`,
    ];
    if (this.envelopeHigh[i] >= 0) {
      lines.push(
        `all: ${formatBytes(this.envelopeLow[i])} to ${formatBytes(this.envelopeHigh[i])}, ` +
          `median ${formatBytes(this.median[i])}`,
      );
    }
    return this.say(event, lines);
  }

  say(event, lines) {
    const tip = byId("tip");
    tip.replaceChildren(...lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    tip.hidden = false;
    const box = byId("frame").getBoundingClientRect();
    const x = event.clientX - box.left + 14;
    tip.style.left = `${Math.min(x, box.width - tip.offsetWidth - 4)}px`;
    tip.style.top = `${event.clientY - box.top + 16}px`;
  }

  show(begin, end) {
    const least = facts.width_s * 4;
    this.range = end - begin < least ? this.range : [Math.max(begin, 0), Math.min(end, this.end)];
    this.draw();
  }

  listen() {
    const at = (event, canvas) => {
      const box = canvas.getBoundingClientRect();
      return this.t(event.clientX - box.left, box.width);
    };
    this.overlay.addEventListener("pointerdown", (event) => {
      this.drag = [at(event, this.overlay), at(event, this.overlay)];
      this.overlay.setPointerCapture(event.pointerId);
    });
    this.overlay.addEventListener("pointerup", () => {
      const drag = this.drag;
      this.drag = null;
      if (drag) this.show(Math.min(...drag), Math.max(...drag));
    });
    for (const canvas of [this.overlay, this.strip]) {
      canvas.addEventListener("pointermove", (event) => {
        if (this.drag) {
          this.drag[1] = at(event, canvas);
          this.drawOverlay();
        }
        this.tell(event, canvas);
      });
      canvas.addEventListener("pointerleave", () => (byId("tip").hidden = true));
    }
    this.strip.addEventListener("click", (event) => {
      const box = this.strip.getBoundingClientRect();
      const row = Math.floor(((event.clientY - box.top) / this.stripHeight) * facts.world);
      this.choose(facts.ranks.indexOf(row));
    });
    byId("ranks").tBodies[0].addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) this.choose(facts.ranks.indexOf(Number(row.dataset.rank)), false);
    });
    const keys = {
      ArrowUp: () => this.choose(this.chosen - 1),
      ArrowDown: () => this.choose(this.chosen + 1),
      0: () => this.show(0, this.end),
    };
    byId("frame").addEventListener("keydown", (event) => {
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    byId("previous").addEventListener("click", keys.ArrowUp);
    byId("next").addEventListener("click", keys.ArrowDown);
    byId("whole").addEventListener("click", keys[0]);
    window.addEventListener("resize", () => this.draw());
  }
}

function rgb(color) {
  return [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
}

function themeNow() {
  const chosen = document.documentElement.dataset.theme;
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  return chosen || (dark ? "dark" : "light");
}

/** A click on a heading: largest first, then smallest first, then by rank. */
function makeSortable(table) {
  const rows = [...table.tBodies[0].rows];
  const order = { none: "descending", descending: "ascending", ascending: "none" };
  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const now = order[head.getAttribute("aria-sort") ?? "none"];
      for (const other of table.tHead.querySelectorAll("th")) {
        other.setAttribute("aria-sort", other === head ? now : "none");
      }
      const key = (row) => row.cells[head.cellIndex].dataset.value;
      const sign = now === "descending" ? -1 : 1;
      const sorted = rows.slice();
      if (now !== "none") {
        const numbers = rows.every((row) => key(row) !== "" && !Number.isNaN(Number(key(row))));
        const compare = numbers ? (a, b) => a - b : (a, b) => a.localeCompare(b);
        sorted.sort((a, b) => sign * compare(key(a), key(b)));
      }
      table.tBodies[0].append(...sorted);
    });
  }
}

async function begin() {
  for (const table of document.querySelectorAll("table")) makeSortable(table);
  byId("theme").setAttribute("aria-pressed", String(themeNow() === "dark"));
  if (!facts.ranks.length) {
    byId("frame").hidden = true;
    timeline.ready = true;
    return;
  }
  const columns = {};
  for (const [name, packed] of Object.entries(facts.columns)) columns[name] = await unpack(packed);
  const ranks = new Ranks(columns);
  ranks.listen();
  ranks.choose(ranks.chosen, false);
  const wear = () => {
    byId("theme").setAttribute("aria-pressed", String(themeNow() === "dark"));
    ranks.draw();
  };
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", wear);
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = themeNow() === "dark" ? "light" : "dark";
    wear();
  });
  Object.assign(timeline, { ready: true, view: ranks });
}

begin().catch((error) => {
  timeline.failure = String(error);
  byId("notice").textContent = `The chart cannot be drawn: ${error.message}`;
  byId("notice").hidden = false;
});
