// Cost: cumulative seconds of waiting for each device, along the axis of the map.

const linesOf = async (cost, trace) => {
  const number = summed(await column(cost.number));
  const devices = [];
  for (const one of cost.devices) {
    const total = trace.devices.find((device) => device.device === one.device);
    const line = summed(await column(one.line));
    for (let at = 0; at < line.length; at += 1) line[at] *= total.seconds / 1e6;
    const codes = await column(one.codes);
    const seconds = Float64Array.from({ length: 256 }, (_, code) =>
      code ? cost.base ** (code - 1) * 1e-8 * one.scale : 0,
    );
    devices.push({ device: one.device, line, codes, seconds, total });
  }
  return { number, devices, thin: cost.thin };
};

// Where along the map's axis each point of the lines is.
const alongAxis = (lines, axis, reads) => {
  if (axis === 'number' || !reads || !reads.raw) return lines.number;
  const { time } = reads.raw,
    last = time.length - 1;
  return lines.number.map((number) => time[Math.min(Math.round(number / reads.step), last)]);
};

const valueAt = (xs, ys, x) => {
  const at = firstRow(xs, x);
  if (!xs.length) return 0;
  if (at === 0) return x < xs[0] ? 0 : ys[0];
  if (at === xs.length) return ys[at - 1];
  const part = (x - xs[at - 1]) / (xs[at] - xs[at - 1] || 1);
  return ys[at - 1] + part * (ys[at] - ys[at - 1]);
};

const drawLines = (canvas, owner, sides, off) => {
  const size = sized(canvas),
    { context } = size,
    box = boxOf(size),
    { view, colours } = owner;
  context.clearRect(0, 0, size.width, size.height);
  const shown = sides
    .flatMap((side, at) => side.lines.devices.map((one, slot) => ({ ...one, slot, at, xs: side.xs })))
    .filter((one) => !off.has(one.device));
  const ends = shown.map((one) => ({
    one,
    low: valueAt(one.xs, one.line, view.x0),
    high: valueAt(one.xs, one.line, view.x1),
  }));
  const spent = ends.map(
    (end) => (end.high - end.low) * (end.one.total.high_s / end.one.total.seconds || 1),
  );
  const most = Math.max(...spent, 0) || 1,
    least = Math.min(...spent.filter((value) => value > 0), most);
  const log = most > 20 * least;
  const floor = log ? least / 50 : 0;
  const place = (value) => (log ? Math.log10(Math.max(value, floor)) : value);
  const scale = {
    x0: view.x0,
    x1: view.x1,
    y0: log ? Math.log10(floor) : 0,
    y1: log ? Math.log10(most * 1.3) : most * 1.05,
  };
  const atX = (x) => box.x + ((x - scale.x0) / (scale.x1 - scale.x0)) * box.width;
  const atY = (value) =>
    box.y + box.height - ((place(value) - scale.y0) / (scale.y1 - scale.y0)) * box.height;
  context.save();
  context.beginPath();
  context.rect(box.x, box.y, box.width, box.height);
  context.clip();
  for (const { one, low } of ends) {
    const from = Math.max(firstRow(one.xs, view.x0) - 1, 0),
      to = Math.min(firstRow(one.xs, view.x1) + 2, one.xs.length);
    const along = (ratio) => {
      for (let at = from; at < to; at += 1)
        context.lineTo(atX(one.xs[at]), atY(Math.max(one.line[at] - low, 0) * ratio));
    };
    const { low_s: less, high_s: more, seconds } = one.total;
    context.fillStyle = context.strokeStyle = colours.kinds[one.slot % SLOTS];
    context.globalAlpha = 0.13;
    context.beginPath();
    along(more / seconds || 1);
    for (let at = to - 1; at >= from; at -= 1)
      context.lineTo(atX(one.xs[at]), atY(Math.max(one.line[at] - low, 0) * (less / seconds || 1)));
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 2;
    context.setLineDash(one.at ? [6, 4] : []);
    context.beginPath();
    along(1);
    context.stroke();
    context.setLineDash([]);
  }
  context.restore();
  const ys = log
    ? Array.from({ length: 24 }, (_, at) => at - 12)
        .filter((power) => power >= scale.y0 && power <= scale.y1)
        .map((power) => [power, showSeconds(10 ** power)])
    : ticksOf(0, scale.y1, box.height / 45);
  drawAxes(
    context,
    box,
    scale,
    colours,
    ticksOf(view.x0, view.x1, Math.max(box.width / 110, 2)),
    ys,
    owner.showX,
    showSeconds,
    owner.labelX(),
  );
  return ends.map(({ one, low, high }) => ({ one, seconds: high - low }));
};
