// The phases, lane after lane: those wider than a pixel as they are, the others pixel by pixel.

class Phases {
  /** Columns as in page/contents.py: by lane, and in each lane by beginning; no two overlap. */
  constructor(about, columns) {
    this.lanes = about.lanes;
    this.drawn = about.drawn; // lanes, the outer ones
    this.details = about.details;
    Object.assign(this, columns);
    this.length = this.begin.length;
    this.end = this.begin.map((begin, i) => begin + this.time[i]);
    this.longest = new Extremes(this.time, Math.max);
    this.starts = Array.from({ length: this.lanes + 1 }, (_, k) => countBelow(this.lane, k));
    this.byPath = new Map();
    for (let i = 0; i < this.length; i++) {
      if (!this.byPath.has(this.path[i])) this.byPath.set(this.path[i], []);
      this.byPath.get(this.path[i]).push(i);
    }
    for (const places of this.byPath.values()) {
      places.sort((a, b) => this.begin[a] - this.begin[b] || a - b);
    }
  }

  static async unpacked(about) {
    const names = ["lane", "begin", "time", "path", "peak", "delta", "exact", "open", "detail"];
    const columns = await Promise.all(names.map((name) => unpack(about[name])));
    return new Phases(about, Object.fromEntries(names.map((name, i) => [name, columns[i]])));
  }

  /** All phases of a path, in the order of time. */
  of(path) {
    return this.byPath.get(path) ?? [];
  }

  /** The place in of(path) of the one with the highest peak. */
  peakOf(path) {
    const places = this.of(path);
    let best = 0;
    for (let i = 1; i < places.length; i++) {
      if (this.peak[places[i]] > this.peak[places[best]]) best = i;
    }
    return best;
  }

  /** The phase of a lane that is open at a time, or -1. */
  at(lane, t) {
    const i = countBelow(this.begin, t, true, this.starts[lane], this.starts[lane + 1]) - 1;
    return i >= this.starts[lane] && this.end[i] >= t ? i : -1;
  }

  /** The phases that are open at a time, outermost first. */
  openAt(t) {
    const found = [];
    for (let lane = 0; lane < this.lanes; lane++) {
      const i = this.at(lane, t);
      if (i >= 0) found.push(i);
    }
    return found;
  }

  /** How many phases of a lane touch a stretch of time. */
  count(lane, from, to) {
    const [start, stop] = [this.starts[lane], this.starts[lane + 1]];
    const first = countBelow(this.end, from, false, start, stop);
    return countBelow(this.begin, to, true, start, stop) - first;
  }

  /**
   * Boxes of a view: each a phase, or a pixel in which several lie, which stands for the longest.
   * Returns a list of [lane, from, to, phase, whether it is that phase alone].
   */
  view(from, to, pixels) {
    const pixel = (to - from) / pixels;
    const boxes = [];
    for (let lane = 0; lane < this.drawn; lane++) {
      const stop = this.starts[lane + 1];
      let i = countBelow(this.end, from, false, this.starts[lane], stop);
      while (i < stop && this.begin[i] <= to) {
        if (this.end[i] - this.begin[i] >= pixel) {
          boxes.push([lane, this.begin[i], this.end[i], i, true]);
          i += 1;
          continue;
        }
        const column = Math.floor((this.begin[i] - from) / pixel);
        const edge = from + (column + 1) * pixel;
        const next = Math.max(countBelow(this.begin, edge, false, i, stop), i + 1);
        const longest = next - i > 1 ? this.longest.where(i, next) : i;
        if (this.end[longest] - this.begin[longest] >= pixel) {
          // The last of the column reaches beyond it: it is drawn as itself, after the others.
          if (longest > i) boxes.push([lane, edge - pixel, this.begin[longest], i, false]);
          boxes.push([lane, this.begin[longest], this.end[longest], longest, true]);
        } else {
          addBox(boxes, [lane, edge - pixel, edge, longest, next - i === 1], this.path);
        }
        i = next;
      }
    }
    return boxes;
  }
}

/** Neighbouring pixels of one colour are one box. */
function addBox(boxes, box, path) {
  const last = boxes.at(-1);
  const touches = last && !last[4] && !box[4] && last[0] === box[0] && last[2] >= box[1];
  if (touches && path[last[3]] === path[box[3]]) last[2] = box[2];
  else boxes.push(box);
}
