// The exact least or largest of any stretch of a column, at the price of a few hundred look-ups.

const BRANCH = 16;

/** Blocks of 16 values, blocks of 16 of those, and so on: each with its extreme. */
class Extremes {
  /** @param pick Math.min or Math.max */
  constructor(values, pick) {
    this.pick = pick === Math.min ? (a, b) => (a < b ? a : b) : (a, b) => (a > b ? a : b);
    this.none = pick === Math.min ? Infinity : -Infinity;
    this.levels = [values];
    for (let below = values; below.length > BRANCH; below = this.levels.at(-1)) {
      const level = new Float64Array(Math.ceil(below.length / BRANCH));
      for (let i = 0; i < level.length; i++) {
        level[i] = this.scan(below, i * BRANCH, Math.min((i + 1) * BRANCH, below.length));
      }
      this.levels.push(level);
    }
  }

  scan(values, from, to) {
    const pick = this.pick;
    let best = this.none;
    for (let i = from; i < to; i++) best = pick(best, values[i]);
    return best;
  }

  /** The extreme of values[from:to], and no number where that is empty. */
  over(from, to) {
    let best = this.none;
    for (const values of this.levels) {
      if (to - from <= 2 * BRANCH) return this.pick(best, this.scan(values, from, to));
      const inner = Math.ceil(from / BRANCH);
      const outer = Math.floor(to / BRANCH);
      best = this.pick(best, this.scan(values, from, inner * BRANCH));
      best = this.pick(best, this.scan(values, outer * BRANCH, to));
      [from, to] = [inner, outer];
    }
    return best;
  }

  /** Where in values[from:to] the extreme first is. */
  where(from, to) {
    const best = this.over(from, to);
    // Walk over whole blocks that do not have it.
    let i = from;
    while (i < to) {
      let level = 0;
      let size = 1;
      while (
        level + 1 < this.levels.length && i % (size * BRANCH) === 0 && i + size * BRANCH <= to &&
        this.levels[level + 1][i / (size * BRANCH)] !== best
      ) {
        level += 1;
        size *= BRANCH;
      }
      if (level === 0 && this.levels[0][i] === best) return i;
      i += size;
    }
    return from;
  }
}

/** The number of the sorted values that are less than x (or, with `through`, at most x). */
function countBelow(values, x, through = false, from = 0, to = values.length) {
  while (from < to) {
    const middle = (from + to) >> 1;
    if (values[middle] < x || (through && values[middle] === x)) from = middle + 1;
    else to = middle;
  }
  return from;
}
