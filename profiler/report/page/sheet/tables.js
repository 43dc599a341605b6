// Tables that are sorted and filtered by clicks. Texts are only ever set as text.

const MOST_ROWS = 100;

const make = (tag, words = '', name = '') => {
  const node = document.createElement(tag);
  if (words !== '') node.textContent = words;
  if (name) node.className = name;
  return node;
};

const button = (words, press, name = '') => {
  const node = make('button', words, name);
  node.type = 'button';
  node.addEventListener('click', press);
  return node;
};

// columns: { key, words, show (of numbers; none: text), press (of a cell, given its row) }
class Table {
  constructor(title, columns, { filter = '', note = '', sort = '', where } = {}) {
    Object.assign(this, { columns, rows: [], sorted: sort, down: true, wanted: '', most: MOST_ROWS });
    this.node = make('section');
    const head = make('h2', title);
    head.id = `t${(Table.count = (Table.count || 0) + 1)}`;
    this.node.setAttribute('aria-labelledby', head.id);
    this.tools = make('div', '', 'tools');
    this.note = make('span', note, 'whole');
    if (filter) {
      const input = make('input');
      Object.assign(input, { type: 'search', placeholder: filter });
      input.setAttribute('aria-label', filter);
      input.addEventListener('input', () => {
        this.wanted = input.value.toLowerCase();
        this.draw();
      });
      this.tools.append(input);
    }
    this.tools.append(this.note);
    const around = make('div', '', 'table');
    this.table = make('table');
    this.table.setAttribute('aria-labelledby', head.id);
    this.head = this.table.createTHead().insertRow();
    this.body = this.table.createTBody();
    around.append(this.table);
    this.more = button('', () => {
      this.most *= 10;
      this.draw();
    });
    this.node.append(head, this.tools, around, this.more);
    for (const one of columns) {
      const cell = make('th', '', one.show || one.words.startsWith('band') ? 'n' : '');
      cell.scope = 'col';
      cell.append(
        button(one.words, () => {
          this.down = this.sorted === one.key ? !this.down : Boolean(one.show);
          this.sorted = one.key;
          this.draw();
        }),
      );
      this.head.append(cell);
    }
    where.append(this.node);
  }

  set(rows, note = null) {
    this.rows = rows;
    if (note !== null) this.note.textContent = note;
    this.node.hidden = !rows.length && !this.wanted;
    this.draw();
  }

  draw() {
    const named = (row) =>
      this.columns.some(
        (one) =>
          !one.show &&
          String(row[one.key] ?? '')
            .toLowerCase()
            .includes(this.wanted),
      );
    let rows = this.wanted ? this.rows.filter(named) : this.rows;
    if (this.sorted) {
      const sign = this.down ? -1 : 1,
        key = this.sorted;
      const unknown = (value) => value === null || value === undefined || Number.isNaN(value);
      rows = [...rows].sort(({ [key]: a }, { [key]: b }) =>
        unknown(a) || unknown(b)
          ? unknown(a) - unknown(b)
          : typeof a === 'string'
            ? sign * (a < b ? -1 : a > b ? 1 : 0)
            : sign * (a - b),
      );
    }
    const empty = new Set(
      this.columns.filter((one) => this.rows.length && this.rows.every((row) => row[one.key] === undefined)),
    );
    this.columns.forEach((one, at) => {
      const cell = this.head.cells[at];
      cell.hidden = empty.has(one);
      if (one.key === this.sorted) cell.setAttribute('aria-sort', this.down ? 'descending' : 'ascending');
      else cell.removeAttribute('aria-sort');
    });
    const shown = document.createDocumentFragment();
    for (const row of rows.slice(0, this.most)) {
      const line = make('tr');
      this.columns.forEach((one, at) => {
        const cell = make(
          at ? 'td' : 'th',
          '',
          one.show || one.words.startsWith('band') ? 'n' : !at || one.key === 'path' ? 'path' : '',
        );
        if (!at) cell.scope = 'row';
        cell.hidden = empty.has(one);
        const value = row[one.key];
        const words = one.show
          ? value === undefined
            ? ''
            : orUnknown(value, one.show)
          : String(value ?? '');
        if (one.press && row.file !== null && row.file !== undefined) {
          const link = button(words, () => one.press(row), 'link');
          link.title = 'show it on the map';
          cell.append(link);
        } else cell.textContent = words;
        line.append(cell);
      });
      shown.append(line);
    }
    this.body.replaceChildren(shown);
    this.more.hidden = rows.length <= this.most;
    this.more.textContent = `${showCount(rows.length - this.most)} more rows`;
  }
}

// Beside what does not follow a selection: says so while there is one.
const ofAll = () => {
  const node = make('p', 'Of the whole run, whatever is selected.', 'note of-all');
  node.hidden = true;
  return node;
};

const listOf = (title, sentences, where, name = '') => {
  if (!sentences.length) return;
  const node = make('section'),
    list = make('ul', '', name);
  node.append(make('h2', title), ofAll(), list);
  for (const words of sentences) list.append(make('li', words));
  where.append(node);
};

const commandOf = (words) => {
  const node = make('div', '', 'command'),
    code = make('code', words);
  const copy = button('copy', async () => {
    try {
      await navigator.clipboard.writeText(words);
      copy.textContent = 'copied';
    } catch {
      // from file:// some browsers do not let a page copy: then it is selected
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      copy.textContent = 'selected';
    }
    setTimeout(() => {
      copy.textContent = 'copy';
    }, 1500);
  });
  copy.setAttribute('aria-label', `copy ${words}`);
  node.append(code, copy);
  return node;
};

const adviceOf = (trace, several, where) => {
  const findings = trace.findings,
    options = trace.advice;
  if (!findings.length && !options.length) return;
  const node = make('section');
  node.append(make('h2', `Findings and advice${several ? ` (${trace.name})` : ''}`), ofAll());
  for (const [words, remedy] of findings) {
    node.append(make('p', `${words[0].toUpperCase()}${words.slice(1)}.`));
    if (remedy) node.append(commandOf(remedy));
  }
  for (const one of options) {
    const saved =
      one.saves > 0
        ? `saves ${showPercent(one.saves)} on ${one.on} (${showSeconds(one.now_s)} -> ${showSeconds(one.then_s)}, projected)`
        : `no gain on ${one.on}`;
    node.append(
      make(
        'p',
        `${one.name[0].toUpperCase()}${one.name.slice(1)}: ${saved}${one.more ? `; ${one.more}` : ''}.`,
      ),
    );
    if (one.command) node.append(commandOf(one.command));
  }
  where.append(node);
};

// What is selected, added up: of reads by file, by structure, by device; requests.
const sumsOf = (owner, trace, box) => {
  const { layout, colouring, state, facts } = owner,
    kinds = facts.structures.length + 1;
  const sums = {
    reads: 0,
    bytes: 0,
    seeks: 0,
    took: 0,
    requests: null, // not known until the requests are unpacked
    asked: null,
    files: new Map(),
    structures: new Map(),
    devices: trace.lines.devices.map(() => 0),
  };
  const { devices, thin } = trace.lines;
  const inside = (table, row) => {
    if (colouring.slots[(colouring.codes(table)[row] >> colouring.shift) & colouring.mask] === HIDDEN)
      return false;
    const of = table.file[row],
      y = layout.base[of] + table.offset[row] * layout.scale[of];
    return y <= box.y1 && y + table.size[row] * layout.scale[of] >= box.y0;
  };
  const layer = trace.made.reads;
  if (layer && layer.raw) {
    const { raw: table, step } = layer,
      x = table[state.axis];
    const to = firstRow(x, box.x1);
    for (let row = firstRow(x, box.x0); row < to; row += 1) {
      if (!inside(table, row)) continue;
      const file = table.file[row],
        size = table.size[row] * step,
        seek = table.flags[row] & 4 ? step : 0;
      const took = table.seconds[table.took[row]] * step || 0;
      sums.reads += step;
      sums.bytes += size;
      sums.seeks += seek;
      sums.took += took;
      for (const [map, key] of [
        [sums.files, file],
        [sums.structures, file * kinds + table.structure[row]],
      ]) {
        let one = map.get(key);
        if (!one) map.set(key, (one = { reads: 0, bytes: 0, seeks: 0, took: 0 }));
        one.reads += step;
        one.bytes += size;
        one.seeks += seek;
        one.took += took;
      }
      if (row % thin === 0)
        devices.forEach((one, at) => {
          sums.devices[at] += one.seconds[one.codes[row / thin]];
        });
    }
  }
  const asked = trace.made.requests;
  if (asked && asked.raw) {
    const { raw: table, step } = asked,
      x = table[state.axis],
      to = firstRow(x, box.x1);
    sums.requests = sums.asked = 0;
    for (const one of sums.structures.values()) one.requests = 0;
    for (let row = firstRow(x, box.x0); row < to; row += 1) {
      if (!inside(table, row)) continue;
      sums.requests += step;
      sums.asked += table.size[row] * step;
      const of = sums.structures.get(table.file[row] * kinds + table.structure[row]);
      if (of) of.requests += step;
    }
  }
  return sums;
};
