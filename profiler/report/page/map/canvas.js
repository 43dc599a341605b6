// Pictures: marks into pixels, axes with their ticks.

const RAW_MOST = 50_000; // so many marks are drawn as they are
const ROWS_A_FRAME = 250_000; // of a table with more of them in view a coarser one is drawn
const CELL = 2; // CSS pixels, of the density
const SLOTS = 9; // colours; the last is for all others
const HIDDEN = 255;
const EDGE = { left: 84, right: 12, top: 8, bottom: 34 };

const theme = () => {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: of('ink'),
    dim: of('dim'),
    line: of('line'),
    paper: of('paper'),
    accent: of('accent'),
    kinds: Array.from({ length: SLOTS }, (_, at) => of(`k${at}`)),
  };
};

const rgb = (hex) =>
  [1, 3, 5].map((at) =>
    parseInt(hex.length === 4 ? hex[(at + 1) / 2].repeat(2) : hex.slice(at, at + 2), 16),
  );

// A canvas as many device pixels wide as it is shown; its context counts CSS pixels.
const sized = (canvas) => {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(Math.round(canvas.clientWidth * ratio), 1),
    height = Math.max(Math.round(canvas.clientHeight * ratio), 1);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, ratio, width: width / ratio, height: height / ratio };
};

const boxOf = (size) => ({
  x: EDGE.left,
  y: EDGE.top,
  width: Math.max(size.width - EDGE.left - EDGE.right, 10),
  height: Math.max(size.height - EDGE.top - EDGE.bottom, 10),
});

// Round numbers between low and high, some `wanted` of them; of bytes, powers of two.
const ticksOf = (low, high, wanted, binary = false) => {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / wanted;
  let step;
  if (binary && rough >= 1) {
    step = 2 ** Math.ceil(Math.log2(rough));
  } else {
    const power = 10 ** Math.floor(Math.log10(rough));
    step = power * [1, 2, 5, 10].find((times) => times * power >= rough * 0.999);
  }
  const made = [];
  for (let at = Math.ceil(low / step); at * step <= high; at += 1) made.push(at * step);
  return made;
};

// Which table of a layer to draw between x0 and x1, and its rows: the finest of which a frame takes.
const chosen = (layer, axis, x0, x1) => {
  const tables = layer.tables();
  for (let at = tables.length - 1; at >= 0; at -= 1) {
    const table = tables[at],
      x = table[axis];
    const from = firstRow(x, x0),
      to = firstRow(x, x1 * (1 + 1e-12) + 1e-12);
    if (to - from <= ROWS_A_FRAME || at === 0) return { table, from, to, raw: table === layer.raw };
  }
  return null;
};

// Draw the marks of one layer. view: x0 x1 y0 y1; slotOf: kind -> slot or HIDDEN, of the column `by`.
const drawMarks = (image, ratio, layer, picked, view, layout, axis, colouring, palette) => {
  const { table, from, to, raw } = picked;
  const { width, height } = image,
    pixels = new Uint32Array(image.data.buffer);
  const { base, scale } = layout;
  const x = table[axis],
    { file, offset, size, count } = table;
  const codes = colouring.codes(table),
    { slots, mask, shift } = colouring;
  const sx = width / (view.x1 - view.x0),
    sy = height / (view.y1 - view.y0);
  const asMarks = raw && to - from <= RAW_MOST;
  const weigh = count || layer.step > 1;
  let drawn = 0;
  if (asMarks) {
    const wide = Math.max(Math.round((to - from > 5000 ? 1.5 : 2.5) * ratio), 1);
    const least = wide;
    for (let row = from; row < to; row += 1) {
      const slot = slots[(codes[row] >> shift) & mask];
      if (slot === HIDDEN) continue;
      const of = file[row],
        y = base[of] + offset[row] * scale[of];
      if (!(y <= view.y1)) continue;
      const tall = size[row] * scale[of];
      if (y + tall < view.y0) continue;
      drawn += 1;
      const left = Math.max(Math.round((x[row] - view.x0) * sx - wide / 2), 0),
        right = Math.min(left + wide, width);
      let bottom = height - Math.round((y - view.y0) * sy),
        top = height - Math.round((y + tall - view.y0) * sy);
      if (bottom - top < least) {
        top = Math.round((top + bottom - least) / 2);
        bottom = top + least;
      }
      top = Math.max(top, 0);
      bottom = Math.min(bottom, height);
      const colour = palette[slot][31];
      for (let line = top; line < bottom; line += 1) {
        const at = line * width;
        for (let dot = left; dot < right; dot += 1) pixels[at + dot] = colour;
      }
    }
    return { drawn, asMarks };
  }
  const cell = CELL * ratio,
    columns = Math.ceil(width / cell),
    lines = Math.ceil(height / cell);
  const counts = new Float32Array(columns * lines),
    kinds = new Uint8Array(columns * lines).fill(HIDDEN);
  const rank = colouring.rank;
  let room = 4_000_000; // cells that tall marks may fill beyond one each
  for (let row = from; row < to; row += 1) {
    const slot = slots[(codes[row] >> shift) & mask];
    if (slot === HIDDEN) continue;
    const of = file[row],
      y = base[of] + offset[row] * scale[of];
    if (!(y <= view.y1)) continue;
    const tall = size[row] * scale[of];
    if (y + tall < view.y0) continue;
    const times = weigh ? (count ? count[row] : layer.step) : 1;
    drawn += times;
    const across = Math.min(Math.max(Math.floor(((x[row] - view.x0) * sx) / cell), 0), columns - 1);
    const low = Math.max(Math.floor((height - (y + tall - view.y0) * sy) / cell), 0);
    let high = Math.min(Math.floor((height - (y - view.y0) * sy) / cell), lines - 1);
    if (high > low) {
      room -= high - low;
      if (room < 0) high = low;
    }
    for (let line = low; line <= high; line += 1) {
      const at = line * columns + across;
      counts[at] += times;
      if (kinds[at] === HIDDEN || rank[slot] > rank[kinds[at]]) kinds[at] = slot;
    }
  }
  let most = 1;
  for (let at = 0; at < counts.length; at += 1) if (counts[at] > most) most = counts[at];
  const per = 22 / Math.log2(1 + most);
  for (let line = 0; line < height; line += 1) {
    const from0 = Math.floor(line / cell) * columns,
      at = line * width;
    for (let column = 0, dot = 0; dot < width; column += 1) {
      const here = from0 + column,
        last = Math.min(Math.round((column + 1) * cell), width);
      if (kinds[here] === HIDDEN) {
        dot = last;
        continue;
      }
      const colour = palette[kinds[here]][9 + Math.floor(Math.log2(1 + counts[here]) * per)];
      for (; dot < last; dot += 1) pixels[at + dot] = colour;
    }
  }
  return { drawn, asMarks };
};

// 32 shades of each slot, from pale to full, as pixels.
const paletteOf = (colours) => {
  const paper = rgb(colours.paper);
  return colours.kinds.map((hex) => {
    const full = rgb(hex);
    return Uint32Array.from({ length: 32 }, (_, shade) => {
      const [r, g, b] = full.map((part, at) => Math.round(paper[at] + (part - paper[at]) * (shade / 31)));
      return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
    });
  });
};

const drawAxes = (context, box, view, colours, xs, ys, showX, showY, labelX) => {
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.font = '11px system-ui, sans-serif';
  context.strokeRect(box.x + 0.5, box.y + 0.5, box.width, box.height);
  context.fillStyle = colours.dim;
  context.textBaseline = 'top';
  context.textAlign = 'center';
  const atX = (value) => box.x + ((value - view.x0) / (view.x1 - view.x0)) * box.width;
  const atY = (value) => box.y + box.height - ((value - view.y0) / (view.y1 - view.y0)) * box.height;
  let ends = -Infinity;
  for (const value of xs) {
    const place = atX(value),
      words = showX(value),
      half = context.measureText(words).width / 2;
    context.fillRect(Math.round(place), box.y + box.height, 1, 4);
    const middle = Math.min(place, box.x + box.width - half + EDGE.right);
    if (middle - half < ends + 6) continue;
    context.fillText(words, middle, box.y + box.height + 6);
    ends = middle + half;
  }
  context.fillText(labelX, box.x + box.width / 2, box.y + box.height + 20);
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  let last = Infinity;
  for (const [value, words] of ys.map((one) => (Array.isArray(one) ? one : [one, showY(one)]))) {
    const place = atY(value);
    if (place < box.y - 1 || place > box.y + box.height + 1 || last - place < 12) continue;
    context.fillRect(box.x - 4, Math.round(place), 4, 1);
    context.fillText(words, box.x - 6, place, EDGE.left - 8);
    last = place;
  }
};
