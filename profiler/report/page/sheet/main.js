// From the file to the screen.

Object.assign(Page.prototype, {
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
  },
});

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
