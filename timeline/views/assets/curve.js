// One channel's readings, and what of them a view shows: all where there is room, else the exact
// least and largest of each pixel (as timeline/analysis/decimation.py has it).

class Curve extends Timed {
  /** Times in ns since the start, sizes in bytes, all as Float64Array; see Curve in the package. */
  constructor(about, t, value, excess, known, gaps) {
    super(t);
    Object.assign(this, about);
    this.t = t; // `about` has the packed one
    this.value = value;
    this.high = value.map((bytes, i) => bytes + excess[i]);
    this.known = known;
    this.gaps = gaps; // the reading before each gap
    this.low = new Extremes(value, Math.min);
    this.top = new Extremes(value, Math.max);
    this.most = new Extremes(this.high, Math.max);
    // Which readings tell of the time since the one before, as timeline/views/band.py has it.
    this.told = new Extremes(known.map((sure, i) => (sure || excess[i] > 0 ? 1 : 0)), Math.max);
    this.maximum = t.length ? this.most.over(0, t.length) : null;
  }

  static async unpacked(about) {
    const columns = ["t", "value", "excess", "known", "gaps"];
    return new Curve(about, ...(await Promise.all(columns.map((name) => unpack(about[name])))));
  }

  /** Whether a gap lies between a reading and the one before. */
  broken(i) {
    const place = countBelow(this.gaps, i - 1);
    return place < this.gaps.length && this.gaps[place] === i - 1;
  }

  /**
   * The columns to draw. Where each reading is drawn: a line and, for host memory, the band over it
   * with its outline. Else: for each pixel a column of colour, since what a browser paints slowly is
   * a long stroke that goes up and down. In both cases the ceilings of gaps.
   *
   * @param thick the least height of a column, in bytes
   */
  view(from, to, pixels, thick, withBand) {
    const [first, stop] = this.within(from, to);
    const every = stop - first <= 2 * pixels;
    const cuts = this.buckets(from, to, pixels);
    const view = { first, stop, every, line: null, body: null, band: null, outline: null };
    if (every) view.line = this.line(cuts[0], cuts.at(-1));
    else view.body = this.columns(cuts, this.top, thick);
    if (withBand) {
      if (every) Object.assign(view, this.steps(cuts[0], cuts.at(-1)));
      else view.band = this.columns(cuts, this.most, thick, this.told);
      view.ceilings = this.ceilings(cuts);
    }
    return view;
  }

  /** Every reading from one to before another. */
  line(from, to) {
    const line = new Points(2 * (to - from), 1);
    for (let i = from; i < to; i++) {
      if (i > from && this.broken(i)) line.add(NaN, NaN);
      line.add(this.t[i] / 1e9, this.value[i]);
    }
    return line;
  }

  /** The band of single readings: each high-water mark, where there is one, back to the reading before. */
  steps(from, to) {
    const { t, value, high } = this;
    const band = new Points(5 * (to - from), 2);
    for (let i = from; i < to; i++) {
      const broken = i > from && (this.broken(i) || !this.told.over(i, i + 1));
      if (broken) this.addBreak(band, i);
      const before = broken || i === from ? i : i - 1;
      band.add(t[before] / 1e9, value[before], high[i]);
      band.add(t[i] / 1e9, value[i], high[i]);
    }
    const [x, , y] = band.columns.map((column) => column.subarray(0, band.length));
    return { band, outline: { x, y } };
  }

  /**
   * For each bucket, from the reading before it to its last, its least and its extreme value.
   *
   * @param told which readings tell of the time since the one before; none: a line leads there
   */
  columns(cuts, extreme, thick, told = null) {
    const out = new Points(5 * cuts.length, 2);
    for (let b = 0; b + 1 < cuts.length; b++) {
      const [i, last] = [cuts[b], cuts[b + 1] - 1];
      const broken = b > 0 && (this.broken(i) || (told && !told.over(i, i + 1)));
      if (broken) this.addBreak(out, i);
      if (told && !told.over(i, last + 1)) {
        // No band here; the next one may begin at this bucket's last reading.
        out.add(this.t[last] / 1e9, this.value[last], this.value[last]);
        continue;
      }
      // The reading before is part of the column, so that columns hang together.
      const since = broken || b === 0 ? i : i - 1;
      let low = this.low.over(since, last + 1);
      let high = Math.max(extreme.over(i, last + 1), this.value[since]);
      if (high - low < thick) [low, high] = [(low + high - thick) / 2, (low + high + thick) / 2];
      out.add(this.t[since] / 1e9, low, high);
      out.add(this.t[last] / 1e9, low, high);
    }
    return out;
  }

  /** From nothing up to each reading, or to the extreme value of each pixel. */
  area(from, to, pixels, extreme) {
    const cuts = this.buckets(from, to, pixels);
    const out = new Points(5 * cuts.length, 2);
    for (let b = 0; b + 1 < cuts.length; b++) {
      const [i, last] = [cuts[b], cuts[b + 1] - 1];
      if (b > 0 && this.broken(i)) {
        out.add(this.t[i - 1] / 1e9, 0, 0);
        out.add(NaN, NaN, NaN);
        out.add(this.t[i] / 1e9, 0, 0);
      }
      out.add(this.t[i] / 1e9, 0, extreme.over(i, last + 1));
      if (last > i) out.add(this.t[last] / 1e9, 0, extreme.over(i, last + 1));
    }
    return out;
  }

  /** Close an area to no height across the gap before a reading; a NaN breaks its outline. */
  addBreak(points, i) {
    points.add(this.t[i - 1] / 1e9, this.value[i - 1], this.value[i - 1]);
    points.add(NaN, NaN, NaN);
    points.add(this.t[i] / 1e9, this.value[i], this.value[i]);
  }

  /** What memory was never above in the gaps between buckets. */
  ceilings(cuts) {
    const { t, known, high, gaps } = this;
    const out = { x0: [], x1: [], y: [] };
    const add = (i) => {
      if (!known[i]) return;
      out.x0.push(t[i - 1] / 1e9);
      out.x1.push(t[i] / 1e9);
      out.y.push(high[i]);
    };
    if (gaps.length) for (const i of cuts.slice(1, -1)) if (this.broken(i)) add(i);
    return out;
  }

  /** Stretches of a view without a sample, in seconds; those under a pixel are left out. */
  gapsIn(from, to, pixels) {
    const least = (to - from) / pixels;
    const left = [];
    const right = [];
    const { t, gaps } = this;
    let g = countBelow(gaps, Math.max(countBelow(t, from) - 1, 0));
    for (; g < gaps.length && t[gaps[g]] < to; g++) {
      if (t[gaps[g] + 1] - t[gaps[g]] < least) continue;
      left.push(t[gaps[g]] / 1e9);
      right.push(t[gaps[g] + 1] / 1e9);
    }
    return { left, right };
  }
}

/** Columns x and y (or x, low and high) that grow up to a known size. */
class Points {
  constructor(most, ys) {
    this.columns = Array.from({ length: ys + 1 }, () => new Float64Array(most));
    this.length = 0;
  }

  add(...values) {
    for (let c = 0; c < values.length; c++) this.columns[c][this.length] = values[c];
    this.length += 1;
  }

  data(...names) {
    return Object.fromEntries(
      names.map((name, c) => [name, this.columns[c].subarray(0, this.length)]),
    );
  }
}
