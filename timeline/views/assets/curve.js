// One channel's readings, and what of them a view shows: all where there is room, else the exact
// least and largest of each pixel (as timeline/analysis/decimation.py has it).

class Curve {
  /** Times in ns since the start, sizes in bytes, all as Float64Array; see Curve in the package. */
  constructor(about, t, value, excess, known, gaps) {
    Object.assign(this, about);
    this.t = t;
    this.value = value;
    this.high = value.map((bytes, i) => bytes + excess[i]);
    this.known = known;
    this.gaps = gaps; // the reading before each gap
    this.low = new Extremes(value, Math.min);
    this.top = new Extremes(value, Math.max);
    this.most = new Extremes(this.high, Math.max);
    this.maximum = t.length ? this.most.over(0, t.length) : null;
  }

  static async unpacked(about) {
    const columns = ["t", "value", "excess", "known", "gaps"];
    return new Curve(about, ...(await Promise.all(columns.map((name) => unpack(about[name])))));
  }

  get length() {
    return this.t.length;
  }

  /** Whether a gap lies between a reading and the one before. */
  broken(i) {
    const place = countBelow(this.gaps, i - 1);
    return place < this.gaps.length && this.gaps[place] === i - 1;
  }

  /** The readings of from <= t <= to as a half-open range of places. */
  within(from, to) {
    return [countBelow(this.t, from), countBelow(this.t, to, true)];
  }

  /** The reading that is nearest in time, or -1. */
  nearest(t) {
    const after = countBelow(this.t, t);
    if (after === this.length) return after - 1;
    return after > 0 && t - this.t[after - 1] < this.t[after] - t ? after - 1 : after;
  }

  /**
   * Where each bucket of a view begins, in places; the last entry is the end.
   * One reading beyond either edge is taken in, so that the line runs out of the picture.
   */
  buckets(from, to, count) {
    const [first, stop] = this.within(from, to);
    const cuts = [];
    if (first > 0) cuts.push(first - 1);
    if (stop - first <= 2 * count) {
      for (let i = first; i < stop; i++) cuts.push(i);
    } else {
      let place = first;
      for (let i = 1; i <= count && place < stop; i++) {
        cuts.push(place);
        const edge = from + ((to - from) * i) / count;
        place = i === count ? stop : Math.max(countBelow(this.t, edge, false, place, stop), place);
        while (i < count && place === cuts.at(-1)) {
          i += 1; // an empty bucket
          const next = from + ((to - from) * i) / count;
          place = i === count ? stop : countBelow(this.t, next, false, place, stop);
        }
      }
    }
    if (stop < this.length) cuts.push(stop);
    cuts.push(Math.min(stop + 1, this.length));
    return cuts;
  }

  /**
   * The columns to draw: a line, and for host memory the band over it and the ceilings of gaps.
   * What a browser paints slowly is a long stroke that goes up and down, so several readings in a
   * pixel are one stroke, from the end that is nearer, and the band has no outline there.
   */
  view(from, to, pixels, withBand) {
    const [first, stop] = this.within(from, to);
    const view = { first, stop, every: stop - first <= 2 * pixels };
    const cuts = this.buckets(from, to, pixels);
    view.line = this.line(cuts);
    if (withBand) Object.assign(view, view.every ? this.steps(cuts) : this.area(cuts));
    return view;
  }

  line(cuts) {
    const line = new Points(cuts.length * 3, 1);
    let y = 0;
    for (let b = 0; b + 1 < cuts.length; b++) {
      const [i, last] = [cuts[b], cuts[b + 1] - 1];
      if (i > 0 && this.broken(i)) line.add(NaN, NaN);
      if (i === last) {
        line.add(this.t[i] / 1e9, (y = this.value[i]));
        continue;
      }
      const x = (this.t[i] + this.t[last]) / 2e9;
      const [low, top] = [this.low.over(i, last + 1), this.top.over(i, last + 1)];
      const up = Math.abs(y - low) < Math.abs(y - top);
      line.add(x, up ? low : top);
      line.add(x, (y = up ? top : low));
    }
    return line;
  }

  /** The band of single readings: each high-water mark back to the reading before. */
  steps(cuts) {
    const { t, value, high } = this;
    const band = new Points(cuts.length * 5, 2);
    const ceilings = { x0: [], x1: [], y: [] };
    for (let i = cuts[0]; i < cuts.at(-1); i++) {
      let before = Math.max(i - 1, cuts[0]);
      if (i > 0 && this.broken(i)) {
        const x = t[i - 1] / 1e9;
        // Closed to no height across the gap; a NaN breaks its outline.
        band.add(x, value[i - 1], value[i - 1]);
        band.add(NaN, NaN, NaN);
        band.add(t[i] / 1e9, value[i], value[i]);
        this.addCeiling(ceilings, i);
        before = i;
      }
      band.add(t[before] / 1e9, value[before], high[i]);
      band.add(t[i] / 1e9, value[i], high[i]);
    }
    const [x, , y] = band.columns.map((column) => column.subarray(0, band.length));
    return { band, ceilings, outline: { x, y } };
  }

  /** The band of pixels: from the least reading to the highest high-water mark of each. */
  area(cuts) {
    const band = new Points(cuts.length * 4, 2);
    const ceilings = { x0: [], x1: [], y: [] };
    for (let b = 0; b + 1 < cuts.length; b++) {
      const [i, last] = [cuts[b], cuts[b + 1] - 1];
      if (i > 0 && this.broken(i)) {
        band.add(this.t[i - 1] / 1e9, this.value[i - 1], this.value[i - 1]);
        band.add(NaN, NaN, NaN);
        band.add(this.t[i] / 1e9, this.value[i], this.value[i]);
        this.addCeiling(ceilings, i);
      }
      const x = (this.t[i] + this.t[last]) / 2e9;
      band.add(x, this.low.over(i, last + 1), this.most.over(i, last + 1));
    }
    return { band, ceilings, outline: { x: [], y: [] } };
  }

  /** What memory was never above in the gap before a reading. */
  addCeiling({ x0, x1, y }, i) {
    if (!this.known[i]) return;
    x0.push(this.t[i - 1] / 1e9);
    x1.push(this.t[i] / 1e9);
    y.push(this.high[i]);
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
