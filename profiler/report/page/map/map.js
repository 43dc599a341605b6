// The map: a panel for each trace, all with one view. What it shows is in `state`; it calls `changed` of its owner.

const BY = {
  structure: { name: 'structure', codes: (table) => table.structure },
  answer: { name: 'hit and miss', codes: (table) => table.flags },
  file: { name: 'file', codes: (table) => table.file },
  thread: { name: 'thread', codes: (table) => table.thread },
  op: { name: 'operation', codes: (table) => table.op },
};

const kindName = (facts, by, code) => {
  if (by === 'structure')
    return code ? facts.structures[code - 1] || 'no map of the file' : 'no map of the file';
  if (by === 'answer') return ANSWERS[code];
  return { file: facts.files.name, thread: facts.threads, op: facts.ops }[by][code];
};

// Kinds by colour: slots, the most frequent first, the rest together; those switched off are HIDDEN.
const colouringOf = (facts, layers, by, off) => {
  const shift = 0,
    mask = by === 'answer' ? 3 : 0xffff;
  const sizes = {
    structure: facts.structures.length + 1,
    answer: 4,
    file: facts.files.name.length,
    thread: facts.threads.length,
    op: facts.ops.length,
  };
  const counts = new Float64Array(Math.max(sizes[by], 1));
  for (const layer of layers) {
    const table = layer.levels[0] || layer.raw;
    if (!table) continue;
    const codes = BY[by].codes(table);
    for (let row = 0; row < table.rows; row += 1)
      counts[codes[row] & (mask === 3 ? 3 : 0x7fffffff)] += table.count ? table.count[row] : layer.step;
  }
  const order = [...counts.keys()].filter((code) => counts[code]).sort((a, b) => counts[b] - counts[a]);
  const slots = new Uint8Array(counts.length).fill(SLOTS - 1),
    kinds = [];
  const alone = order.length <= SLOTS ? order.length : SLOTS - 1;
  order.slice(0, alone).forEach((code, at) => {
    slots[code] = by === 'answer' ? [5, 1, 2, 8][code] : at;
    kinds.push({
      key: `${by}:${code}`,
      slot: slots[code],
      words: kindName(facts, by, code),
      count: counts[code],
    });
  });
  if (alone < order.length) {
    kinds.push({
      key: `${by}:others`,
      slot: SLOTS - 1,
      words: `${showCount(order.length - alone)} others`,
      count: order.slice(alone).reduce((sum, code) => sum + counts[code], 0),
    });
  }
  const rank = new Float64Array(256).fill(-1); // what is rare stays visible; misses do
  for (const kind of kinds) rank[kind.slot] = by === 'answer' && kind.slot === 1 ? 2 : 1 / (1 + kind.count);
  const hidden = new Set(kinds.filter((kind) => off.has(kind.key)).map((kind) => kind.slot));
  for (let code = 0; code < slots.length; code += 1) if (hidden.has(slots[code])) slots[code] = HIDDEN;
  return { by, slots, rank, kinds, shift, mask: by === 'answer' ? 3 : 0x7fffffff, codes: BY[by].codes };
};

class Panel {
  constructor(owner, trace, at) {
    Object.assign(this, { owner, trace, at });
    this.node = document.createElement('div');
    this.node.className = 'panel';
    if (trace.name) {
      const head = document.createElement('h3');
      head.textContent = trace.name;
      this.node.append(head);
    }
    const plot = document.createElement('div');
    plot.className = 'plot';
    this.canvas = document.createElement('canvas');
    this.over = document.createElement('canvas');
    this.over.className = 'over';
    this.over.tabIndex = 0;
    this.over.setAttribute('role', 'application');
    this.over.setAttribute('aria-roledescription', 'map of reads');
    plot.append(this.canvas, this.over);
    this.node.append(plot);
  }

  layers() {
    return this.owner.state.layers.map((name) => this.trace.made[name]).filter(Boolean);
  }

  draw() {
    const { state, view, layout, colours, palette, colouring } = this.owner;
    const size = sized(this.canvas),
      { context, ratio } = size;
    sized(this.over);
    this.box = boxOf(size);
    const box = this.box;
    context.clearRect(0, 0, size.width, size.height);
    const image = context.createImageData(
      Math.max(Math.round(box.width * ratio), 1),
      Math.max(Math.round(box.height * ratio), 1),
    );
    let drawn = 0,
      asMarks = true;
    for (const layer of this.layers()) {
      const picked = chosen(layer, state.axis, view.x0, view.x1);
      if (!picked) continue;
      const done = drawMarks(image, ratio, layer, picked, view, layout, state.axis, colouring, palette);
      drawn += done.drawn;
      asMarks &&= done.asMarks;
    }
    context.putImageData(image, Math.round(box.x * ratio), Math.round(box.y * ratio));
    const xs = ticksOf(view.x0, view.x1, Math.max(box.width / 110, 2));
    const ys =
      layout.file >= 0
        ? ticksOf(view.y0, view.y1, box.height / 45, true)
        : layout.bands
            .filter((band) => ((band.high - band.low) / (view.y1 - view.y0)) * box.height > 11)
            .map((band) => [(band.low + band.high) / 2, this.owner.facts.files.name[band.file]]);
    drawAxes(context, box, view, colours, xs, ys, this.owner.showX, showBytes, this.owner.labelX());
    this.over.setAttribute(
      'aria-label',
      `${this.trace.name ? `${this.trace.name}: ` : ''}${this.owner.described()}, ` +
        `${showPlural(drawn, 'mark')} in view${asMarks ? '' : ', drawn as density'}. The tables below hold the numbers.`,
    );
    this.overlay();
  }

  // What lies above the picture: the box that is selected, and the mark that is named.
  overlay() {
    const size = sized(this.over),
      { context } = size,
      { box } = this,
      { colours, selected, dragged, hovered } = this.owner;
    context.clearRect(0, 0, size.width, size.height);
    for (const one of [selected, dragged]) {
      if (!one) continue;
      const [left, right] = [one.x0, one.x1].map((x) =>
        Math.min(Math.max(this.toX(x), box.x), box.x + box.width),
      );
      const [bottom, top] = [one.y0, one.y1].map((y) =>
        Math.min(Math.max(this.toY(y), box.y), box.y + box.height),
      );
      context.fillStyle = colours.accent;
      context.globalAlpha = 0.14;
      context.fillRect(left, top, right - left, bottom - top);
      context.globalAlpha = 1;
      context.strokeStyle = colours.accent;
      context.setLineDash([5, 3]);
      context.strokeRect(left + 0.5, top + 0.5, Math.max(right - left, 1), Math.max(bottom - top, 1));
      context.setLineDash([]);
    }
    if (hovered && hovered.panel === this) {
      context.strokeStyle = colours.ink;
      context.lineWidth = 1.5;
      context.beginPath();
      context.arc(this.toX(hovered.x), this.toY(hovered.y), 6, 0, 7);
      context.stroke();
    }
  }

  toX(x) {
    const { view } = this.owner;
    return this.box.x + ((x - view.x0) / (view.x1 - view.x0)) * this.box.width;
  }

  toY(y) {
    const { view } = this.owner;
    return this.box.y + this.box.height - ((y - view.y0) / (view.y1 - view.y0)) * this.box.height;
  }

  fromX(px) {
    const { view } = this.owner;
    return view.x0 + ((px - this.box.x) / this.box.width) * (view.x1 - view.x0);
  }

  fromY(py) {
    const { view } = this.owner;
    return view.y0 + ((this.box.y + this.box.height - py) / this.box.height) * (view.y1 - view.y0);
  }

  // The mark nearest to a place, within some pixels: rows of the finest tables that are there.
  near(px, py, within = 12) {
    const { state, layout, colouring } = this.owner;
    let best = null,
      least = within * within;
    for (const layer of this.layers()) {
      const table = layer.raw || layer.levels.at(-1);
      if (!table) continue;
      const x = table[state.axis],
        codes = colouring.codes(table);
      const from = firstRow(x, this.fromX(px - within)),
        to = firstRow(x, this.fromX(px + within));
      for (let row = from; row < to; row += 1) {
        if (colouring.slots[(codes[row] >> colouring.shift) & colouring.mask] === HIDDEN) continue;
        const of = table.file[row],
          y = layout.base[of] + table.offset[row] * layout.scale[of];
        const dx = this.toX(x[row]) - px,
          bottom = this.toY(y),
          top = this.toY(y + table.size[row] * layout.scale[of]);
        const dy = py > bottom ? py - bottom : py < top ? top - py : 0;
        const distance = dx * dx + dy * dy;
        if (distance < least) {
          least = distance;
          best = { panel: this, layer, table, row, x: x[row], y };
        }
      }
    }
    return best;
  }
}
