// The blocks of the page: base64, deflated, byte planes. See packing.py, which wrote them.

const bytesOf = (number) => {
  const node = document.getElementById(`b${number}`);
  const text = node.textContent;
  node.remove(); // a block is read once
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text),
    bytes = new Uint8Array(binary.length);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
};

const inflated = async (number) => {
  const stream = new Blob([bytesOf(number)]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

const factsOf = async (number) => JSON.parse(new TextDecoder().decode(await inflated(number)));

// A column as the narrowest typed array that holds it; signed ones as Float64Array.
const column = async ({ block, rows, planes, signed }) => {
  const raw = await inflated(block);
  if (planes === 1 && !signed) return raw;
  const wide = signed || planes > 4 ? Float64Array : planes === 2 ? Uint16Array : Uint32Array;
  const made = new wide(rows);
  if (planes <= 4) {
    const [a, b, c, d] = [0, 1, 2, 3].map((plane) =>
      plane < planes ? raw.subarray(plane * rows, (plane + 1) * rows) : null,
    );
    for (let row = 0; row < rows; row += 1) {
      let value = a[row];
      if (b) value |= b[row] << 8;
      if (c) value |= c[row] << 16;
      if (d) value = (value | (d[row] << 24)) >>> 0;
      made[row] = signed ? (value & 1 ? -((value >>> 1) + 1) : value >>> 1) : value;
    }
    return made;
  }
  for (let plane = planes - 1; plane >= 0; plane -= 1) {
    const from = plane * rows;
    for (let row = 0; row < rows; row += 1) made[row] = made[row] * 256 + raw[from + row];
  }
  if (signed) {
    for (let row = 0; row < rows; row += 1) {
      const odd = raw[row] & 1;
      made[row] = odd ? -(made[row] + 1) / 2 : made[row] / 2;
    }
  }
  return made;
};

// Differences, added up: in place where the column is wide enough.
const summed = (differences) => {
  const made = differences instanceof Float64Array ? differences : new Float64Array(differences.length);
  let sum = 0;
  for (let row = 0; row < made.length; row += 1) made[row] = sum += differences[row];
  return made;
};
