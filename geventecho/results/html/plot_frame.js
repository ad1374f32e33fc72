// The frame of a plot: heading, legend, uPlot's canvas and note. All plots share the code for keys, colours and size.
window.TcpPlotFrame = (() => {
  "use strict";

  const { element, setText } = window.TcpElements;
  const { logarithmicRange, logarithmicTicks, ticks } = window.TcpPlotScales;
  const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
  const Y_AXIS_PX = 66;
  const TICK_PX = 32;
  const JUMP = 10; // points by which an arrow key with Shift moves the cursor
  const SVG = "http://www.w3.org/2000/svg";

  // Returns a function that gives the colours of the page's style by name. Call it again when the theme changes.
  function coloursOf(target) {
    const style = getComputedStyle(target);
    return (name) => style.getPropertyValue(`--plot-${name}`).trim();
  }

  // The y axis of a plot; `height` is in pixels.
  function yAxis(colour, units, isLogarithmic, height) {
    const splits = (_, axis, low, high) => logarithmicTicks(low, high, height / TICK_PX);
    return {
      size: Y_AXIS_PX, gap: 4, font: FONT, stroke: colour("text"), ticks: { show: false },
      grid: { stroke: colour("grid"), width: 1 }, space: TICK_PX,
      values: (_, values) => ticks(values, units, isLogarithmic),
      ...(isLogarithmic ? { filter: (_, values) => values, splits } : {}),
    };
  }

  function xAxis(colour, more) {
    return {
      size: 30, gap: 4, font: FONT, stroke: colour("text"), grid: { stroke: colour("grid"), width: 1 },
      ticks: { stroke: colour("grid"), width: 1, size: 4 }, space: 72, ...more,
    };
  }

  // A linear scale begins at zero, so that heights can be compared. A logarithmic scale has no zero.
  function yScale(isLogarithmic, least = 0) {
    const logarithmic = (_, low, high) => (low > 0 ? logarithmicRange(low, high) : [100, 1e5]);
    return isLogarithmic ? { distr: 3, range: logarithmic } : { range: (_, low, high) => (high > 0 ? [0, Math.max(high * 1.05, least)] : [0, least || 1]) };
  }

  function setAttributes(target, attributes) {
    for (const [name, value] of Object.entries(attributes)) target.setAttribute(name, value);
  }

  // The marker of a line in a legend, with the line's colour and dash.
  function marker({ colour, dash = [], isPoints = false, width = 2 }) {
    const made = document.createElementNS(SVG, "svg");
    const line = document.createElementNS(SVG, isPoints ? "circle" : "line");
    const size = isPoints ? { cx: 13, cy: 5, r: 2.5 } : { x1: 0, x2: 26, y1: 5, y2: 5, "stroke-width": width };
    setAttributes(line, { ...size, "stroke-dasharray": dash.join(" ") });
    line.style[isPoints ? "fill" : "stroke"] = `var(--plot-${colour})`;
    setAttributes(made, { width: 26, height: 10, "aria-hidden": "true" });
    made.append(line);
    return made;
  }

  // A legend with a button for each line. A button shows the line's value at the cursor, or the latest value.
  function legend(parent, lines, toggle) {
    const where = element("span", { class: "plot-where" });
    parent.append(where);
    const values = lines.map((line, index) => {
      const value = element("span", { class: "plot-value" });
      const button = element("button", { type: "button", "aria-pressed": "true" }, marker(line), `${line.label} `, value);
      button.addEventListener("click", () => {
        const isShown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(isShown));
        toggle(index, isShown);
      });
      parent.append(button);
      return value;
    });
    return (place, texts) => {
      setText(where, place);
      texts.forEach((text, index) => setText(values[index], text));
    };
  }

  // A subclass has options(), the options of uPlot; showLegend(index), which shows the values of a point; and
  // words(index), the same values as text. With null, both take the latest point. `shared` is the Shared of plots.js.
  // With isOfRow all lines are of the chosen row.
  class Frame {
    constructor(parent, { title, height, isWide = false, isOfRow = false, shared }) {
      this.shared = shared;
      this.height = height;
      this.isOfRow = isOfRow;
      this.isLogarithmic = false;
      this.uplot = null;
      this.data = null;
      this.tools = element("div", { class: "plot-tools" });
      this.legend = element("div", { class: "plot-legend" });
      this.stage = element("div", { class: "plot-stage", role: "img", tabindex: "0", "aria-label": title });
      this.note = element("p", { class: "plot-note" });
      this.title = title;
      const head = element("div", { class: "plot-head" }, element("h3", {}, title), this.tools);
      this.root = element("figure", { class: isWide ? "plot plot-wide" : "plot" }, head, this.legend, this.stage, this.note);
      parent.append(this.root);
      this.stage.addEventListener("keydown", (event) => this.key(event));
    }

    // Adds a button that switches y between logarithmic and linear.
    addScaleButton(isLogarithmic) {
      this.isLogarithmic = isLogarithmic;
      const button = element("button", { type: "button" });
      const show = () => setText(button, this.isLogarithmic ? "Linear scale" : "Logarithmic scale");
      button.addEventListener("click", () => {
        this.isLogarithmic = !this.isLogarithmic;
        show();
        this.build();
      });
      show();
      this.tools.append(button);
    }

    // Makes a new uPlot: at first, and when a scale or the theme has changed.
    build() {
      this.uplot?.destroy();
      this.uplot = new window.uPlot({
        width: this.width(), height: this.height, legend: { show: false }, padding: [10, 22, 0, 0], ...this.options(),
      }, this.data, this.stage);
    }

    width() {
      return Math.max(this.stage.clientWidth, 120);
    }

    resize() {
      if (this.uplot && this.uplot.width !== this.width()) this.uplot.setSize({ width: this.width(), height: this.height });
    }

    setData(data) {
      this.data = data;
      if (this.uplot) this.uplot.setData(data);
      else this.build();
      this.showValues();
    }

    // Shows the values in the legend, and as text for screen readers.
    showValues() {
      this.showLegend(this.uplot.cursor.idx ?? null);
      const title = this.isOfRow ? `${this.title} of ${this.shared.rowKey}` : this.title;
      const words = `${title}. ${this.words(null)}`;
      if (this.stage.getAttribute("aria-label") !== words) this.stage.setAttribute("aria-label", words);
    }

    setNote(text) {
      setText(this.note, text);
      this.note.hidden = !text;
    }

    key(event) {
      const step = (event.shiftKey ? JUMP : 1) * ({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0);
      const last = this.data[0].length - 1;
      const at = this.uplot.cursor.idx ?? (step > 0 ? -1 : last + 1);
      const index = { Home: 0, End: last }[event.key] ?? at + step;
      if (event.key === "Escape") this.shared.leave(this.uplot);
      else if (step || event.key === "Home" || event.key === "End") this.moveTo(Math.min(Math.max(index, 0), last));
      else return;
      event.preventDefault();
    }

    moveTo(index) {
      if (index < 0) return;
      const { uplot } = this;
      uplot.setCursor({ left: uplot.valToPos(this.data[0][index], "x"), top: this.cursorTop(index) }, true, true);
      if (this.isOnTime) this.shared.pinned = this.data[0][index];
      this.shared.announce(this.words(index));
    }

    cursorTop() {
      return this.uplot.over.clientHeight / 2;
    }

    destroy() {
      this.uplot?.destroy();
      this.root.remove();
    }
  }

  return { Frame, coloursOf, legend, xAxis, yAxis, yScale };
})();
