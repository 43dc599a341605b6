// Mouse, fingers and keys on the map.

Object.assign(Page.prototype, {
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
  },
});
