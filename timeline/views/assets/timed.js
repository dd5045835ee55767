// Readings in the order of time, and which of them lie in a view.

class Timed {
  /** @param t times in ns since the start, as Float64Array */
  constructor(t) {
    this.t = t;
  }

  get length() {
    return this.t.length;
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
}
