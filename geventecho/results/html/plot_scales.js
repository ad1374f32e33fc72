// Axes, units and colours of the plots: pure functions.
window.TcpPlotScales = (() => {
  "use strict";

  // Units of an axis. Each unit has its size in the unit of the values.
  const TIME = [[1e6, " s"], [1e3, " ms"], [1, " \u00b5s"]];
  const COUNT = [[1e6, " M"], [1e3, " k"], [1, ""]];
  const PER_SECOND = [[1e6, " M/s"], [1e3, " k/s"], [1, "/s"]];
  const BYTES_PER_SECOND = [[1e9, " GB/s"], [1e6, " MB/s"], [1e3, " kB/s"], [1, " B/s"]];
  const SHARE = [[0.01, " %"]];

  const SECONDS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400];
  const TAIL = 0.025; // the probability on each side of a 95 % interval
  const LEAST_SHARE = 1e-4; // this share and smaller ones have the faintest colour of the heat map
  const BINS_PER_DECADE = 20;

  // The texts of the ticks. On a linear axis all ticks have one unit: the largest of which a step is at least a half. On
  // a logarithmic axis each tick has its own unit.
  function ticks(values, units, isLogarithmic) {
    const unitOf = (value) => units.find(([size]) => value >= size * 0.9999) ?? units.at(-1);
    const common = unitOf(Math.min(values.at(-1), 2 * (values[1] - values[0])));
    return values.map((value) => {
      const [size, unit] = isLogarithmic ? unitOf(value) : common;
      return `${Number((value / size).toPrecision(6))}${unit}`;
    });
  }

  // A moment of the test: "12 s", or "1:05" and "1:00:05" on an axis of more than a minute and a half.
  function moment(seconds, end) {
    if (end <= 90) return `${Number(seconds.toFixed(1))} s`;
    const whole = Math.round(seconds);
    const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
    const two = (number) => String(number).padStart(2, "0");
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  }

  // The range of a logarithmic axis, extended to 1, 2 or 5 times a power of ten.
  function logarithmicRange(low, high) {
    const power = (value) => 10 ** Math.floor(Math.log10(value) + 1e-9);
    const below = [5, 2, 1].find((factor) => factor * power(low) <= low * 1.0001) * power(low);
    const above = [1, 2, 5, 10].find((factor) => factor * power(high) >= high * 0.9999) * power(high);
    return above > below * 1.01 ? [below, above] : [below / 2, above * 2];
  }

  // 1, 2 and 5 times each power of ten in a range; only the powers if there are more than `most` ticks.
  function logarithmicTicks(low, high, most) {
    const found = [];
    for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
      found.push(power, 2 * power, 5 * power);
    }
    const inside = found.filter((value) => value >= low * 0.9999 && value <= high * 1.0001);
    const isPower = (value) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-6;
    return inside.length <= most ? inside : inside.filter(isPower);
  }

  // The smallest number of samples in which a pair encloses a percentile with 95 % confidence, see
  // geventecho/results/intervals.py.
  function fewest(share) {
    return Math.ceil(Math.log(TAIL) / Math.log(share));
  }

  // The highest share for which this many samples give a percentile.
  function highest(samples) {
    return samples ? TAIL ** (1 / samples) : 0;
  }

  // The place of a percentile on the axis 1/(1-q): 90 % is at 1, 99 % at 2. The largest of n samples is at log10(n).
  function nines(percent, samples) {
    return percent < 100 ? -Math.log10(1 - percent / 100) : Math.log10(Math.max(samples, 1));
  }

  function percentAt(place) {
    return 100 * (1 - 10 ** -place);
  }

  // The text is rounded down: 99.96 % must not become 100 %.
  function percentText(percent) {
    const digits = percent < 90 ? 1 : Math.min(6, Math.ceil(-Math.log10(1 - percent / 100)) - 1);
    return `${Math.floor(percent * 10 ** digits + 1e-6) / 10 ** digits} %`;
  }

  // Converts lightness, chroma and hue of OKLab (Ottosson 2020) to bytes of sRGB.
  function srgb(lightness, chroma, hue) {
    const a = chroma * Math.cos((hue * Math.PI) / 180);
    const b = chroma * Math.sin((hue * Math.PI) / 180);
    const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
    return [
      4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
      -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
      -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
    ].map((part) => {
      const bounded = Math.min(Math.max(part, 0), 1);
      return Math.round(255 * (bounded <= 0.0031308 ? 12.92 * bounded : 1.055 * bounded ** (1 / 2.4) - 0.055));
    });
  }

  // 256 colours; the first is the nearest to the background. The lightness in OKLab changes in equal steps.
  function palette(isDark) {
    return Array.from({ length: 256 }, (_, index) => {
      const bright = isDark ? index / 255 : 1 - index / 255;
      const chroma = 0.1 + 0.03 * Math.cos(2 * Math.PI * bright); // sRGB has less chroma in the middle
      return srgb((isDark ? 0.34 : 0.28) + 0.6 * bright, chroma, 285 - 180 * bright);
    });
  }

  // The index of a share in the palette. It is logarithmic, because a tail is a small share.
  function shade(share) {
    return Math.max(0, Math.round(255 * (1 - Math.log10(share) / Math.log10(LEAST_SHARE))));
  }

  function binFloor(bin) {
    return 10 ** (bin / BINS_PER_DECADE);
  }

  function binOf(microseconds) {
    return Math.floor(BINS_PER_DECADE * Math.log10(microseconds) + 1e-9);
  }

  return {
    BYTES_PER_SECOND, COUNT, PER_SECOND, SECONDS, SHARE, TIME,
    binFloor, binOf, fewest, highest, logarithmicRange, logarithmicTicks, moment, nines, palette, percentAt, percentText,
    shade, ticks,
  };
})();
