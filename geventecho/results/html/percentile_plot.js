// The percentile plot: latency against percentile, on the axis of HdrHistogram's plots, 1/(1-q).
window.TcpPercentilePlot = (() => {
  "use strict";

  const { count, timeWithUnit } = window.TcpNumbers;
  const { Frame, legend, xAxis, yAxis, yScale } = window.TcpPlotFrame;
  const { TIME, highest, nines, percentAt, percentText } = window.TcpPlotScales;
  const FAINT = "73"; // the alpha of the line beyond the floor, hexadecimal
  const LINES = [
    { key: "response_us", label: "response", colour: "blue" },
    { key: "service_us", label: "service", colour: "orange", dash: [6, 3] },
  ];
  const LABEL_PX = 44;
  const APART_PX = 3; // the distance of each of two whiskers from their percentile
  const HALF = nines(50, 0);

  function countOf(distribution) {
    return distribution?.counts.at(-1) ?? 0;
  }

  // The places and values of one distribution in two tables: up to the floor, and beyond the floor.
  function split(distribution, floor) {
    const samples = countOf(distribution);
    const places = distribution.percentiles.map((percent) => nines(percent, samples));
    const values = distribution.values;
    // All percentiles beyond the place of the largest value have that value. One of them is enough.
    const last = places.length - 1;
    const kept = places.map((_, index) => index).filter((index) => index === last || places[index] < places[last]);
    const cut = kept.findLastIndex((index) => places[index] <= floor) + 1;
    const table = (indices) => [indices.map((index) => places[index]), indices.map((index) => values[index])];
    return [table(kept.slice(0, cut)), table(kept.slice(Math.max(cut - 1, 0)))];
  }

  // The value at a percentile: the value of the first listed percentile that is not below it.
  function valueAt(distribution, percent) {
    if (!countOf(distribution)) return null;
    const index = distribution.percentiles.findIndex((one) => one >= percent - 1e-9);
    return distribution.values.at(index);
  }

  class PercentilePlot extends Frame {
    constructor(parent, options) {
      super(parent, options);
      this.hidden = new Set();
      this.setLegend = legend(this.legend, LINES, (index, isShown) => this.toggle(index, isShown));
      this.addScaleButton(true);
    }

    update(row) {
      this.row = row;
      this.samples = countOf(row?.distributions.response_us);
      const share = highest(this.samples);
      this.floor = this.samples ? -Math.log10(1 - share) : 0;
      const empty = [[[], []], [[], []]];
      const distributions = LINES.map(({ key }) => row?.distributions[key]);
      const tables = distributions.flatMap((one) => (countOf(one) ? split(one, this.floor) : empty));
      this.setData(window.uPlot.join(tables));
      this.setNote(this.samples ? this.floorNote(share) : "");
    }

    floorNote(share) {
      const percent = percentText(share * 100);
      const reason = `${count(this.samples)} operations are too few for a 95 % interval there`;
      return `The lines are faint beyond ${percent}: ${reason}. Whiskers are 95 % intervals.`;
    }

    options() {
      const { colour } = this.shared;
      const last = () => Math.max(1, this.data[0].at(-1) ?? 1, this.floor);
      const range = () => [0, last() * 1.01];
      const hasHalf = () => (this.width() * HALF) / last() > LABEL_PX;
      const whole = () => Array.from({ length: Math.floor(last() * 1.01) }, (_, index) => index + 1);
      const splits = () => [0, ...(hasHalf() ? [HALF] : []), ...whole()];
      const line = ({ colour: name, dash }, index, isFaint) => ({
        show: !this.hidden.has(index), spanGaps: true, dash, width: isFaint ? 1.5 : 2,
        stroke: colour(name) + (isFaint ? FAINT : ""), points: { show: false },
      });
      return {
        scales: { x: { time: false, range }, y: yScale(this.isLogarithmic) },
        axes: [
          xAxis(colour, { splits, values: (_, places) => places.map((place) => percentText(percentAt(place))) }),
          yAxis(colour, TIME, this.isLogarithmic, this.height),
        ],
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        series: [{}, ...LINES.flatMap((one, index) => [line(one, index, false), line(one, index, true)])],
        hooks: {
          drawClear: [(uplot) => this.drawFloor(uplot)],
          draw: [(uplot) => this.drawWhiskers(uplot)],
          setCursor: [(uplot) => this.showLegend(uplot.cursor.idx)],
        },
      };
    }

    toggle(index, isShown) {
      if (isShown) this.hidden.delete(index);
      else this.hidden.add(index);
      for (const column of [2 * index + 1, 2 * index + 2]) this.uplot.setSeries(column, { show: isShown });
    }

    drawFloor(uplot) {
      if (!this.samples) return;
      const { ctx, bbox } = uplot;
      const ratio = window.uPlot.pxRatio;
      const x = Math.round(uplot.valToPos(this.floor, "x", true));
      ctx.save();
      ctx.fillStyle = this.shared.colour("shade");
      ctx.fillRect(x, bbox.top, Math.max(0, bbox.left + bbox.width - x), bbox.height);
      ctx.restore();
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = this.shared.colour("text");
      ctx.lineWidth = ratio;
      ctx.setLineDash([3 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x + ratio / 2, bbox.top);
      ctx.lineTo(x + ratio / 2, bbox.top + bbox.height);
      ctx.stroke();
      ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      ctx.textBaseline = "top";
      ctx.textAlign = "right";
      ctx.fillText(`floor ${percentText(percentAt(this.floor))}`, x - 4 * ratio, bbox.top + 4 * ratio);
      ctx.restore();
    }

    // Draws the intervals of the row's percentiles.
    drawWhiskers(uplot) {
      LINES.forEach(({ key, colour }, index) => {
        if (this.hidden.has(index) || !this.row?.[key]) return;
        for (const [name, found] of Object.entries(this.row[key])) {
          if (!/^p\d/.test(name) || !found) continue;
          const middle = uplot.valToPos(nines(Number(name.slice(1).replace("_", ".")), this.samples), "x", true);
          const x = middle + (index ? APART_PX : -APART_PX) * window.uPlot.pxRatio;
          this.drawWhisker(uplot, this.shared.colour(colour), x, found);
        }
      });
    }

    drawWhisker(uplot, colour, x, { value, low, high }) {
      const { ctx } = uplot;
      const ratio = window.uPlot.pxRatio;
      const [middle, bottom, top] = [value, low, high].map((one) => uplot.valToPos(one, "y", true));
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = colour;
      ctx.lineWidth = 1.5 * ratio;
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(x, bottom);
      ctx.lineTo(x, top);
      for (const y of [bottom, top]) {
        ctx.moveTo(x - 4 * ratio, y);
        ctx.lineTo(x + 4 * ratio, y);
      }
      ctx.stroke();
      ctx.beginPath();
      ctx.arc(x, middle, 2.5 * ratio, 0, 2 * Math.PI);
      ctx.fill();
      ctx.restore();
    }

    texts(percent) {
      return LINES.map(({ key }) => timeWithUnit(valueAt(this.row?.distributions[key], percent)));
    }

    showLegend(index) {
      const percent = index == null ? 50 : percentAt(this.data[0][index]);
      this.setLegend(this.samples ? percentText(percent) : "", this.texts(percent));
    }

    words(index) {
      if (!this.samples) return "No operations yet";
      const known = [50, 90, 99, 99.9, 99.99].filter((percent) => percent / 100 <= highest(this.samples));
      const percents = index === null ? known : [percentAt(this.data[0][index])];
      const said = percents.map((percent) => {
        const [response, service] = this.texts(percent);
        return `${percentText(percent)}: response ${response}, service ${service}`;
      });
      return said.join("; ");
    }
  }

  return { PercentilePlot, split, valueAt };
})();
