// The beginning: the first view at once, then all readings, then the controls.

const facts = JSON.parse(byId("facts").textContent);

/** What this page knows, for a curious reader at the browser's console, and for tests. */
const timeline = (window.timeline = { ready: false, failure: null, formatBytes, formatDuration });

function themeNow() {
  const chosen = document.documentElement.dataset.theme;
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  return chosen || (dark ? "dark" : "light");
}

function listenForThemes(chart) {
  const wear = () => {
    byId("theme").setAttribute("aria-pressed", String(themeNow() === "dark"));
    chart.wear(themeNow());
  };
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", wear);
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = themeNow() === "dark" ? "light" : "dark";
    wear();
  });
  wear();
}

function listenForControls(chart, table) {
  const press = (id, action) => byId(id).addEventListener("click", action);
  press("zoom-in", () => chart.zoom(0.5));
  press("zoom-out", () => chart.zoom(2));
  press("whole", () => {
    table?.leave();
    chart.showAll();
  });
  press("fit", () => {
    chart.fit = !chart.fit;
    byId("fit").setAttribute("aria-pressed", String(chart.fit));
    chart.draw();
  });
  press("box", () => {
    const box = byId("box").getAttribute("aria-pressed") !== "true";
    byId("box").setAttribute("aria-pressed", String(box));
    for (const name of chart.names) {
      const [pan, select] = [chart.model(`${name} pan`), chart.model(`${name} box`)];
      pan.active = !box;
      select.active = box;
    }
  });
  byId("to-peak")?.addEventListener("click", () => {
    const host = chart.curves?.find((curve) => curve.host);
    if (!host) return;
    const reach = facts.span_s / 50;
    table?.leave();
    chart.show(host.peak_ns / 1e9 - reach, host.peak_ns / 1e9 + reach);
    byId("chart-card").scrollIntoView({ block: "nearest" });
  });
  for (const input of document.querySelectorAll("#channels input")) {
    input.addEventListener("change", () => {
      const index = Number(input.value);
      if (input.checked) chart.hidden.delete(index);
      else chart.hidden.add(index);
      chart.draw();
    });
  }
  const keys = {
    ArrowLeft: () => chart.move(-0.2),
    ArrowRight: () => chart.move(0.2),
    "+": () => chart.zoom(0.5),
    "=": () => chart.zoom(0.5),
    "-": () => chart.zoom(2),
    0: () => chart.showAll(),
    Home: () => chart.showAll(),
  };
  byId("frame").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
}

/** Wait for the rest of the page: the packed columns stand after this script. */
function wholePage() {
  if (document.readyState !== "loading") return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve));
}

function expose(chart, curves, phases) {
  const host = curves.find((curve) => curve.host);
  const of = (curve) => ({
    samples: curve.samples,
    readings: curve.length,
    maximum: curve.maximum,
  });
  Object.assign(timeline, {
    ready: true,
    samples: host?.samples ?? 0,
    readings: host?.length ?? 0,
    maximum: host?.maximum ?? null,
    phases: phases.length,
    channels: Object.fromEntries(curves.map((curve) => [curve.name, of(curve)])),
    view: () => chart.view,
    show: (from, to) => chart.show(from, to),
    /** The boxes of the phase lanes in the view: lane, begin and end in ns, whether one phase alone. */
    boxes: () => chart.boxes.map(([lane, from, to, , alone]) => [lane, from, to, alone]),
    /** The recorded readings inside the view, and whether each is drawn as itself. */
    shown: (name = facts.host) => {
      const curve = curves.find((each) => each.name === name);
      const { first, stop, every } = chart.shown[name];
      const cut = (column) => Array.from(column.subarray(first, stop));
      return { every, t_ns: cut(curve.t), value: cut(curve.value), high: cut(curve.high) };
    },
  });
}

async function main() {
  await Bokeh.embed.embed_item(JSON.parse(byId("document").textContent), "chart");
  const chart = new Chart(Bokeh.documents.at(-1), byId("chart"), facts);
  listenForThemes(chart);
  await wholePage();
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser is too old to unpack the readings (it has no DecompressionStream)");
  }
  const curves = await Promise.all(facts.channels.map((about) => Curve.unpacked(about)));
  const phases = await Phases.unpacked(facts.phases);
  const devices = await Promise.all(facts.devices.map((about) => DeviceLayers.unpacked(about)));
  const { t, text, texts } = facts.marks;
  for (const input of document.querySelectorAll("#channels input:not(:checked)")) {
    chart.hidden.add(Number(input.value));
  }
  chart.load(curves, phases, { t: await unpack(t), text: await unpack(text), texts }, devices);
  new Hover(chart, byId("frame"), byId("tip"), byId("cursor"));
  const parts = ["bar", "text", "previous", "next", "highest", "close"];
  const walk = Object.fromEntries(parts.map((name) => [name, byId(`walk-${name}`)]));
  walk.key = byId("key");
  const table = byId("phases") ? new Table(byId("phases"), walk, chart) : null;
  if (byId("processes")) new Processes(byId("processes"), chart);
  if (byId("layers")) new Sorted(byId("layers"), chart);
  if (byId("parts")) {
    const bars = new Parts(byId("parts"), chart);
    if (table) table.follow = (path) => bars.show(path);
  }
  chart.clicked = (phase) => table?.goToPhase(phase);
  listenForControls(chart, table);
  expose(chart, curves, phases);
  document.documentElement.classList.add("ready");
}

main().catch((error) => {
  timeline.failure = String(error);
  const notice = byId("notice");
  notice.textContent = `The chart cannot show every reading: ${error.message ?? error}`;
  notice.hidden = false;
  console.error(error);
});
