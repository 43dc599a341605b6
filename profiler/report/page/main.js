// The page: unpack, draw, and answer to the mouse, the keys and fingers.

class Page {
  constructor(facts) {
    this.facts = facts;
    this.traces = facts.traces;
    this.state = { file: -1, axis: 'time', by: 'structure', layers: ['reads'], selecting: false };
    this.off = new Set();
    this.offDevices = new Set();
    this.selected = this.dragged = this.hovered = null;
    this.showX = (value) => (this.state.axis === 'time' ? showSeconds(value) : showCount(value));
    const focus = this.traces[0].focus;
    if (focus !== null && focus !== undefined && facts.files.high[focus] > facts.files.low[focus])
      this.state.file = focus;
  }

  labelX() {
    return this.state.axis === 'time' ? 'time' : 'number of the read';
  }

  described() {
    const { state, facts } = this;
    const what = state.file >= 0 ? `offset in ${facts.files.name[state.file]}` : 'all files, stacked';
    return `${state.layers.map((name) => LAYERS[name]).join(', ')}: ${what} against ${this.labelX()}, coloured by ${BY[state.by].name}`;
  }

  // ---- what is shown ------------------------------------------------------------------------------------

  everyLayer() {
    return this.traces.flatMap((trace) => this.state.layers.map((name) => trace.made[name])).filter(Boolean);
  }

  home() {
    const { layout, state } = this;
    let low = Infinity,
      high = -Infinity;
    for (const layer of this.traces.flatMap((trace) => Object.values(trace.made))) {
      const table = layer.raw || layer.levels[0];
      if (!table || !table.rows) continue;
      low = Math.min(low, table[state.axis][0]);
      high = Math.max(high, table[state.axis][table.rows - 1]);
    }
    if (!(high > low)) {
      low = Number.isFinite(low) ? low : 0;
      high = low + 1e-6;
    }
    const margin = (high - low) * 0.01;
    return { x0: Math.max(low - margin, -margin), x1: high + margin, y0: layout.low, y1: layout.high };
  }

  // All that depends on the file, the axis, the layers and the colours; `again`: from the whole view on.
  relay(again) {
    this.layout = layoutOf(this.facts.files, this.state.file);
    this.colouring = colouringOf(this.facts, this.everyLayer(), this.state.by, this.off);
    this.whole = this.home();
    if (again || !this.view) this.view = { ...this.whole };
    for (const trace of this.traces)
      if (trace.lines) trace.xs = alongAxis(trace.lines, this.state.axis, trace.made.reads);
    this.legend();
  }

  recolour() {
    this.colours = theme();
    this.palette = paletteOf(this.colours);
  }

  draw() {
    const began = performance.now();
    for (const panel of this.panels) panel.draw();
    if (this.costCanvas) this.drawCost();
    this.lastFrame = performance.now() - began;
    document.body.dataset.frame = this.lastFrame.toFixed(1);
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  move(view) {
    const { whole } = this,
      wide = whole.x1 - whole.x0,
      tall = whole.y1 - whole.y0;
    const held = (low, high, from, to, least) => {
      let span = Math.min(Math.max(high - low, least), to - from);
      let start = (low + high) / 2 - span / 2;
      start = Math.min(Math.max(start, from), to - span);
      return [start, start + span];
    };
    const [x0, x1] = held(view.x0, view.x1, whole.x0, whole.x1, wide * 1e-8);
    const [y0, y1] = held(view.y0, view.y1, whole.y0, whole.y1, tall * 1e-10);
    this.view = { x0, x1, y0, y1 };
    this.later();
  }

  // Zoom about a place; factors below 1 come nearer.
  zoom(factorX, factorY, x, y) {
    const { view } = this;
    const near = (low, high, at, factor) => [at - (at - low) * factor, at + (high - at) * factor];
    const [x0, x1] = near(view.x0, view.x1, x ?? (view.x0 + view.x1) / 2, factorX);
    const [y0, y1] = near(view.y0, view.y1, y ?? (view.y0 + view.y1) / 2, factorY);
    this.move({ x0, x1, y0, y1 });
  }

  pan(x, y) {
    const { view, whole } = this;
    const dx = Math.min(Math.max(x, whole.x0 - view.x0), whole.x1 - view.x1);
    const dy = Math.min(Math.max(y, whole.y0 - view.y0), whole.y1 - view.y1);
    this.move({ x0: view.x0 + dx, x1: view.x1 + dx, y0: view.y0 + dy, y1: view.y1 + dy });
  }

  select(box) {
    this.selected = box;
    this.fill();
    for (const panel of this.panels) panel.overlay();
  }

  show(file) {
    this.state.file = file;
    this.fileChoice.value = String(file);
    this.selected = null;
    this.relay(true);
    this.fill();
    this.later();
  }

  // ---- words --------------------------------------------------------------------------------------------

  head() {
    const one = (id, words, name) => document.getElementById(id).append(make('p', words, name));
    for (const trace of this.traces) {
      for (const [label, words] of trace.about)
        one('about', `${trace.name ? `${trace.name}: ` : ''}${label} ${words}`, 'about path');
      for (const words of trace.warnings) one('warnings', words, 'warning');
    }
    const alone = this.traces.length === 1;
    for (const words of this.facts.headline) one('verdict', words, 'verdict');
    if (alone || !this.facts.headline.length)
      for (const trace of this.traces) for (const words of trace.verdict) one('verdict', words, 'verdict');
    for (const trace of this.traces) this.bar(trace);
  }

  bar(trace) {
    const parts = (trace.time || []).filter(([, seconds]) => seconds > 0),
      all = parts.reduce((sum, [, seconds]) => sum + seconds, 0);
    if (!all) return;
    const bar = make('div', '', 'bar'),
      legend = make('p', '', 'bar-legend');
    bar.setAttribute('aria-hidden', 'true');
    if (trace.name) legend.append(make('span', trace.name));
    for (const [name, seconds] of parts) {
      const piece = make('i', '', name.replace(' ', '-')),
        words = make('span');
      piece.style.width = `${(100 * seconds) / all}%`;
      words.append(
        make('i', '', name.replace(' ', '-')),
        `${name} ${showSeconds(seconds)} (${seconds / all < 0.01 ? '<1%' : `${Math.round((100 * seconds) / all)}%`})`,
      );
      bar.append(piece);
      legend.append(words);
    }
    document.getElementById('time').append(bar, legend);
    if (trace.waited_for.length) {
      document
        .getElementById('time')
        .append(
          make(
            'p',
            `Other: waited for ${trace.waited_for.map(([what, seconds]) => `${what} ${showSeconds(seconds)}`).join(', ')}.`,
            'note',
          ),
        );
    }
  }

  controls() {
    const form = document.getElementById('controls'),
      { files } = this.facts;
    form.addEventListener('submit', (event) => event.preventDefault());
    const choice = (words, options, value, changed) => {
      const label = make('label', words),
        node = make('select');
      for (const [key, shown] of options) {
        const option = make('option', shown);
        option.value = key;
        node.append(option);
      }
      node.value = value;
      node.addEventListener('change', () => changed(node.value));
      label.append(node);
      form.append(label);
      return node;
    };
    const order = [...files.name.keys()]
      .filter((at) => files.touched[at])
      .sort((a, b) => files.touched[b] - files.touched[a]);
    this.fileChoice = choice(
      'offset of',
      [
        ['-1', `all files, stacked (${showCount(order.length)})`],
        ...order.slice(0, 500).map((at) => [String(at), files.name[at]]),
      ],
      String(this.state.file),
      (value) => this.show(Number(value)),
    );
    choice(
      'against',
      [
        ['time', 'time'],
        ['number', 'number of the read'],
      ],
      this.state.axis,
      (value) => {
        this.state.axis = value;
        this.selected = null;
        this.relay(true);
        this.fill();
        this.later();
      },
    );
    choice(
      'colour by',
      Object.entries(BY).map(([key, { name }]) => [key, name]),
      this.state.by,
      (value) => {
        this.state.by = value;
        this.off.clear();
        this.relay(false);
        this.later();
      },
    );
    const set = make('fieldset');
    set.append(make('legend', 'layers'));
    for (const [name, words] of Object.entries(LAYERS)) {
      if (!this.traces.some((trace) => trace.layers[name])) continue;
      const label = make('label'),
        box = make('input');
      Object.assign(box, { type: 'checkbox', checked: this.state.layers.includes(name), value: name });
      box.addEventListener('change', () => {
        this.state.layers = [...set.querySelectorAll('input')]
          .filter((one) => one.checked)
          .map((one) => one.value);
        this.relay(false);
        this.fill();
        this.later();
      });
      const simulated = name === 'requests' && !this.traces[0].observed ? ' (simulated)' : '';
      label.append(box, words + simulated);
      set.append(label);
    }
    form.append(set);
    this.mode = button(
      'select',
      () => {
        this.state.selecting = !this.state.selecting;
        this.mode.setAttribute('aria-pressed', String(this.state.selecting));
      },
      'mode',
    );
    this.mode.setAttribute('aria-pressed', 'false');
    this.mode.title = 'drag selects a box';
    const step = (words, label, press) => {
      const node = button(words, press);
      node.setAttribute('aria-label', label);
      return node;
    };
    form.append(
      step('+', 'zoom in', () => this.zoom(0.6, 0.6)),
      step('\u2212', 'zoom out', () => this.zoom(1 / 0.6, 1 / 0.6)),
      button('show all', () => this.move(this.whole)),
      this.mode,
      button('select the view', () => this.select({ ...this.view })),
    );
  }

  legend() {
    const node = document.getElementById('legend');
    node.replaceChildren(
      ...this.colouring.kinds.map((kind) => {
        const one = button('', () => {
          if (this.off.has(kind.key)) this.off.delete(kind.key);
          else this.off.add(kind.key);
          this.relay(false);
          this.fill();
          this.later();
        });
        const mark = make('i');
        mark.style.background = this.colours.kinds[kind.slot];
        one.append(mark, kind.words, make('small', showCount(kind.count)));
        one.setAttribute('aria-pressed', String(!this.off.has(kind.key)));
        return one;
      }),
    );
  }

  // ---- cost ---------------------------------------------------------------------------------------------

  costs() {
    const node = document.getElementById('devices'),
      names = this.traces[0].cost.devices.map((one) => one.device);
    const drawButtons = () =>
      node.replaceChildren(
        ...names.map((name, slot) => {
          const one = button('', () => {
            if (this.offDevices.has(name)) this.offDevices.delete(name);
            else this.offDevices.add(name);
            drawButtons();
            this.later();
          });
          const mark = make('i');
          mark.style.background = this.colours.kinds[slot % SLOTS];
          one.append(mark, name, make('small', ''));
          one.setAttribute('aria-pressed', String(!this.offDevices.has(name)));
          return one;
        }),
      );
    drawButtons();
    this.drawDevices = drawButtons;
    const plot = make('div', '', 'plot lines');
    this.costCanvas = make('canvas');
    this.costCanvas.setAttribute('role', 'img');
    plot.append(this.costCanvas);
    document.getElementById('cost').append(plot);
  }

  drawCost() {
    const sides = this.traces.filter((trace) => trace.lines && trace.lines.number.length);
    this.costCanvas.parentNode.hidden = !sides.length;
    if (!sides.length) return;
    const spent = drawLines(this.costCanvas, this, sides, this.offDevices);
    const words = spent.map(
      ({ one, seconds }) =>
        `${one.device}${sides.length > 1 ? ` (${sides[one.at].name})` : ''} ${showSeconds(seconds)}`,
    );
    this.costCanvas.setAttribute(
      'aria-label',
      `Projected waiting for each device within the view: ${words.join(', ')}`,
    );
    for (const one of document.getElementById('devices').children) {
      const name = one.childNodes[1].textContent;
      one.lastChild.textContent = spent
        .filter((end) => end.one.device === name)
        .map((end) => showSeconds(end.seconds))
        .join(' / ');
    }
    document.getElementById('cost-note').textContent =
      'What a cold start would wait for each device, projected, added up over the reads ' +
      `of all files from the left edge of the map on; shaded: the band${sides.length > 1 ? `; dashed: ${sides[1].name}` : ''}.`;
  }

  // ---- tables -------------------------------------------------------------------------------------------

  tables() {
    const where = document.getElementById('tables'),
      several = this.traces.length > 1;
    const unseen = this.traces.flatMap((trace) => {
      const of = several ? `${trace.name}: ` : '';
      return [
        ...trace.warnings.map((words) => of + words),
        ...(trace.unseen.length
          ? trace.unseen.map((words) => `${of}not seen: ${words}`)
          : [`${of}not seen: nothing that the tracer knows of`]),
        ...trace.notes.map((words) => of + words),
        ...Object.entries(trace.layers)
          .filter(([, one]) => one.step > 1)
          .map(
            ([name, one]) =>
              `${of}of ${LAYERS[name]} this page keeps one mark in ${one.step}; ` +
              'densities count all, sums over a selection are of those kept, times as many',
          ),
      ];
    });
    listOf('What is missing', [...new Set(unseen)], where);
    const columns = (list) =>
      list.flatMap(({ key, words, show }) =>
        this.traces.map((trace, at) => ({
          key: `${key}${at}`,
          show,
          words: several ? `${words} (${trace.name})` : words,
        })),
      );
    const numbers = [
      { key: 'reads', words: 'reads', show: showCount },
      { key: 'bytes', words: 'bytes', show: showBytes },
      { key: 'unique_bytes', words: 'unique', show: showBytes },
      { key: 'seeks', words: 'seeks', show: showCount },
    ];
    const onMap = (row) => {
      this.show(row.file);
      document.getElementById('map-title').scrollIntoView();
    };
    const took = { key: 'took', words: 'took', show: showSeconds };
    this.filesTable = new Table(
      'Files',
      [
        { key: 'path', words: 'file', press: onMap },
        { key: 'role', words: 'role' },
        ...columns(numbers),
        ...columns([{ key: 'share', words: 'share of the cost', show: showPercent }, took]),
      ],
      { filter: 'filter files', where },
    );
    this.structuresTable = new Table(
      'Structures',
      [
        { key: 'kind', words: 'structure' },
        { key: 'path', words: 'of', press: onMap },
        ...columns(numbers),
        ...columns([
          { key: 'requests', words: 'requests', show: showCount },
          { key: 'hdd_share', words: 'HDD time', show: showPercent },
          took,
        ]),
      ],
      { filter: 'filter structures', where },
    );
    const whole = 'of the whole run, whatever is selected';
    for (const trace of this.traces) {
      const waited = trace.costs.every((one) => one.observed) ? 'waited' : 'projected';
      new Table(
        `What costs most${several ? ` (${trace.name})` : ''}`,
        [
          { key: 'what', words: 'what', press: onMap },
          { key: 'how', words: 'how' },
          { key: 'requests', words: 'requests', show: showCount },
          { key: 'bytes', words: 'bytes', show: showBytes },
          { key: 'waited_s', words: waited, show: showSeconds },
        ],
        { where, note: whole },
      ).set(trace.costs);
    }
    for (const trace of this.traces) adviceOf(trace, several, where);
    this.devicesTable = new Table(
      'Devices',
      [
        { key: 'device', words: 'device' },
        { key: 'title', words: 'what it is' },
        ...columns([
          { key: 'seconds', words: 'waits', show: showSeconds },
          { key: 'band', words: 'band' },
          { key: 'requests', words: 'requests', show: showCount },
          { key: 'sequential_s', words: 'in one piece', show: showSeconds },
          { key: 'start_s', words: 'whole start', show: showSeconds },
        ]),
      ],
      { where },
    );
    const runs = this.traces.flatMap((trace) =>
      trace.runs.map((run, at) => ({
        ...run,
        run:
          `${several ? `${trace.name}: ` : ''}${run.state} ` +
          `${1 + trace.runs.slice(0, at).filter((one) => one.state === run.state).length}${run.failed ? ' (FAILED)' : ''}`,
      })),
    );
    new Table(
      'Untraced runs',
      [
        { key: 'run', words: 'run' },
        { key: 'wall_s', words: 'wall', show: showSeconds },
        { key: 'resident', words: 'resident before', show: showBytes },
        { key: 'device', words: 'read from device', show: showBytes },
        { key: 'exit', words: 'exit' },
      ],
      { where, note: whole },
    ).set(runs);
  }

  // The tables of what is selected, or of all.
  fill() {
    const { traces, facts, selected } = this,
      kinds = facts.structures.length + 1;
    const sums =
      selected && traces.every((trace) => !trace.made.reads || trace.made.reads.raw)
        ? traces.map((trace) => sumsOf(this, trace, selected))
        : null;
    const files = new Map(),
      structures = new Map(),
      devices = new Map();
    traces.forEach((trace, at) => {
      const row = (map, key, facts) => {
        if (!map.has(key)) map.set(key, facts);
        return map.get(key);
      };
      const put = (to, from, names) => {
        for (const name of names) to[`${name}${at}`] = from[name];
      };
      for (const one of trace.files) {
        const found = sums ? sums[at].files.get(one.file) : null;
        if (sums && !found) continue;
        const { file, path, role } = one;
        put(
          row(files, one.file ?? path, { file, path, role }),
          sums ? found : one,
          sums ? ['reads', 'bytes', 'seeks', 'took'] : ['reads', 'bytes', 'unique_bytes', 'seeks', 'share'],
        );
      }
      for (const one of trace.structures) {
        const found = sums
          ? sums[at].structures.get(one.file * kinds + facts.structures.indexOf(one.kind) + 1)
          : null;
        if (sums && !found) continue;
        const { file, path, kind } = one;
        put(
          row(structures, `${one.file} ${kind}`, { file, path, kind }),
          sums ? found : one,
          sums
            ? ['reads', 'bytes', 'seeks', 'took']
            : ['reads', 'bytes', 'unique_bytes', 'seeks', 'requests', 'hdd_share'],
        );
      }
      trace.devices.forEach((one, which) => {
        const to = row(devices, one.device, {
          device: one.device,
          title: one.title + (one.at_least ? ' (at least)' : ''),
        });
        if (sums) to[`seconds${at}`] = sums[at].devices[which];
        else put(to, one, ['seconds', 'requests', 'sequential_s', 'start_s']);
        if (!sums) to[`band${at}`] = `${showSeconds(one.low_s)} to ${showSeconds(one.high_s)}`;
      });
    });
    const note = sums ? 'of what is selected' : '';
    this.filesTable.set([...files.values()], note);
    this.structuresTable.set([...structures.values()], note);
    this.devicesTable.set([...devices.values()], note);
    const node = document.getElementById('selection');
    if (!selected) {
      node.replaceChildren();
      return;
    }
    const lines = sums
      ? traces.map((trace, at) => {
          const { reads, bytes, seeks, took, requests, asked, files: of } = sums[at];
          return (
            `${trace.name ? `${trace.name}: ` : 'Selected: '}${showPlural(reads, 'read')} of ${showPlural(of.size, 'file')}, ${showBytes(bytes)}, ` +
            `${showPlural(seeks, 'seek')}, ${showSeconds(took)} in the calls; ${showPlural(requests, 'device request')}, ${showBytes(asked)}.`
          );
        })
      : ['Selected; the reads are still being unpacked.'];
    node.replaceChildren(
      ...lines.map((words) => make('p', words)),
      button('end the selection', () => this.select(null)),
      ' ',
      button('zoom to it', () => this.move(this.selected)),
    );
  }

  // ---- one mark -----------------------------------------------------------------------------------------

  name(found) {
    this.hovered = found;
    for (const panel of this.panels) panel.overlay();
    document.getElementById('hover').textContent = found ? this.told(found) : '';
  }

  told({ panel, layer, table, row, x }) {
    const { facts } = this,
      { trace } = panel,
      of = table.file[row];
    const offset = table.offset[row],
      structure = table.structure[row];
    const took = table.seconds[table.took[row]],
      words = [];
    const what = { reads: 'read', cache: 'brought into the cache', requests: 'request' }[layer.name];
    words.push(
      `${trace.name ? `${trace.name}: ` : ''}${what} ${layer.name === 'reads' ? `${showCount(table.number[row] + 1)} of ${showCount(layer.all)}` : ''}`.trim(),
    );
    words.push(
      facts.files.full[of],
      `offset ${showCount(offset)}${table.unit > 1 ? ' (about)' : ''}`,
      showBytes(table.size[row]),
    );
    if (structure) words.push(facts.structures[structure - 1]);
    const guest = this.guestOf(trace, of, offset);
    if (guest !== null) words.push(`guest offset ${showCount(guest)}`);
    if (layer.name !== 'requests') words.push(facts.threads[table.thread[row]]);
    words.push(facts.ops[table.op[row]], `at ${showSeconds(table.time[row])}`);
    words.push(`${layer.name === 'requests' ? 'waited for' : 'took'} ${orUnknown(took, showSeconds)}`);
    if (layer.name === 'reads') {
      words.push(ANSWERS[table.flags[row] & 3]);
      const request = this.requestOf(trace, table, row);
      if (request) words.push(request);
    }
    if (table.count && table.count[row] > 1)
      words.push(`one of ${showCount(table.count[row])} like it here`);
    return words.filter(Boolean).join(' \u00b7 ');
  }

  guestOf(trace, file, offset) {
    const places = trace.places;
    if (!places) return null;
    let low = firstRow(places.file, file),
      high = firstRow(places.file, file + 1);
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places.start[middle] <= offset) low = middle + 1;
      else high = middle;
    }
    const at = low - 1;
    if (at < 0 || places.file[at] !== file || offset >= places.start[at] + places.size[at]) return null;
    return places.guest[at] + offset - places.start[at];
  }

  // The newest request that began before the read ended and covers its first byte.
  requestOf(trace, table, row) {
    const layer = trace.made.requests;
    if (!layer || !layer.raw || (table.flags[row] & 3) === 0) return '';
    const { raw } = layer,
      offset = table.offset[row],
      file = table.file[row];
    const end = table.time[row] + (table.seconds[table.took[row]] || 0) * 1.01 + 2e-6;
    for (let at = firstRow(raw.time, end) - 1; at >= 0; at -= 1) {
      if (raw.file[at] !== file || raw.offset[at] > offset || raw.offset[at] + raw.size[at] <= offset)
        continue;
      return (
        `served by a request of ${showBytes(raw.size[at])} at ${showSeconds(raw.time[at])}, waited for ${orUnknown(raw.seconds[raw.took[at]], showSeconds)}` +
        (trace.observed ? '' : ' (simulated)')
      );
    }
    return '';
  }

  // The next mark in view, or the one before.
  next(panel, step) {
    const layer = panel.layers()[0],
      table = layer && (layer.raw || layer.levels.at(-1));
    if (!table) return;
    const { view, layout, colouring, state } = this,
      x = table[state.axis];
    let row =
      this.hovered && this.hovered.table === table
        ? this.hovered.row + step
        : step > 0
          ? firstRow(x, view.x0)
          : firstRow(x, view.x1) - 1;
    for (; row >= 0 && row < table.rows; row += step) {
      if (x[row] < view.x0 || x[row] > view.x1) break;
      const y = layout.base[table.file[row]] + table.offset[row] * layout.scale[table.file[row]];
      const slot = colouring.slots[(colouring.codes(table)[row] >> colouring.shift) & colouring.mask];
      if (slot !== HIDDEN && y >= view.y0 && y <= view.y1) {
        this.name({ panel, layer, table, row, x: x[row], y });
        return;
      }
    }
  }

  // ---- mouse, fingers, keys -----------------------------------------------------------------------------

  listen(panel) {
    const { over } = panel,
      held = new Map();
    const at = (event) => {
      const box = over.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    let from = null,
      view = null;
    const begin = () => {
      from = [...held.values()].map((point) => [...point]);
      view = { ...this.view };
    };
    over.addEventListener(
      'wheel',
      (event) => {
        event.preventDefault();
        const [px, py] = at(event),
          factor = Math.exp(Math.max(Math.min(event.deltaY || event.deltaX, 240), -240) * 0.0022);
        this.zoom(event.shiftKey ? 1 : factor, event.altKey ? 1 : factor, panel.fromX(px), panel.fromY(py));
      },
      { passive: false },
    );
    over.addEventListener('pointerdown', (event) => {
      over.setPointerCapture(event.pointerId);
      held.set(event.pointerId, at(event));
      this.boxing = held.size === 1 && (event.shiftKey || this.state.selecting);
      begin();
    });
    over.addEventListener('pointermove', (event) => {
      const point = at(event);
      if (!held.has(event.pointerId)) {
        this.name(panel.near(...point));
        return;
      }
      held.set(event.pointerId, point);
      const now = [...held.values()],
        { width, height } = panel.box;
      if (this.boxing) {
        const [a, b] = [from[0], point];
        this.dragged = {
          x0: panel.fromX(Math.min(a[0], b[0])),
          x1: panel.fromX(Math.max(a[0], b[0])),
          y0: panel.fromY(Math.max(a[1], b[1])),
          y1: panel.fromY(Math.min(a[1], b[1])),
        };
        for (const one of this.panels) one.overlay();
      } else if (now.length === 1) {
        this.view = { ...view };
        this.pan(
          (-(point[0] - from[0][0]) / width) * (view.x1 - view.x0),
          ((point[1] - from[0][1]) / height) * (view.y1 - view.y0),
        );
      } else if (from.length > 1) {
        const apart = ([a, b], axis) => Math.max(Math.abs(a[axis] - b[axis]), 40),
          middle = ([a, b], axis) => (a[axis] + b[axis]) / 2;
        this.view = { ...view };
        const x = panel.fromX(middle(from, 0)),
          y = panel.fromY(middle(from, 1));
        this.zoom(apart(from, 0) / apart(now, 0), apart(from, 1) / apart(now, 1), x, y);
        this.pan(
          (-(middle(now, 0) - middle(from, 0)) / width) * (this.view.x1 - this.view.x0),
          ((middle(now, 1) - middle(from, 1)) / height) * (this.view.y1 - this.view.y0),
        );
      }
    });
    const end = (event) => {
      if (!held.delete(event.pointerId)) return;
      const box = this.dragged;
      this.dragged = null;
      if (this.boxing && box) this.select(box);
      this.boxing = false;
      if (held.size) begin();
      else if (
        from &&
        event.type === 'pointerup' &&
        Math.hypot(at(event)[0] - from[0][0], at(event)[1] - from[0][1]) < 4
      )
        this.name(panel.near(...at(event), 20));
    };
    over.addEventListener('pointerup', end);
    over.addEventListener('pointercancel', end);
    over.addEventListener('pointerleave', () => {
      if (!held.size) this.name(null);
    });
    over.addEventListener('dblclick', () => this.move(this.whole));
    over.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const { x0, x1, y0, y1 } = this.view,
        wide = (x1 - x0) * 0.15,
        tall = (y1 - y0) * 0.15;
      const act = {
        ArrowLeft: () => this.pan(-wide, 0),
        ArrowRight: () => this.pan(wide, 0),
        ArrowUp: () => this.pan(0, tall),
        ArrowDown: () => this.pan(0, -tall),
        '+': () => this.zoom(0.6, 0.6),
        '=': () => this.zoom(0.6, 0.6),
        '-': () => this.zoom(1 / 0.6, 1 / 0.6),
        0: () => this.move(this.whole),
        Home: () => this.move(this.whole),
        n: () => this.next(panel, 1),
        p: () => this.next(panel, -1),
        s: () => this.select({ ...this.view }),
        Escape: () => {
          this.select(null);
          this.name(null);
        },
      }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
  }

  // ---- from the file to the screen ----------------------------------------------------------------------

  async open() {
    const { facts, traces } = this,
      fileCount = facts.files.name.length;
    for (const trace of traces) {
      trace.made = {};
      for (const [name, layer] of Object.entries(trace.layers))
        trace.made[name] = new Layer(name, layer, fileCount);
    }
    if (!traces.some((trace) => trace.made.reads)) this.state.layers = ['requests'];
    if (!facts.structures.some(Boolean))
      this.state.by = traces.some((trace) => trace.observed) ? 'answer' : 'file';
    this.recolour();
    this.head();
    for (const trace of traces)
      for (const name of this.state.layers) if (trace.made[name]) await trace.made[name].begin();
    document.getElementById('loading').hidden = true;
    document.querySelector('main').hidden = false;
    const where = document.getElementById('panels');
    where.classList.toggle('two', traces.length > 1);
    this.panels = traces.map((trace, at) => new Panel(this, trace, at));
    where.append(...this.panels.map((panel) => panel.node));
    this.relay(true);
    this.controls();
    this.draw();
    document.body.dataset.drawn = performance.now().toFixed(0);
    for (const panel of this.panels) this.listen(panel);
    await new Promise((done) => {
      requestAnimationFrame(() => setTimeout(done));
    });
    for (const trace of traces) trace.lines = await linesOf(trace.cost, trace);
    this.tables();
    this.costs();
    this.fill();
    for (const trace of traces) {
      for (const layer of Object.values(trace.made)) await layer.finish();
      for (const name of ['cache', 'requests'])
        if (trace.made[name] && trace.made.reads) trace.made[name].numberBy(trace.made.reads);
      if (trace.guests) {
        const [file, start, size, guest] = await Promise.all(
          ['file', 'start', 'size', 'guest'].map((name) => column(trace.guests[name])),
        );
        trace.places = { file, start: summed(start), size, guest: summed(guest) };
      }
    }
    this.relay(JSON.stringify(this.view) === JSON.stringify(this.whole));
    if (this.selected) this.fill();
    this.draw();
    new ResizeObserver(() => this.later()).observe(document.body);
    const again = () => {
      this.recolour();
      this.legend();
      this.drawDevices();
      this.draw();
    };
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
    const print = (on) => () => {
      document.documentElement.toggleAttribute('data-print', on);
      again();
    };
    addEventListener('beforeprint', print(true));
    addEventListener('afterprint', print(false));
    document.body.dataset.ready = performance.now().toFixed(0);
  }
}

(async () => {
  try {
    await new Page(await factsOf(Number(document.body.dataset.facts))).open();
  } catch (error) {
    const node = document.getElementById('loading');
    node.hidden = false;
    node.textContent = `This page could not be unpacked: ${error.message}. It needs a browser of 2023 or later.`;
    throw error;
  }
})();
