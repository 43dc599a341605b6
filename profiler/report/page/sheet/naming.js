// One mark in words, and from one to the next.

Object.assign(Page.prototype, {
  name(found) {
    this.hovered = found;
    for (const panel of this.panels) panel.overlay();
    document.getElementById('hover').textContent = found ? this.told(found) : '';
  },

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
  },

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
  },

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
  },

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
  },
});
