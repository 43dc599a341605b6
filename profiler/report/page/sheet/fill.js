// The tables of the page: of all, or of what is selected.

Object.assign(Page.prototype, {
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
      if (trace.name === 'warm') continue; // a cold start is the question
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
          `${1 + trace.runs.slice(0, at).filter((one) => one.state === run.state).length}` +
          `${run.failed ? ' (FAILED)' : run.apart ? ' (stands apart)' : ''}`,
      })),
    );
    const medians = [...new Set(this.traces.flatMap((trace) => trace.medians))];
    new Table(
      'Untraced runs',
      [
        { key: 'run', words: 'run' },
        { key: 'wall_s', words: 'wall', show: showSeconds },
        { key: 'resident', words: 'resident before', show: showBytes },
        { key: 'device', words: 'read from device', show: showBytes },
        { key: 'exit', words: 'exit' },
      ],
      { where, note: [...medians, whole].join('; ') },
    ).set(runs);
  },

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
            ? ['reads', 'bytes', 'seeks', 'took', ...(trace.observed ? ['requests'] : [])]
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
    const note = sums ? 'of what is selected' : '',
      without = (names) => (sums ? `${note}; ${names} are known of the whole run only` : '');
    this.filesTable.set([...files.values()], without('unique bytes and shares'));
    this.structuresTable.set([...structures.values()], without('unique bytes and shares'));
    this.devicesTable.set([...devices.values()], without('bands, requests and whole starts'));
    for (const one of document.querySelectorAll('.of-all')) one.hidden = !selected;
    const node = document.getElementById('selection');
    if (!selected) {
      node.replaceChildren();
      return;
    }
    const lines = sums
      ? traces.map((trace, at) => {
          const { reads, bytes, seeks, took, requests, asked, files: of } = sums[at];
          const reached =
            requests === null
              ? 'device requests not known'
              : `${showPlural(requests, `${trace.observed ? '' : 'simulated '}device request`)}, ${showBytes(asked)}`;
          return (
            `${trace.name ? `${trace.name}: ` : 'Selected: '}${showPlural(reads, 'read')} of ${showPlural(of.size, 'file')}, ${showBytes(bytes)}, ` +
            `${showPlural(seeks, 'seek')}, ${showSeconds(took)} in the calls; ${reached}.`
          );
        })
      : ['Selected; the reads are still being unpacked.'];
    node.replaceChildren(
      ...lines.map((words) => make('p', words)),
      button('end the selection', () => this.select(null)),
      ' ',
      button('zoom to it', () => this.move(this.selected)),
    );
  },
});
