// What stands above the map: verdict, bar, controls and legend.

Object.assign(Page.prototype, {
  head() {
    const one = (id, words, name) => document.getElementById(id).append(make('p', words, name));
    for (const trace of this.traces) {
      const alike = JSON.stringify(trace.about) === JSON.stringify(this.traces[0].about);
      if (!alike || trace === this.traces[0]) {
        const of = this.traces.length > 1 && !alike ? `${trace.name}: ` : '';
        for (const [label, words] of trace.about) one('about', `${of}${label} ${words}`, 'about path');
      }
    }
    for (const words of new Set(this.traces.flatMap((trace) => trace.warnings))) one('warnings', words, 'warning');
    const alone = this.traces.length === 1;
    for (const words of this.facts.headline) one('verdict', words, 'verdict');
    if (alone || !this.facts.headline.length)
      for (const trace of this.traces) for (const words of trace.verdict) one('verdict', words, 'verdict');
    for (const trace of this.traces) this.bar(trace);
    document.getElementById('time').append(ofAll());
  },

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
  },

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
  },

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
  },
});
