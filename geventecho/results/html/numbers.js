// Numbers as text. The text is the same as in the console's table (geventecho/results/summary.py).
window.TcpNumbers = (() => {
  "use strict";

  const NONE = "\u2013";
  const counts = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

  // Rounds a half to the even digit, as Python does. toFixed rounds a half up.
  function fixed(number, digits) {
    const text = number.toFixed(digits);
    const halves = number * 2 ** (digits + 1);
    const isHalf = Number.isInteger(halves) && halves % 2 !== 0;
    return isHalf && Number(text.at(-1)) % 2 ? (Number(text) - 10 ** -digits).toFixed(digits) : text;
  }

  // Three significant digits.
  function three(number) {
    const digits = number >= 100 ? 0 : number >= 10 ? 1 : number >= 1 ? 2 : 3;
    const text = fixed(number, digits);
    return digits && Number(text) >= 10 ** (3 - digits) ? text.slice(0, -1).replace(/\.$/, "") : text;
  }

  // A time in milliseconds without the unit; from 10 s on in seconds with the unit.
  function time(microseconds) {
    if (microseconds === null) return NONE;
    if (microseconds === "lost") return "lost";
    const milliseconds = microseconds / 1000;
    if (milliseconds >= 10_000) return `${Number(three(milliseconds / 1000))}s`;
    return milliseconds >= 0.1 ? three(milliseconds) : fixed(milliseconds, 3);
  }

  function timeWithUnit(microseconds) {
    const text = time(microseconds);
    return /\d$/.test(text) ? `${text} ms` : text;
  }

  function count(number) {
    return number === null ? NONE : counts.format(number);
  }

  function rate(perSecond) {
    if (perSecond === null) return NONE;
    return perSecond >= 1000 ? count(Number(fixed(perSecond, 0))) : String(Number(perSecond.toPrecision(4)));
  }

  function bytes(number) {
    if (number === null) return NONE;
    let unit = 0;
    while (number >= 999.5 && unit < 4) {
      number /= 1000;
      unit += 1;
    }
    return `${unit ? three(number) : fixed(number, 0)} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
  }

  function share(part) {
    if (part === null) return NONE;
    const percent = part * 100;
    return `${percent && percent < 0.1 ? Number(percent.toPrecision(1)) : fixed(percent, 1)}%`;
  }

  // A span of seconds, such as "1 min 5 s".
  function span(seconds) {
    if (seconds === null) return NONE;
    if (seconds < 10 && seconds % 1) return `${Number(fixed(seconds, 1))} s`;
    const whole = Math.round(seconds);
    const parts = [[Math.floor(whole / 3600), "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
    const shown = parts.filter(([number]) => number).map(([number, unit]) => `${number} ${unit}`);
    return shown.join(" ") || "0 s";
  }

  return { NONE, bytes, count, rate, share, span, time, timeWithUnit };
})();
