// The page: it shows the value in the document (a report), or asks for one every two seconds (a running test).
(() => {
  "use strict";

  const { count, span } = window.TcpNumbers;
  const { element, setText } = window.TcpElements;
  const { create, isSetup, nameOf, statusText } = window.TcpTables;

  const PERIOD_MS = 2000;
  const HIDDEN_PERIOD_MS = 20_000;
  const LONGEST_PERIOD_MS = 30_000;
  const PATIENCE_MS = 10_000;
  const script = document.currentScript;
  const byId = (id) => document.getElementById(id);
  const tables = create(document);

  // Theme ---------------------------------------------------------------------------------------------------------

  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("geventecho-theme");
  } catch {
    // Without storage the choice lasts as long as the page.
  }

  function theme() {
    return chosen ?? (prefersDark.matches ? "dark" : "light");
  }

  function applyTheme() {
    document.documentElement.dataset.theme = theme();
    setText(byId("theme"), theme() === "dark" ? "Light theme" : "Dark theme");
    resetPlots();
  }

  byId("theme").addEventListener("click", () => {
    chosen = theme() === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("geventecho-theme", chosen);
    } catch {
      // As above.
    }
    applyTheme();
  });
  prefersDark.addEventListener("change", applyTheme);

  // Row and plots -------------------------------------------------------------------------------------------------

  let shown = null;
  let plots = null;
  let row = null;

  function resetPlots() {
    plots?.destroy();
    plots = null;
    if (shown) showPlots();
  }

  function showPlots() {
    plots ??= window.TcpPlots?.create(byId("plots"), { theme: theme() });
    plots?.update(shown, row);
  }

  // The row with the most good operations, of those that are not connects or log-ins.
  function busiest(rows) {
    const candidates = rows.filter((one) => !isSetup(one));
    const most = (candidates.length ? candidates : rows).reduce((best, one) => (best && best.ok >= one.ok ? best : one), null);
    return most && nameOf(most);
  }

  function showChoice(rows) {
    const names = rows.map(nameOf);
    if (!names.includes(row)) row = busiest(rows);
    const select = byId("row");
    const old = Array.from(select.options, (option) => option.value);
    if (old.length !== names.length || old.some((name, index) => name !== names[index])) {
      select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    }
    select.value = row ?? "";
  }

  byId("row").addEventListener("change", (event) => {
    row = event.target.value;
    if (isReport) showPlots();
    else poll();
  });

  // The value -----------------------------------------------------------------------------------------------------

  function stateText(value) {
    const users = value.series.run.users.at(-1);
    const facts = [`${span(value.elapsed_s)} elapsed`];
    if (value.left_s !== null) facts.push(`${span(value.left_s)} left`);
    if (typeof users === "number") facts.push(`${count(users)} users`);
    return facts.join(", ");
  }

  function show(value) {
    if (shown && shown.started_at !== value.started_at) {
      plots?.destroy();
      plots = null;
    }
    if (shown?.verdict.status !== value.verdict.status) {
      setText(byId("announcement"), `${byId("verdict-title").textContent}: ${statusText(value.verdict)}`);
    }
    shown = value;
    setText(byId("target"), value.target);
    tables.update(value);
    byId("over-time").hidden = !value.series.at_s.length;
    showChoice(value.rows);
    showPlots();
  }

  function showReport(value) {
    const when = value.started_at.slice(0, 19).replace("T", " ");
    setText(byId("state"), `${when} UTC, measured for ${span(value.duration_s)}`);
    show(value);
  }

  const NOTICES = {
    ready: "No test has run yet. Start one in Locust's page.",
    starting: "The test is starting.",
    stopping: "The test is stopping.",
  };

  function showLive(value) {
    document.documentElement.dataset.state = value.state;
    setText(byId("notice"), NOTICES[value.state] ?? "");
    if (value.verdict) {
      show(value);
      setText(byId("state"), `${value.state}: ${stateText(value)}`);
    } else {
      shown = null;
      tables.hide();
      byId("over-time").hidden = true;
      setText(byId("state"), value.state);
    }
    document.title = [value.state, value.target, "TCP load test"].filter(Boolean).join(" \u2013 ");
  }

  // Asking --------------------------------------------------------------------------------------------------------

  let isAsking = false;
  let isWanted = false;
  let errors = 0;
  let timer = null;

  async function ask() {
    const url = new URL("../live.json", script.src);
    if (row) url.searchParams.set("row", row);
    // A log-in is asked for by a redirect.
    const answer = await fetch(url, { cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
      return { trouble: "You are logged out. Load this page again to log in." };
    }
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return answer.json();
  }

  function period() {
    const usual = document.hidden ? HIDDEN_PERIOD_MS : PERIOD_MS;
    return errors ? Math.max(usual, Math.min(PERIOD_MS * 2 ** errors, LONGEST_PERIOD_MS)) : usual;
  }

  async function poll() {
    clearTimeout(timer);
    isWanted = isAsking;
    if (isAsking) return;
    isAsking = true;
    const value = await ask().catch(() => ({ trouble: "Connection to the load test lost, retrying." }));
    isAsking = false;
    errors = value.trouble ? errors + 1 : 0;
    if (isWanted) poll();
    else timer = setTimeout(poll, period());
    if (value.trouble) setText(byId("notice"), value.trouble);
    else showLive(value);
  }

  // -----------------------------------------------------------------------------------------------------------------

  const embedded = byId("result");
  const isReport = embedded !== null;
  byId("theme").hidden = false;
  applyTheme();
  if (isReport) {
    showReport(JSON.parse(embedded.textContent));
  } else {
    document.querySelector("nav").hidden = false;
    document.addEventListener("visibilitychange", () => document.hidden || poll());
    poll();
  }
})();
