// The tables: sorting them, and going from a row to the phases of its path or to its process.

class Sorted {
  constructor(table, chart) {
    Object.assign(this, { table, chart });
    this.body = table.tBodies[0];
    this.rows = [...this.body.rows];
    for (const button of table.tHead.querySelectorAll("button")) {
      button.addEventListener("click", () => this.sort(button.closest("th")));
    }
  }

  /** Largest first, then smallest first, then as it was. */
  sort(head) {
    const order = { none: "descending", descending: "ascending", ascending: "none" };
    const now = order[head.getAttribute("aria-sort") ?? "none"];
    for (const other of this.table.tHead.querySelectorAll("th")) {
      other.setAttribute("aria-sort", other === head ? now : "none");
    }
    const column = head.cellIndex;
    const key = (row) => row.cells[column].dataset.value;
    const sign = now === "descending" ? -1 : 1;
    const sorted = this.rows.slice();
    if (now !== "none") {
      const compare = column === 0 ? (a, b) => a.localeCompare(b) : (a, b) => a - b;
      sorted.sort((a, b) => sign * compare(key(a), key(b)));
    }
    this.body.append(...sorted);
  }

  reveal() {
    byId("chart-card").scrollIntoView({ block: "nearest" });
  }
}

/** The children: a click shows the life of one, with a little around it. */
class Processes extends Sorted {
  constructor(table, chart) {
    super(table, chart);
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (!row || window.getSelection().toString()) return;
      const [begin, end] = [row.dataset.begin, row.dataset.end].map((ns) => Number(ns) / 1e9);
      const around = Math.max((end - begin) * 0.1, 0.01);
      chart.show(begin - around, end + around);
      this.reveal();
    });
  }
}

class Table extends Sorted {
  constructor(table, walk, chart) {
    super(table, chart);
    this.walk = walk;
    this.path = -1;
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row && !window.getSelection().toString()) this.pick(Number(row.dataset.path));
    });
    walk.previous.addEventListener("click", () => this.step(-1));
    walk.next.addEventListener("click", () => this.step(1));
    walk.highest.addEventListener("click", () => this.goTo(this.chart.phases.peakOf(this.path)));
    walk.close.addEventListener("click", () => this.leave());
  }

  /** A row was clicked: its highest phase, and then at each further click the next in time. */
  pick(path) {
    if (!this.chart.phases) return;
    if (path < 0) {
      this.leave();
      const t = this.chart.facts.outside / 1e9;
      const reach = (this.chart.facts.span_s / 100) * 2;
      this.chart.show(t - reach, t + reach);
    } else if (path === this.path) {
      this.step(1);
    } else {
      this.path = path;
      this.goTo(this.chart.phases.peakOf(path));
    }
    this.reveal();
  }

  step(by) {
    const count = this.chart.phases.of(this.path).length;
    this.goTo((this.place + by + count) % count);
  }

  /** Go to the place-th phase of the path. */
  goTo(place) {
    this.place = place;
    this.chart.choose(this.chart.phases.of(this.path)[place]);
    this.describe();
  }

  /** A phase was clicked in its lane. */
  goToPhase(phase) {
    this.path = this.chart.phases.path[phase];
    this.goTo(this.chart.phases.of(this.path).indexOf(phase));
  }

  leave() {
    this.path = -1;
    this.walk.bar.hidden = true;
    this.walk.key.hidden = false;
    this.chart.unchoose();
    this.highlight();
  }

  describe() {
    const { facts, phases } = this.chart;
    const places = phases.of(this.path);
    const lines = describePhase(facts, phases, places[this.place], formatBytes);
    const which = this.place === phases.peakOf(this.path) && places.length > 1 ? ", the highest" : "";
    const total = places.length.toLocaleString("en");
    const number = (this.place + 1).toLocaleString("en");
    lines.splice(1, 0, line("note", `${number} of ${total}${which}`));
    if (facts.reasons[this.path]) lines.push(line("note", `not exact: ${facts.reasons[this.path]}`));
    this.walk.text.replaceChildren(...lines);
    this.walk.bar.hidden = false;
    this.walk.key.hidden = true;
    for (const name of ["previous", "next", "highest"]) {
      this.walk[name].hidden = places.length < 2;
    }
    this.highlight();
  }

  highlight() {
    this.follow?.(this.path);
    for (const row of this.rows) {
      const here = Number(row.dataset.path) === this.path && this.path >= 0;
      row.classList.toggle("here", here);
      row.querySelector("button").setAttribute("aria-pressed", String(here));
    }
  }
}
