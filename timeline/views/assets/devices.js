// The layers of one GPU's memory over time: all readings where there is room, else the largest of
// each pixel. A reading speaks of the time since the one before.

class DeviceLayers extends Timed {
  /** @param layers from the bottom up, in bytes; less than 0 where one is not known */
  constructor(about, t, layers) {
    super(t);
    Object.assign(this, { name: about.name, label: about.label, names: about.names, layers });
    let below = new Float64Array(t.length);
    this.edges = layers.map((layer) => {
      below = below.map((bytes, i) => bytes + Math.max(layer[i], 0));
      return new Extremes(below, Math.max);
    });
  }

  static async unpacked(about) {
    const [t, ...layers] = await Promise.all([about.t, ...about.layers].map(unpack));
    return new DeviceLayers(about, t, layers);
  }

  /** For each layer the columns of its area. */
  areas(from, to, pixels) {
    const cuts = this.buckets(from, to, pixels);
    const buckets = Math.max(cuts.length - 1, 0);
    const x = new Float64Array(2 * buckets);
    const sizes = this.edges.map(() => new Float64Array(2 * buckets));
    for (let b = 0; b < buckets; b++) {
      const [i, stop] = [cuts[b], cuts[b + 1]];
      x[2 * b] = (i > 0 ? this.t[i - 1] : 0) / 1e9;
      x[2 * b + 1] = this.t[stop - 1] / 1e9;
      this.edges.forEach((edge, k) => sizes[k].fill(edge.over(i, stop), 2 * b, 2 * b + 2));
    }
    const nothing = new Float64Array(2 * buckets);
    return sizes.map((high, k) => ({ x, low: k ? sizes[k - 1] : nothing, high }));
  }

  /** The reading that speaks of a moment; -1 after the last. */
  speaksOf(t) {
    const i = countBelow(this.t, t);
    return i < this.length ? i : -1;
  }
}
