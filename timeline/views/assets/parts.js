// What a peak is made of: the bar beside the curve keeps the curve's axis, and follows the phase that
// is chosen.

const FRAME_TOP = 6; // of the curve's figure, see chart.py

class Parts {
  constructor(root, chart) {
    Object.assign(this, { root, chart });
    this.blocks = [...document.querySelectorAll(".parts")];
    chart.sizes.change.connect(() => this.place());
    new ResizeObserver(() => this.place()).observe(byId("chart"));
    this.place();
  }

  /** The bar of a path; that of the run's peak where the path was not weighed. */
  show(path) {
    const weighed = this.blocks.some((block) => Number(block.dataset.path) === path);
    for (const block of this.blocks) {
      block.hidden = weighed
        ? Number(block.dataset.path) !== path
        : block.dataset.first === undefined;
    }
  }

  place() {
    const { start, end } = this.chart.sizes;
    const height = this.chart.plots[0].inner_height || Number(this.root.dataset.height);
    const y = (size) => FRAME_TOP + height * (1 - (size - start) / (end - start));
    for (const piece of this.root.querySelectorAll(".stack i")) {
      const top = Math.max(y(Number(piece.dataset.high)), FRAME_TOP);
      const bottom = Math.min(y(Number(piece.dataset.low)), FRAME_TOP + height);
      piece.style.top = `${top}px`;
      piece.style.height = `${Math.max(bottom - top, 0)}px`;
    }
  }
}
