// The plots of a Result. `create(container)` returns {update(value, rowKey), destroy()}. The value is the JSON of
// docs/reference/result-schema.md, and the key is "TYPE name" of the row to show.
window.TcpPlots = (() => {
  "use strict";

  const { bytes, count, rate, share, timeWithUnit } = window.TcpNumbers;
  const { element, setText } = window.TcpElements;
  const { coloursOf } = window.TcpPlotFrame;
  const { BYTES_PER_SECOND, COUNT, PER_SECOND, SHARE, TIME, fewest, moment, palette } = window.TcpPlotScales;
  const { TimePlot } = window.TcpTimePlot;
  const { HeatMap } = window.TcpHeatMap;
  const { PercentilePlot } = window.TcpPercentilePlot;
  const TALL = 320;
  const LOW = 210;
  const HELP = "Drag over a plot to zoom, double-click for the whole test. Arrow keys move the cursor of a focused plot.";

  const perSecond = (value) => (value === null ? rate(null) : `${rate(value)}/s`);
  const bytesPerSecond = (value) => (value === null ? bytes(null) : `${bytes(value)}/s`);
  const ofRun = (label, key, colour, dash) => ({ label, colour, dash, of: (_, run) => run[key] });
  const ofRow = (label, key, colour, more) => ({ label, colour, isOfRow: true, of: (row) => row[key], ...more });
  const banded = (label, key, colour, more) => ({
    label, colour, isOfRow: true, isBanded: true, ...more,
    of: (row) => [row[`${key}_us`], row[`${key}_low_us`], row[`${key}_high_us`]],
  });

  // The reason for the gaps in lines; empty without gaps.
  function gapNote([, ...columns], _, row) {
    if (!row) return "This row has no figures over time.";
    const has = (column) => row.ok.some((ok, index) => ok > 0 && columns[column][index] === null);
    const short = [["p50", 0.5, 0], ["p90", 0.9, 3], ["p99", 0.99, 6]].filter(([, , column]) => has(column));
    if (!short.length) return "";
    const needs = short.map(([name, part]) => `${name} ${fewest(part)}`).join(", ");
    return `A line has a gap where a point has too few operations for the percentile (minimum: ${needs}).`;
  }

  function generatorNote([, ...columns], run) {
    const isShort = run.achieved.some((rate, index) => rate > 0 && columns.some((column) => column[index] === null));
    return isShort ? `A line has a gap where a point has too few operations for a p99 (minimum: ${fewest(0.99)}).` : "";
  }

  const LATENCY = {
    title: "Latency over time", hasScaleButton: true, hasLabels: true,
    units: TIME, format: timeWithUnit, note: gapNote,
    lines: [
      banded("p50", "p50", "blue"),
      banded("p90", "p90", "green", { dash: [9, 4] }),
      banded("p99", "p99", "red", { dash: [4, 2], width: 2 }),
      ofRow("max", "max_us", "text", { isPoints: true }),
      ofRow("service p50", "service_p50_us", "sky", { dash: [2, 4] }),
      ofRow("service p99", "service_p99_us", "orange", { dash: [8, 3, 2, 3] }),
    ],
  };

  const OF_RUN = [
    {
      title: "Throughput", units: PER_SECOND, format: perSecond,
      lines: [
        ofRun("planned", "planned", "text", [2, 3]), ofRun("achieved", "achieved", "blue"),
        ofRow("this row", "ok", "green", { dash: [9, 4] }), ofRun("failed", "failed", "red", [4, 2]),
      ],
    },
    {
      title: "Bytes", units: BYTES_PER_SECOND, format: bytesPerSecond,
      lines: [ofRun("sent", "bytes_sent", "blue"), ofRun("received", "bytes_received", "orange", [6, 3])],
    },
    {
      title: "Connections and users", units: COUNT, format: count,
      lines: [
        ofRun("open", "open", "blue"), ofRun("opening", "opening", "orange", [6, 3]),
        ofRun("users", "users", "text", [2, 3]), ofRun("in flight", "in_flight", "green", [9, 4]),
      ],
    },
    {
      title: "Connects and losses", units: PER_SECOND, format: perSecond,
      lines: [ofRun("connects", "connects", "blue"), ofRun("lost", "lost", "red", [4, 2])],
    },
    {
      title: "Generator", units: TIME, format: timeWithUnit, note: generatorNote,
      lines: [
        ofRun("generator delay p99", "generator_delay_p99_us", "blue"),
        ofRun("read delay p99", "read_delay_p99_us", "orange", [6, 3]),
        ofRun("loop lag", "loop_lag_us", "purple", [2, 3]),
      ],
    },
    {
      title: "CPU share of the busiest process", units: SHARE, least: 1, format: share,
      lines: [ofRun("CPU", "cpu", "purple")],
    },
  ];

  // The state that all plots share: theme, row, x axis, zoom and marks.
  class Shared {
    constructor(root, announcement) {
      this.root = root;
      this.announcement = announcement;
      this.frames = [];
      this.rowKey = "";
      this.middles = []; // the middles of the points, in seconds
      this.whole = [0, 1]; // the start and the end of the test, in seconds
      this.zoomed = null;
      this.pinned = null; // the moment that a key selected
      this.reset = element("button", { type: "button", class: "plot-reset" }, "Show the whole test");
      this.reset.hidden = true;
      this.reset.addEventListener("click", () => this.zoom(null));
      root.append(this.reset);
      root.addEventListener("mousemove", () => (this.pinned = null));
      this.readTheme();
    }

    readTheme() {
      this.colour = coloursOf(this.root);
      this.palette = palette(document.documentElement.dataset.theme === "dark");
    }

    read({ series, stages }, rowKey) {
      const { at_s: at, width_s: width } = series;
      this.rowKey = rowKey;
      this.width = width;
      this.middles = at.map((start) => start + width / 2);
      this.whole = [0, at.length ? at.at(-1) + width : 1];
      this.measuredFrom = series.measured_from_s;
      this.stages = stages.map(({ start_s: start }) => start);
    }

    range() {
      return this.zoomed ?? this.whole;
    }

    zoom(limits) {
      this.zoomed = limits;
      this.reset.hidden = !limits;
      const [min, max] = this.range();
      for (const { uplot } of this.frames.filter(({ isOnTime }) => isOnTime)) {
        uplot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        uplot.setScale("x", { min, max });
      }
    }

    leave(uplot) {
      this.pinned = null;
      uplot.setCursor({ left: -10, top: -10 }, true, true);
      this.zoom(null);
    }

    announce(words) {
      setText(this.announcement, words);
    }

    // The span of a point as text.
    momentOf(index) {
      const [start, end] = [this.middles[index] - this.width / 2, this.middles[index] + this.width / 2];
      const begin = moment(start, this.whole[1]);
      return this.width > 1 ? `${begin} to ${moment(end, this.whole[1])}` : begin;
    }
  }

  class Plots {
    constructor(container) {
      const announcement = element("p", { class: "unseen", "aria-live": "polite" });
      this.root = element("div", { class: "plots" }, announcement, element("p", { class: "plot-note plot-help" }, HELP));
      container.append(this.root);
      this.shared = new Shared(this.root, announcement);
      const common = { height: TALL, isWide: true, isOfRow: true, shared: this.shared };
      this.onTime = [
        new TimePlot(this.root, { ...LATENCY, ...common }),
        new HeatMap(this.root, { title: "Latency heat map", ...common }),
      ];
      this.percentiles = new PercentilePlot(this.root, { title: "Latency by percentile", ...common });
      this.onTime.push(...OF_RUN.map((plot) => new TimePlot(this.root, { ...plot, height: LOW, shared: this.shared })));
      this.frames = this.shared.frames = [...this.onTime, this.percentiles];
      this.theme = new MutationObserver(() => {
        this.shared.readTheme();
        for (const frame of this.frames) if (frame.uplot) frame.build();
      });
      this.theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
      this.size = new ResizeObserver(() => this.frames.forEach((frame) => frame.resize()));
      this.size.observe(this.root);
    }

    update(value, rowKey) {
      const { shared } = this;
      const isChosen = ({ type, name }) => `${type} ${name}` === rowKey;
      const row = value.series.rows.find(isChosen);
      shared.read(value, rowKey);
      for (const frame of this.onTime) frame.update(value.series, row);
      this.percentiles.update(value.rows.find(isChosen));
      // A longer axis moves the place of the moment. uPlot draws in a microtask, so point to the moment after that.
      if (shared.pinned !== null) queueMicrotask(() => this.onTime.forEach((frame) => frame.pointTo(shared.pinned)));
    }

    destroy() {
      this.theme.disconnect();
      this.size.disconnect();
      this.frames.forEach((frame) => frame.destroy());
      this.root.remove();
    }
  }

  return { create: (container) => new Plots(container) };
})();
