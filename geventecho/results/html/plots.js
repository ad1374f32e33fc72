// The plots of a Result. `create(container)` returns {update(value, rowKey), destroy()}: the value is the JSON of
// docs/result-schema.md, the key "TYPE name" the row that is shown.
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
  const HELP = "Drag over a plot to zoom, double-click for the whole test. Arrow keys move the cursor of the plot in focus.";

  const perSecond = (value) => (value === null ? rate(null) : `${rate(value)}/s`);
  const bytesPerSecond = (value) => (value === null ? bytes(null) : `${bytes(value)}/s`);
  const ofRun = (label, key, colour, dash) => ({ label, colour, dash, of: (_, run) => run[key] });
  const ofRow = (label, key, colour, more) => ({ label, colour, isOfRow: true, of: (row) => row[key], ...more });
  const banded = (label, key, colour, more) => ({
    label, colour, isOfRow: true, isBanded: true, ...more,
    of: (row) => [row[`${key}_us`], row[`${key}_low_us`], row[`${key}_high_us`]],
  });

  // Why a line has gaps, where it has some.
  function gapNote([, ...columns], _, row) {
    if (!row) return "This row has no figures over time.";
    const has = (column) => row.ok.some((ok, index) => ok > 0 && columns[column][index] === null);
    const short = [["p50", 0.5, 0], ["p90", 0.9, 3], ["p99", 0.99, 6]].filter(([, , column]) => has(column));
    if (!short.length) return "";
    const needs = short.map(([name, part]) => `${name} ${fewest(part)}`).join(", ");
    return `Gaps are where a point has too few operations for a percentile (fewest: ${needs}).`;
  }

  function generatorNote([, ...columns], run) {
    const isShort = run.achieved.some((rate, index) => rate > 0 && columns.some((column) => column[index] === null));
    return isShort ? `Gaps are where a point has too few operations for a p99 (fewest: ${fewest(0.99)}).` : "";
  }

  const LATENCY = {
    title: "Latency over time", height: TALL, isWide: true, isOfRow: true, hasScaleButton: true, hasLabels: true,
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
        ofRun("open", "open", "blue"), ofRun("opening", "opening", "orange", [6, 3]), ofRun("users", "users", "text", [2, 3]),
        ofRun("in flight", "in_flight", "green", [9, 4]),
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
        ofRun("read delay p99", "read_delay_p99_us", "orange", [6, 3]), ofRun("loop lag", "loop_lag_us", "purple", [2, 3]),
      ],
    },
    {
      title: "CPU share of the busiest process", units: SHARE, least: 1, format: share,
      lines: [ofRun("CPU", "cpu", "purple")],
    },
  ];

  // The common state of the plots: theme, x axis, zoom, cursor, marks. `pinned` is the moment that a key chose.
  function makeShared(root, announcement, frames) {
    const reset = element("button", { type: "button", class: "plot-reset" }, "Show the whole test");
    let zoomed = null;
    const shared = {
      colour: coloursOf(root), palette: null, rowKey: "", pinned: null, middles: [], whole: [0, 1], measuredFrom: 0, stages: [],
      range: () => zoomed ?? shared.whole,
      zoom(limits) {
        zoomed = limits;
        reset.hidden = !limits;
        const [min, max] = shared.range();
        for (const { uplot } of frames().filter((frame) => frame.uplot?.cursor.sync.filters)) {
          uplot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          uplot.setScale("x", { min, max });
        }
      },
      leave(uplot) {
        shared.pinned = null;
        uplot.setCursor({ left: -10, top: -10 }, true, true);
        shared.zoom(null);
      },
      announce: (words) => setText(announcement, words),
      momentOf(index) {
        const [begin, end] = shared.whole;
        const width = (end - begin) / shared.middles.length;
        const start = moment(begin + index * width, end);
        return width > 1 ? `${start} to ${moment(begin + (index + 1) * width, end)}` : start;
      },
      setTime({ series, stages }) {
        const { at_s: at, width_s: width } = series;
        shared.middles = at.map((start) => start + width / 2);
        shared.whole = at.length ? [at[0], at.at(-1) + width] : [0, 1];
        shared.measuredFrom = series.measured_from_s;
        shared.stages = stages.map(({ start_s: start }) => start);
      },
    };
    reset.hidden = true;
    reset.addEventListener("click", () => shared.zoom(null));
    root.append(reset);
    root.addEventListener("mousemove", () => (shared.pinned = null));
    return shared;
  }

  function create(container) {
    const announcement = element("p", { class: "unseen", "aria-live": "polite" });
    const root = element("div", { class: "plots" }, announcement, element("p", { class: "plot-note plot-help" }, HELP));
    container.append(root);
    let frames = [];
    const shared = makeShared(root, announcement, () => frames);
    const onTime = [
      new TimePlot(root, { ...LATENCY, shared }),
      new HeatMap(root, { title: "Latency heat map", height: TALL, isWide: true, isOfRow: true, shared }),
    ];
    const percentiles = new PercentilePlot(root, { title: "Latency by percentile", height: TALL, isWide: true, isOfRow: true, shared });
    onTime.push(...OF_RUN.map((plot) => new TimePlot(root, { height: LOW, ...plot, shared })));
    frames = [...onTime, percentiles];

    function readTheme() {
      shared.colour = coloursOf(root);
      shared.palette = palette(document.documentElement.dataset.theme === "dark");
    }

    readTheme();
    const theme = new MutationObserver(() => {
      readTheme();
      for (const frame of frames) if (frame.uplot) frame.build();
    });
    theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    const size = new ResizeObserver(() => frames.forEach((frame) => frame.resize()));
    size.observe(root);

    return {
      update(value, rowKey) {
        const isChosen = ({ type, name }) => `${type} ${name}` === rowKey;
        const row = value.series.rows.find(isChosen);
        shared.rowKey = rowKey;
        shared.setTime(value);
        for (const frame of onTime) frame.update(value.series, row);
        percentiles.update(value.rows.find(isChosen));
        // After uPlot, which draws in a microtask: the moment has another place on a longer axis.
        if (shared.pinned !== null) queueMicrotask(() => onTime.forEach((frame) => frame.pointTo(shared.pinned)));
      },
      destroy() {
        theme.disconnect();
        size.disconnect();
        frames.forEach((frame) => frame.destroy());
        root.remove();
      },
    };
  }

  return { create };
})();
