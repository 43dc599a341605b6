// Tables of marks: reads, what came into the page cache, requests; and their coarser levels.

const ANSWERS = [
  'in the page cache',
  'missed the page cache',
  'past the page cache',
  'not known whether cached',
];
const LAYERS = { reads: 'reads', cache: 'came into the cache', requests: 'device requests' };

// rows, time (s), number, file, offset (bytes; NaN: not known), size (bytes), took (code), structure, thread, op,
// flags (answer, 4: seek), count (null: one each)
const tableOf = async (facts, fileCount) => {
  const names = ['time', 'file', 'gap', 'size', 'took', 'structure', 'thread', 'op', 'flags'];
  const [ticks, file, gap, sizes, took, structure, thread, op, flags] = await Promise.all(
    names.map((name) => column(facts[name])),
  );
  const time = summed(ticks),
    rows = facts.rows,
    unit = facts.unit;
  for (let row = 0; row < rows; row += 1) time[row] *= facts.tick_ns * 1e-9;
  const offset = gap,
    ends = new Float64Array(fileCount);
  for (let row = 0; row < rows; row += 1) {
    if (flags[row] & 8) {
      offset[row] = NaN;
      continue;
    }
    const of = file[row],
      start = ends[of] + gap[row];
    ends[of] = start + sizes[row];
    offset[row] = start * unit;
  }
  let size = sizes;
  if (unit > 1) {
    size = new Float64Array(rows);
    for (let row = 0; row < rows; row += 1) size[row] = sizes[row] * unit;
  }
  const seconds = new Float64Array(took.length ? 65536 : 1); // took is a power of the base, in ns
  for (let code = 1; code < seconds.length; code += 1) seconds[code] = facts.base ** (code - 1) * 1e-9;
  seconds[0] = NaN;
  return {
    rows,
    time,
    file,
    offset,
    size,
    took,
    seconds,
    structure,
    thread,
    op,
    flags,
    count: null,
    number: null,
  };
};

// Some rows of a table.
const picked = (table, rows) => {
  const made = { ...table, rows: rows.length };
  for (const name of ['time', 'file', 'offset', 'size', 'took', 'structure', 'thread', 'op', 'flags']) {
    const from = table[name],
      to = (made[name] = new from.constructor(rows.length));
    for (let row = 0; row < to.length; row += 1) to[row] = from[rows[row]];
  }
  return made;
};

class Layer {
  constructor(name, facts, fileCount) {
    Object.assign(this, { name, facts, fileCount, all: facts.all, step: facts.step, levels: [], raw: null });
  }

  // The coarsest table: enough for a first picture.
  async begin() {
    const [first] = this.facts.levels;
    if (!first || !first.columns) await this.whole();
    if (first) await this.level(first);
  }

  async finish() {
    if (!this.levels.length && !this.raw) await this.begin();
    if (!this.raw) await this.whole();
    for (const level of this.facts.levels.slice(1)) await this.level(level);
  }

  // With columns of its own, or rows of those of all marks.
  async level(facts) {
    const [number, count] = await Promise.all([column(facts.number), column(facts.count)]);
    const rows = summed(number);
    const table = facts.columns
      ? await tableOf({ ...facts.columns, rows: facts.rows }, this.fileCount)
      : picked(this.raw, rows);
    this.levels.push({ ...table, number: rows, count });
  }

  async whole() {
    const table = await tableOf(this.facts, this.fileCount);
    table.number = new Float64Array(table.rows);
    for (let row = 0; row < table.rows; row += 1) table.number[row] = row * this.step;
    this.raw = table;
  }

  tables() {
    return this.raw ? [...this.levels, this.raw] : this.levels;
  }

  // Requests and the cache are numbered by the reads that were made before them.
  numberBy(reads) {
    if (!reads.raw) return;
    const time = reads.raw.time;
    for (const table of this.tables()) {
      let read = 0;
      for (let row = 0; row < table.rows; row += 1) {
        while (read < time.length && time[read] <= table.time[row]) read += 1;
        table.number[row] = read * reads.step;
      }
    }
  }
}

// The first row whose value is not below `value`, of an ascending column.
const firstRow = (values, value) => {
  let low = 0,
    high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
};

// How files are laid out along the map: y = base + offset * scale. file -1: all of them, stacked by first touch,
// each as high as what is touched of it.
const layoutOf = (files, file) => {
  const count = files.name.length,
    base = new Float64Array(count),
    scale = new Float64Array(count);
  if (file >= 0) {
    base.fill(NaN);
    base[file] = 0;
    scale[file] = 1;
    const low = files.low[file],
      span = Math.max(files.high[file] - low, 1);
    return { file, base, scale, low: low - span * 0.02, high: low + span * 1.02, bands: [] };
  }
  const weights = files.touched.map((touched, at) =>
    touched ? Math.min(touched, files.high[at] - files.low[at]) : 0,
  );
  const all = weights.reduce((a, b) => a + b, 0) || 1,
    used = weights.filter(Boolean).length || 1;
  const bands = [];
  let y = 0;
  for (let at = 0; at < count; at += 1) {
    if (!weights[at]) {
      base[at] = NaN;
      continue;
    }
    const height = (0.85 * weights[at]) / all + 0.15 / used;
    scale[at] = (height * 0.94) / Math.max(files.high[at] - files.low[at], 1);
    base[at] = y - files.low[at] * scale[at];
    bands.push({ file: at, low: y, high: y + height });
    y += height;
  }
  return { file, base, scale, low: -0.01, high: Math.max(y, 0.01) * 1.01, bands };
};
