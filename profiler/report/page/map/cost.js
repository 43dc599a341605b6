// The devices of the page, and their lines.

Object.assign(Page.prototype, {
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
  },

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
  },
});
