// The page: what is shown, and how it moves. The files below give it the rest of its methods.

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
    document.body.dataset.frame = this.lastFrame.toFixed(1); // for whoever measures the page
    document.body.dataset.view = Object.values(this.view)
      .map((edge) => edge.toPrecision(6))
      .join(' ');
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
}
