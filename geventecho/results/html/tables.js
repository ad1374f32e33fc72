// Text and tables from the JSON of a Result (docs/reference/result-schema.md).
window.TcpTables = (() => {
  "use strict";

  const { NONE, bytes, count, rate, share, span, time, timeWithUnit } = window.TcpNumbers;
  const { element, fill, list, setClass, setHidden, setText, table } = window.TcpElements;

  const PERCENTILES = { p50: "p50", p90: "p90", p95: "p95", p99: "p99", p99_9: "p99.9", p99_99: "p99.99" };
  const PART_PERCENTILES = ["p50", "p90", "p99", "p99_9"];

  function nameOf(row) {
    return `${row.type} ${row.name}`;
  }

  function sum(items, valueOf) {
    return items.reduce((total, item) => total + valueOf(item), 0);
  }

  // Verdict and gates ---------------------------------------------------------------------------------------------

  function statusText(verdict) {
    return verdict.status === "trusted" ? "trusted (up to p99)" : verdict.status;
  }

  function statusTone(status) {
    return { trusted: "good", "too-few-samples": "fair" }[status] ?? "bad";
  }

  function symbolOf(verdict) {
    return verdict.status === "trusted" ? "\u2713" : "!";
  }

  function verdictSection(section) {
    const symbol = element("span", { class: "symbol", "aria-hidden": "true" });
    const status = element("span");
    const line = element("p", {}, symbol, status);
    const reasons = element("ul");
    section.append(line, reasons);
    const shown = list(reasons, "li");
    return ({ verdict, state }) => {
      setText(section.querySelector("h2"), state && state !== "stopped" ? "Verdict so far" : "Verdict");
      setText(symbol, symbolOf(verdict));
      setText(status, statusText(verdict));
      setClass(section, statusTone(verdict.status));
      shown.update(verdict.reasons);
      return true;
    };
  }

  function gatesSection(section) {
    const shown = table(section, "Gates", ["Gate", ["Outcome", "words"], ["Value", "words"], ["Reason", "wide"]]);
    return ({ gates }) => {
      setText(section.querySelector("h2"), `Gates: ${count(gates.filter(({ met }) => met).length)} of ${count(gates.length)} met`);
      shown.update(gates.map(({ expression, met, value, reason }) => [
        expression,
        met ? { text: "\u2713 met", tone: "words good" } : { text: "\u2717 not met", tone: "words bad" },
        { text: value || NONE, tone: "words" },
        { text: reason, tone: "wide" },
      ]));
      return gates.length > 0;
    };
  }

  // Key figures ---------------------------------------------------------------------------------------------------

  // [label, number, note, tone] of each key figure.
  function figures(value) {
    const { account, connections, series } = value;
    const isLive = value.state && value.state !== "stopped";
    const points = (key) => series.run[key] ?? [];
    const now = (key) => value.now[key] ?? null;
    const perSecond = (number, format) => (number === null ? NONE : `${format(number)}/s`);
    const whole = value.warm_up ? " in the whole test" : "";
    const planned = account.planned ? `planned ${perSecond(isLive ? now("planned") : value.planned_rate, rate)}` : "no planned rate";
    const traffic = (key) => {
      if (isLive) return `now ${perSecond(now(key), bytes)}`;
      return value.duration_s ? `${perSecond(value[`${key}_rate`], bytes)} on average` : "";
    };
    const users = points("users").filter((one) => one !== null);
    return [
      ["Good operations", value.duration_s ? `${rate(value.rate)}/s` : NONE, isLive ? `now ${perSecond(now("achieved"), rate)}, ${planned}` : planned],
      ["Failed", count(account.failed),
        `${account.started ? share(account.failed / account.started) : NONE} of ${count(account.started)} operations${whole}` +
        (account.dropped ? `; ${count(account.dropped)} dropped` : ""), account.failed ? "bad" : ""],
      ["Users", isLive ? count(now("users")) : count(users.length ? Math.max(...users) : null),
        isLive ? `${count(now("in_flight"))} operations under way` : "maximum in the whole test"],
      ["Connections open", count(connections.open), `${count(connections.opening)} opening, ${count(connections.lost)} lost${whole}`],
      ["Connects", count(connections.connects),
        `${count(connections.reconnects)} reconnects${whole}; ${isLive ? `now ${perSecond(now("connects"), rate)}, ` : ""}at most ${count(connections.peak)}/s`],
      ["Sent", bytes(value.bytes_sent), traffic("bytes_sent")],
      ["Received", bytes(value.bytes_received), traffic("bytes_received")],
    ];
  }

  function figuresSection(section) {
    const shown = [];
    const tiles = element("dl");
    section.append(tiles);
    return (value) => {
      figures(value).forEach(([label, text, note, tone], index) => {
        if (!shown[index]) {
          shown.push(element("dd"));
          tiles.append(element("div", {}, element("dt", {}, label), shown[index]));
        }
        fill(shown[index], { text, note, tone });
      });
      return true;
    };
  }

  // Rows ----------------------------------------------------------------------------------------------------------

  function percentile(found, missing) {
    const tone = "interval";
    if (!found) return { text: NONE, note: missing === undefined ? "" : `${count(Math.ceil(missing))} s more`, tone };
    return { text: time(found.value), note: `[${time(found.low)}, ${time(found.high)}]`, tone };
  }

  function timesLine(label, times, missing = {}) {
    const cells = Object.keys(PERCENTILES).map((key) => percentile(times[key], missing[key]));
    return [label, ...cells, time(times.mean), time(times.max)];
  }

  function counts(row) {
    const dropped = row.dropped ? `, ${count(row.dropped)} dropped` : "";
    return `${count(row.ok)} ok, ${count(row.failed)} failed${dropped}, ${rate(row.rate)} good/s`;
  }

  function rowLines(row) {
    const { missing } = row;
    const traffic = row.bytes_sent || row.bytes_received ? `, ${bytes(row.bytes_sent)} sent, ${bytes(row.bytes_received)} received` : "";
    const lines = [[{ text: nameOf(row), note: counts(row) + traffic }], timesLine("response", row.response_us, missing.response_us)];
    if (row.service_us.mean !== null) lines.push(timesLine("service", row.service_us, missing.service_us));
    if (row.ok && (row.failed || row.dropped)) lines.push(timesLine("offered", row.offered_us, missing.offered_us));
    if (row.failed_times.response_us) lines.push(timesLine("until failure", row.failed_times.response_us));
    return lines;
  }

  function rowsSection(section) {
    section.append(element("p", { class: "note" },
      "Times are in ms, with 95 % intervals. Response and service times are those of good operations. Offered times are those of " +
      "all operations; a failed or dropped operation counts as lost, which is infinitely long. A dash means too few samples, " +
      "and is followed by the number of seconds that are missing."));
    const others = element("p", { class: "note", dir: "auto" });
    const shown = table(section, "Times of each row, in ms", ["", ...Object.values(PERCENTILES).map((head) => [head, "interval"]), "mean", "max"]);
    section.append(others);
    return (value) => {
      shown.update(value.rows.length ? value.rows.flatMap(rowLines) : [["No operation has ended in the measured part."]]);
      setText(others, [value.other_users, ...value.notes ?? []].filter(Boolean).join(" "));
      return true;
    };
  }

  function partLines(rows) {
    return rows.map((row) => [
      nameOf(row), count(row.ok), count(row.failed), count(row.dropped), rate(row.rate),
      ...PART_PERCENTILES.map((key) => percentile(row.response_us[key], row.missing.response_us?.[key])),
    ]);
  }

  const PART_HEADS = ["", "ok", "failed", "dropped", "good/s", ...PART_PERCENTILES.map((key) => [PERCENTILES[key], "interval"])];

  function stageLines(stage) {
    const facts = [`${span(stage.duration_s)}, starting at ${span(stage.start_s)}`];
    if (stage.users !== null) facts.push(`${count(stage.users)} users (${rate(stage.spawn_rate)}/s)`);
    if (stage.rate) facts.push(`planned ${rate(stage.rate.planned)}/s, achieved ${rate(stage.rate.achieved)}/s`);
    return [[facts.join("; ")], ...partLines(stage.rows)];
  }

  function stagesSection(section) {
    const shown = table(section, "Stages, response times in ms", PART_HEADS);
    const more = element("p", { class: "note" });
    section.append(more);
    return (value) => {
      shown.update(value.stages.flatMap(stageLines));
      setText(more, value.stages_left_out ? `${count(value.stages_left_out)} more stages are left out.` : "");
      return value.stages.length > 0;
    };
  }

  function warmUpSection(section) {
    const shown = table(section, "Warm-up, response times in ms", PART_HEADS);
    return (value) => {
      if (!value.warm_up) return false;
      shown.update([[`${span(value.warm_up.duration_s)} before the measured part`], ...partLines(value.warm_up.rows)]);
      return true;
    };
  }

  // Failures, account, workers ------------------------------------------------------------------------------------

  function failuresSection(section) {
    const shown = table(section, "Failures by kind, the most frequent first", ["Kind", "Count", ["Row", "words"], ["Sample", "wide"]]);
    return ({ failures }) => {
      shown.update(failures.map((one) => [
        one.kind, count(one.count), { text: nameOf(one), tone: "words" }, { text: one.sample || NONE, tone: "wide code" },
      ]));
      return failures.length > 0;
    };
  }

  // A total as the sum of its parts. While a test runs, there may be a rest as a further term.
  function equation(account, total, parts, rest) {
    const left = account[total] - sum(parts, (part) => account[part]);
    const terms = parts.map((part) => `${count(account[part])} ${part}`);
    if (left) terms.push(`${count(left)} ${rest}`);
    return `${count(account[total])} ${total} = ${terms.join(" + ")}`;
  }

  function accountSection(section) {
    const lines = element("ul", { class: "sums" });
    section.append(element("p", { class: "note" }, "The counts are of the whole test and all processes."), lines);
    const shown = list(lines, "li");
    return ({ account, server_account: ends }) => {
      const tasks = account.planned ? equation(account, "planned", ["sent", "dropped"], "waiting") : "no arrival rate: users waited between tasks";
      shown.update([
        { text: `Tasks: ${tasks}`, note: account.planned ? `${count(account.late)} of the sent tasks began more than 1 ms late` : "" },
        { text: `Operations: ${equation(account, "started", ["ok", "failed", "aborted"], "under way")}`,
          note: `${count(account.connects)} of the started operations were connects, ${count(account.reconnects)} of the connects were reconnects` },
        ...ends ? [{ text: `Both ends: ${ends.statements.join("; ") || `unknown: ${ends.unknown}`}`, note: ends.url }] : [],
      ]);
      return true;
    };
  }

  const WORKER_HEADS = [
    "", ["Verdict", "words"], "ok", "failed", "good/s", "CPU", "CPU, busiest second", "cores busy", "waits for a core", "throttled", "steal",
    "loop lag, maximum", "loop lag, median", "generator delay p99", "read delay p99", "users, maximum", "in flight, maximum",
  ];

  // The reasons of a single worker are the reasons of the run. The verdict shows them.
  function statusCell(verdict, isOnly) {
    const tone = statusTone(verdict.status);
    const note = isOnly ? "" : verdict.reasons.map((reason) => `\u2022 ${reason}`).join("\n");
    return { text: `${symbolOf(verdict)} ${statusText(verdict)}`, note, tone: `${note ? "wide" : "words"} ${tone}` };
  }

  function workersSection(section) {
    const shown = table(section, "Workers: the processes with users", WORKER_HEADS);
    return ({ workers }) => {
      shown.update(workers.map((worker) => [
        worker.id, statusCell(worker.verdict, workers.length === 1), count(worker.ok), count(worker.failed), rate(worker.rate),
        ...["cpu", "cpu_max", "core", "run_queue_wait", "throttled", "steal"].map((key) => share(worker[key])),
        ...["loop_lag_us", "usual_loop_lag_us", "generator_delay_p99_us", "read_delay_p99_us"].map((key) => timeWithUnit(worker[key])),
        count(worker.users), count(worker.in_flight),
      ]));
      return workers.length > 0;
    };
  }

  // Command and environment ---------------------------------------------------------------------------------------

  function shellLine(argv) {
    return argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`)).join(" ");
  }

  async function copy(text, source) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // A page loaded by http has no clipboard, except from localhost.
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
    }
  }

  const UNITS = {
    spawn_rate: "users/s", run_time: "s", stop_timeout: "s", payload_size: "bytes", think_time: "s", connect_timeout: "s",
    request_timeout: "s", max_lateness: "s", warm_up: "s",
  };

  function originSection(section) {
    const line = element("code");
    const button = element("button", { type: "button" }, "Copy");
    const command = element("p", { class: "command" }, line, button);
    button.addEventListener("click", () => copy(line.textContent, line).then(() => setText(button, "Copied")));
    section.append(command);
    const tables = element("div", { class: "pair" });
    section.append(tables);
    const options = table(tables, "Options that the figures depend on", ["Option", ["Value", "words"]]);
    const environment = table(tables, "Environment", ["Fact", ["Value", "words"]]);
    const facts = (mapping) => Object.entries(mapping).filter(([, fact]) => fact !== null)
      .map(([key, fact]) => [key.replaceAll("_", " "), { text: typeof fact === "number" && UNITS[key] ? `${fact} ${UNITS[key]}` : String(fact), tone: "words" }]);
    return (value) => {
      setHidden(command, !value.argv.length);
      setText(line, shellLine(value.argv));
      options.update(facts(value.command));
      environment.update(facts({ "started at": value.started_at, "measured for": span(value.duration_s), ...value.environment }));
      return true;
    };
  }

  const SECTIONS = {
    verdict: verdictSection, gates: gatesSection, figures: figuresSection, rows: rowsSection, failures: failuresSection,
    account: accountSection, stages: stagesSection, "warm-up": warmUpSection, workers: workersSection, origin: originSection,
  };

  // Creates the sections of a document. A section without figures is hidden.
  function create(root) {
    const sections = Object.entries(SECTIONS).map(([id, make]) => {
      const section = root.getElementById(id);
      return [section, make(section)];
    });
    return {
      update(value) {
        for (const [section, show] of sections) setHidden(section, !show(value));
      },
      hide() {
        for (const [section] of sections) setHidden(section, true);
      },
    };
  }

  return { create, nameOf, statusText };
})();
