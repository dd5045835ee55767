// Numbers as text, as timeline/units.py writes them.

const KIB = 1024;
const byId = (id) => document.getElementById(id);

function formatBytes(count, signed = false) {
  const sign = count < 0 ? "-" : signed && count > 0 ? "+" : "";
  const size = Math.abs(count);
  if (size < KIB) return `${sign}${size} B`;
  let factor = KIB;
  for (const unit of ["KiB", "MiB", "GiB", "TiB"]) {
    if (size / factor < 1023.95 || unit === "TiB") {
      return `${sign}${threeDigits(size / factor)} ${unit}`;
    }
    factor *= KIB;
  }
}

function threeDigits(value) {
  return fixed(value, value < 9.995 ? 2 : value < 1000 ? 1 : 0);
}

/** As toFixed, but ties go to the even digit, as Python has it: 1.125 is 1.12. */
function fixed(value, digits) {
  const tie = Math.abs(value * 2 ** (digits + 1)) % 2 === 1;
  if (!tie) return value.toFixed(digits);
  const below = Math.floor(value * 10 ** digits);
  return ((below % 2 ? below + 1 : below) / 10 ** digits).toFixed(digits);
}

function formatDuration(seconds) {
  if (seconds < 0) return `-${formatDuration(-seconds)}`;
  if (seconds === 0) return "0 s";
  for (const [unit, factor] of [["ns", 1e-9], ["µs", 1e-6], ["ms", 1e-3]]) {
    if (seconds / factor < 999.5) return `${short(seconds / factor)} ${unit}`;
  }
  if (seconds < 59.95) return `${short(seconds)} s`;
  const whole = Number(fixed(seconds, 0));
  const two = (large, unit, small, smallUnit) =>
    small ? `${large} ${unit} ${small} ${smallUnit}` : `${large} ${unit}`;
  const { floor } = Math;
  if (whole < 3600) return two(floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86400) return two(floor(whole / 3600), "h", floor((whole % 3600) / 60), "min");
  return two(floor(whole / 86400), "d", floor((whole % 86400) / 3600), "h");
}

function short(value) {
  return fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

/** A moment, told so finely that moments `step` seconds apart read differently. */
function formatMoment(seconds, step) {
  const digits = Math.min(Math.max(Math.ceil(-Math.log10(step) - 1e-9), 0), 9);
  const sign = seconds < 0 ? "-" : "";
  let rest = Number(Math.abs(seconds).toFixed(digits));
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count) parts.push(`${count} ${unit}`);
  }
  const fraction = rest.toFixed(digits);
  if (Number(fraction) || !parts.length) parts.push(`${fraction} s`);
  return sign + parts.join(" ");
}

/** Labels of byte ticks in one unit, with the digits that their distance asks for. */
function labelBytes(ticks) {
  const largest = Math.max(...ticks.map(Math.abs), 0);
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : largest || 1;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (place < 4 && largest >= KIB ** (place + 1)) place += 1;
  // Rather 1216 MiB than 1.1875 GiB, as long as the number stays short.
  while (place > 0 && step < KIB ** place / 4 && largest < 1e5 * KIB ** (place - 1)) place -= 1;
  const size = KIB ** place;
  const digits = Math.min(Math.max(Math.ceil(Math.log2(size / step)), 0), 5);
  return ticks.map((tick) => {
    const text = (tick / size).toFixed(digits);
    return tick === 0 ? "0" : `${digits ? text.replace(/\.?0+$/, "") : text} ${units[place]}`;
  });
}

function labelMoments(ticks) {
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 1;
  const largest = Math.max(...ticks.map(Math.abs), 0);
  const [unit, factor] = largest >= 1 ? ["s", 1] : largest >= 1e-3 ? ["ms", 1e-3] : ["µs", 1e-6];
  if (unit === "s") return ticks.map((tick) => formatMoment(tick, step));
  const digits = Math.min(Math.max(Math.ceil(-Math.log10(step / factor) - 1e-9), 0), 9);
  return ticks.map((tick) => (tick === 0 ? "0 s" : `${(tick / factor).toFixed(digits)} ${unit}`));
}
