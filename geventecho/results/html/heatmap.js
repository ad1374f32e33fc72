// The heat map: latency over time. The colour is the share of a point's operations with that latency.
window.TcpHeatMap = (() => {
  "use strict";

  const { count, share, timeWithUnit } = window.TcpNumbers;
  const { element, setText } = window.TcpElements;
  const { yAxis } = window.TcpPlotFrame;
  const { TIME, binFloor, binOf, shade } = window.TcpPlotScales;
  const { TimeFrame, drawStages, drawWarmUp, timeAxis, timeCursor, timeScale, zoomBySelection } = window.TcpTimePlot;
  const MARGIN_BINS = 2;
  const FEWEST_BINS = 20; // a decade

  // The cells of all points: {points: [{total, cells: Map(bin, count)}], low, high}. The bins go from low to high.
  function cellsOf(heat) {
    let [low, high] = [Infinity, -Infinity];
    const points = heat.map((flat) => {
      const cells = new Map();
      let total = 0;
      for (let index = 0; index < flat.length; index += 2) {
        cells.set(flat[index], flat[index + 1]);
        total += flat[index + 1];
        low = Math.min(low, flat[index]);
        high = Math.max(high, flat[index]);
      }
      return { total, cells };
    });
    if (high < low) return { points, low: 40, high: 100 };
    const missing = Math.max(0, FEWEST_BINS - (high - low + 1 + 2 * MARGIN_BINS));
    return { points, low: low - MARGIN_BINS - Math.floor(missing / 2), high: high + MARGIN_BINS + Math.ceil(missing / 2) };
  }

  // Paints one pixel for each point and bin. The image is stretched when it is drawn on uPlot's canvas.
  function paint(canvas, { points, low, high }, palette) {
    canvas.width = Math.max(points.length, 1);
    canvas.height = high - low + 1;
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    points.forEach(({ total, cells }, x) => {
      for (const [bin, number] of cells) {
        const [red, green, blue] = palette[Math.min(255, shade(number / total))];
        image.data.set([red, green, blue, 255], 4 * ((high - bin) * canvas.width + x));
      }
    });
    context.putImageData(image, 0, 0);
  }

  function colourBar(parent) {
    const colours = element("span", { class: "plot-colours" });
    const labels = ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"].map((text) => element("span", {}, text));
    const scale = element("span", { class: "plot-scale" }, ...labels);
    parent.append(element("span", { class: "plot-bar", "aria-hidden": "true" }, colours, scale));
    return (palette) => {
      const stops = palette.filter((_, index) => index % 15 === 0).map((parts) => `rgb(${parts.join(" ")})`);
      colours.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    };
  }

  class HeatMap extends TimeFrame {
    constructor(parent, options) {
      super(parent, options);
      this.canvas = document.createElement("canvas");
      this.where = element("span", { class: "plot-where plot-hint" });
      this.legend.append(this.where);
      this.showColours = colourBar(this.legend);
      this.isLogarithmic = true;
      this.bin = null;
    }

    update(series, row) {
      this.cells = cellsOf(row ? row.heat : series.at_s.map(() => []));
      paint(this.canvas, this.cells, this.shared.palette);
      const usual = this.cells.points.map((point) => this.usual(point));
      this.setData([this.shared.middles, usual.map((bin) => (bin === null ? null : binFloor(bin + 0.5)))]);
    }

    build() {
      paint(this.canvas, this.cells, this.shared.palette);
      this.showColours(this.shared.palette);
      super.build();
    }

    options() {
      const { shared } = this;
      const range = () => [binFloor(this.cells.low), binFloor(this.cells.high + 1)];
      return {
        scales: { x: timeScale(shared), y: { distr: 3, range } },
        axes: [timeAxis(shared), yAxis(shared.colour, TIME, true, this.height)],
        cursor: { ...timeCursor(shared), y: true, points: { show: false } },
        series: [{}, { paths: () => null, points: { show: false } }],
        hooks: {
          drawClear: [(uplot) => drawWarmUp(uplot, shared, false)],
          draw: [(uplot) => drawStages(uplot, shared, false)],
          drawAxes: [(uplot) => this.draw(uplot)],
          setCursor: [(uplot) => this.showLegend(uplot.cursor.idx)],
          setSelect: [(uplot) => zoomBySelection(uplot, shared)],
        },
      };
    }

    draw(uplot) {
      const { ctx, bbox } = uplot;
      const [begin, end] = this.shared.whole;
      const left = uplot.valToPos(begin, "x", true);
      const right = uplot.valToPos(end, "x", true);
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.imageSmoothingEnabled = false;
      ctx.drawImage(this.canvas, left, bbox.top, right - left, bbox.height);
      ctx.restore();
    }

    // The bin of a point with the most operations.
    usual({ cells }) {
      let [best, most] = [null, 0];
      for (const [bin, number] of cells) if (number > most) [best, most] = [bin, number];
      return best;
    }

    cell(index, bin) {
      const { total, cells } = this.cells.points[index];
      const number = cells.get(bin) ?? 0;
      const span = `${timeWithUnit(binFloor(bin))} to ${timeWithUnit(binFloor(bin + 1))}`;
      const part = total ? ` (${share(number / total)})` : "";
      return `${this.shared.momentOf(index)}, ${span}: ${count(number)} of ${count(total)} operations${part}`;
    }

    showLegend(index) {
      if (index == null) setText(this.where, this.words(null));
      else setText(this.where, this.cell(index, this.binAtCursor()));
    }

    binAtCursor() {
      return binOf(this.uplot.posToVal(this.uplot.cursor.top, "y"));
    }

    words(index) {
      const last = this.cells.points.findLastIndex(({ total }) => total > 0);
      const at = index ?? last;
      if (at < 0) return "No operations yet";
      const bin = index === null ? this.usual(this.cells.points[at]) : (this.bin ?? this.usual(this.cells.points[at]));
      if (bin === null) return `${this.shared.momentOf(at)}: no operations`;
      return index === null ? `Most frequent latency: ${this.cell(at, bin)}` : this.cell(at, bin);
    }

    // The keys up and down move the cursor by one bin.
    key(event) {
      const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      const index = this.uplot.cursor.idx ?? this.data[0].length - 1;
      if (event.key === "Escape") this.bin = null;
      if (!step || index < 0) return super.key(event);
      const { points, low, high } = this.cells;
      const from = this.bin ?? this.usual(points[index]) ?? low;
      this.bin = Math.min(Math.max(from + step, low), high);
      this.moveTo(index);
      return event.preventDefault();
    }

    cursorTop(index) {
      const bin = this.bin ?? this.usual(this.cells.points[index]) ?? this.cells.low;
      return this.uplot.valToPos(binFloor(bin + 0.5), "y");
    }
  }

  return { HeatMap, cellsOf, paint };
})();
