// Packed columns back to the integers that they were (the other half of page/packing.py).

/** The column that a reference names, as a Float64Array of exact integers. */
async function unpack({ pack, n, planes, sum }) {
  const element = document.getElementById(`pack-${pack}`);
  const bytes = await inflate(fromBase64(element.textContent));
  element.remove(); // the text is as large as the readings, and not needed again
  return join(bytes, n, planes, sum);
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function join(bytes, n, planes, sum) {
  if (bytes.length !== n * planes) throw new Error("a column of this page is cut");
  const out = new Float64Array(n);
  const plane = (p) => (p < planes ? bytes.subarray(p * n, (p + 1) * n) : null);
  const [p0, p1, p2, p3] = [plane(0), plane(1), plane(2), plane(3)];
  let total = 0;
  for (let i = 0; i < n; i++) {
    let low = p0[i];
    if (p1) low |= p1[i] << 8;
    if (p2) low |= p2[i] << 16;
    if (p3) low |= p3[i] << 24;
    low >>>= 0;
    // Bit 0 is the sign. The rest is put together in floating point, exact up to 2^53.
    let half = low >>> 1;
    for (let p = 4; p < planes; p++) half += bytes[p * n + i] * 2 ** (8 * p - 1);
    const value = low & 1 ? -half - 1 : half;
    total = sum ? total + value : value;
    out[i] = total;
  }
  return out;
}
