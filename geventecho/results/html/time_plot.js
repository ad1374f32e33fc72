// Plots of figures over time: lines with bands, on one x axis with one cursor.
window.TcpTimePlot = (() => {
  "use strict";

  const { Frame, legend, xAxis, yAxis, yScale } = window.TcpPlotFrame;
  const { SECONDS, moment } = window.TcpPlotScales;
  const SYNC = "tcp-plots";
  const BAND_ALPHA = "38"; // the alpha of a band, hexadecimal; its colour is that of the line
  const LABEL_PX = 58; // the width of a stage's label

  // Isolated points: a line cannot show a point without a neighbour.
  function isolated(values) {
    const found = [];
    for (let index = 0; index < values.length; index += 1) {
      if (values[index] != null && values[index - 1] == null && values[index + 1] == null) found.push(index);
    }
    return found.length ? found : null;
  }

  // The place of a moment in the plotting area, in pixels of the canvas. A moment outside of it is at the edge.
  function place(uplot, seconds) {
    const { left, width } = uplot.bbox;
    return Math.round(Math.min(Math.max(uplot.valToPos(seconds, "x", true), left), left + width));
  }

  function write(uplot, shared, text, x, line) {
    const ratio = window.uPlot.pxRatio;
    const { ctx, bbox } = uplot;
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "left";
    ctx.textBaseline = "top";
    ctx.fillStyle = shared.colour("text");
    ctx.fillText(text, x + 4 * ratio, bbox.top + (4 + 15 * line) * ratio);
  }

  // Draws the warm-up behind the lines.
  function drawWarmUp(uplot, shared, hasLabels) {
    const { ctx, bbox } = uplot;
    const width = place(uplot, shared.measuredFrom) - bbox.left;
    if (width <= 0) return;
    ctx.save();
    ctx.fillStyle = shared.colour("shade");
    ctx.fillRect(bbox.left, bbox.top, width, bbox.height);
    if (hasLabels && width > LABEL_PX * window.uPlot.pxRatio) write(uplot, shared, "warm-up", bbox.left, 1);
    ctx.restore();
  }

  // Draws the starts of stages in front of the lines.
  function drawStages(uplot, shared, hasLabels) {
    const { ctx, bbox } = uplot;
    const ratio = window.uPlot.pxRatio;
    const [left, right] = [bbox.left, bbox.left + bbox.width];
    const { stages } = shared;
    ctx.save();
    ctx.strokeStyle = shared.colour("text");
    ctx.lineWidth = ratio;
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    stages.forEach((start, index) => {
      const x = place(uplot, start) + ratio / 2;
      const next = index + 1 < stages.length ? place(uplot, stages[index + 1]) : right;
      if (x > left + ratio && x < right - ratio) {
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      if (hasLabels && stages.length > 1 && next - x > LABEL_PX * ratio) write(uplot, shared, `stage ${index + 1}`, x, 0);
    });
    ctx.restore();
  }

  function timeAxis(shared) {
    return xAxis(shared.colour, {
      incrs: SECONDS,
      values: (uplot, values) => values.map((value) => moment(value, uplot.scales.x.max)),
    });
  }

  function timeScale(shared) {
    return { time: false, range: () => shared.range() };
  }

  // All plots over time share one cursor. A drag zooms all of them, by `shared`.
  function timeCursor(shared) {
    return {
      y: false,
      drag: { x: true, y: false, setScale: false },
      sync: { key: SYNC, filters: { pub: (type) => type === "mousemove" } },
      bind: { dblclick: () => () => shared.zoom(null) },
      points: { size: 7 },
    };
  }

  function zoomBySelection(uplot, shared) {
    const { left, width } = uplot.select;
    if (width > 2) shared.zoom([uplot.posToVal(left, "x"), uplot.posToVal(left + width, "x")]);
  }

  class TimeFrame extends Frame {
    get isOnTime() {
      return true;
    }

    pointTo(seconds) {
      const { uplot } = this;
      uplot?.setCursor({ left: uplot.valToPos(seconds, "x"), top: uplot.cursor.top });
    }
  }

  // Options besides those of Frame: units of y; least, the smallest upper end of a linear y; format of a value;
  // hasLabels of stages; note(columns, run, row); lines, each {label, colour, dash, width, isPoints, isBanded, isOfRow,
  // of(row, run)}. `of` returns the values, or [values, low, high] with isBanded.
  class TimePlot extends TimeFrame {
    constructor(parent, options) {
      super(parent, options);
      this.plot = options;
      const toggle = (index, isShown) => this.toggle(index, isShown);
      this.setLegend = legend(this.legend, options.lines, toggle);
      this.hidden = new Set();
      if (options.hasScaleButton) this.addScaleButton(true);
    }

    // The index of a line's first column. A line with a band has three columns.
    column(line) {
      const before = this.plot.lines.slice(0, line);
      return 1 + before.reduce((sum, { isBanded }) => sum + (isBanded ? 3 : 1), 0);
    }

    update(series, row) {
      const columns = [this.shared.middles];
      const nothing = series.at_s.map(() => null);
      for (const line of this.plot.lines) {
        const values = row || !line.isOfRow ? line.of(row, series.run) : null;
        if (line.isBanded) columns.push(...(values ?? [nothing, nothing, nothing]));
        else columns.push(values ?? nothing);
      }
      this.setData(columns);
      if (this.plot.note) this.setNote(this.plot.note(columns, series.run, row));
    }

    options() {
      const { shared } = this;
      const { hasLabels, least, units } = this.plot;
      return {
        scales: { x: timeScale(shared), y: yScale(this.isLogarithmic, least) },
        axes: [timeAxis(shared), yAxis(shared.colour, units, this.isLogarithmic, this.height)],
        cursor: timeCursor(shared),
        series: [{}, ...this.plot.lines.flatMap((line, index) => this.series(line, !this.hidden.has(index)))],
        bands: this.plot.lines.flatMap((line, index) => this.band(line, index)),
        hooks: {
          drawClear: [(uplot) => drawWarmUp(uplot, shared, hasLabels)],
          draw: [(uplot) => drawStages(uplot, shared, hasLabels)],
          setCursor: [(uplot) => this.showLegend(uplot.cursor.idx)],
          setSelect: [(uplot) => zoomBySelection(uplot, shared)],
        },
      };
    }

    series({ colour, dash, width = 1.75, isPoints, isBanded }, show) {
      const stroke = this.shared.colour(colour);
      const points = isPoints
        ? { show: true, size: 3.5, width: 0, fill: stroke }
        : { show: false, filter: (uplot, index) => isolated(uplot.data[index]), size: 4, width: 0, fill: stroke };
      const line = { show, stroke, dash, width, points, ...(isPoints ? { paths: () => null } : {}) };
      const edge = { show, width: 0, stroke: null, points: { show: false } };
      return isBanded ? [line, edge, edge] : [line];
    }

    band({ colour, isBanded }, index) {
      const first = this.column(index);
      return isBanded ? [{ series: [first + 2, first + 1], fill: this.shared.colour(colour) + BAND_ALPHA }] : [];
    }

    toggle(index, isShown) {
      if (isShown) this.hidden.delete(index);
      else this.hidden.add(index);
      const first = this.column(index);
      const columns = this.plot.lines[index].isBanded ? 3 : 1;
      for (let column = first; column < first + columns; column += 1) this.uplot.setSeries(column, { show: isShown });
    }

    // The values of a point; with null, of the latest point that has values.
    valuesAt(index) {
      const columns = this.plot.lines.map((_, line) => this.data[this.column(line)]);
      let at = index ?? this.data[0].length - 1;
      while (index === null && at > 0 && columns.every((values) => values[at] == null)) at -= 1;
      return { at, values: columns.map((values) => values[at] ?? null) };
    }

    showLegend(index) {
      const { at, values } = this.valuesAt(index ?? null);
      this.setLegend(this.shared.momentOf(at), values.map((value) => this.plot.format(value)));
    }

    words(index) {
      const { at, values } = this.valuesAt(index);
      if (values.every((value) => value === null)) return `At ${this.shared.momentOf(at)}: no figures`;
      const known = this.plot.lines.map(({ label }, line) => [label, values[line]]).filter(([, value]) => value !== null);
      const said = known.map(([label, value]) => `${label} ${this.plot.format(value)}`);
      return `At ${this.shared.momentOf(at)}: ${said.join(", ")}`;
    }
  }

  return { TimeFrame, TimePlot, drawStages, drawWarmUp, timeAxis, timeCursor, timeScale, zoomBySelection };
})();
