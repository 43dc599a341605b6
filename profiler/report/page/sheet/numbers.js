// Bytes, durations, counts and shares as text: the same words as profiler/units.py.

const three = (value) => {
  const digits = value >= 1 ? Math.max(0, 3 - String(Math.trunc(value)).length) : 2;
  const text = value.toFixed(digits);
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
};

const showBytes = (count) => {
  let value = Math.abs(count),
    unit = 0;
  while (Math.round(value) >= 1024 && unit < 5) {
    value /= 1024;
    unit += 1;
  }
  return `${count < 0 ? '-' : ''}${three(value)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'][unit]}`;
};

const showSeconds = (seconds) => {
  const sign = seconds < 0 ? '-' : '',
    value = Math.abs(seconds);
  if (value === 0) return '0 s';
  if (value < 0.9995e-6) return `${sign}${three(value * 1e9)} ns`;
  if (value < 0.9995e-3) return `${sign}${three(value * 1e6)} us`;
  if (value < 0.9995) return `${sign}${three(value * 1e3)} ms`;
  if (value < 179.5) return `${sign}${three(value)} s`;
  const minutes = Math.trunc(Math.round(value) / 60),
    rest = Math.round(value) % 60;
  if (minutes < 180) return sign + (rest ? `${minutes} min ${rest} s` : `${minutes} min`);
  const all = Math.round(value / 60);
  return sign + (all % 60 ? `${Math.trunc(all / 60)} h ${all % 60} min` : `${all / 60} h`);
};

const showCount = (count) => String(Math.round(count)).replace(/\B(?=(\d{3})+(?!\d))/g, ',');

const showPercent = (ratio) => {
  if (ratio >= 0.9995 && ratio < 1) return '>99.9%';
  if (ratio > 0 && ratio < 0.0005) return '<0.1%';
  return ratio === 0 || ratio === 1 ? `${100 * ratio}%` : `${(100 * ratio).toFixed(1)}%`;
};

const showPlural = (count, noun) => `${showCount(count)} ${noun}${count === 1 ? '' : 's'}`;

const orUnknown = (value, show) =>
  value === null || value === undefined || Number.isNaN(value) ? 'not known' : show(value);
