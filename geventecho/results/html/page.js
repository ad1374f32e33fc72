// The page shows the value in the document (a report), or polls for a value every two seconds (a running test).
(() => {
  "use strict";

  const { count, span } = window.TcpNumbers;
  const { element, setHidden, setText } = window.TcpElements;
  const { create, nameOf, statusText } = window.TcpTables;

  const PERIOD_MS = 2000;
  const HIDDEN_PERIOD_MS = 20_000;
  const LONGEST_PERIOD_MS = 30_000;
  const TIMEOUT_MS = 10_000;
  const script = document.currentScript;
  const byId = (id) => document.getElementById(id);
  const tables = create(document);

  // Theme ---------------------------------------------------------------------------------------------------------

  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("geventecho-theme");
  } catch {
    // Without storage the choice lasts until the page is closed.
  }

  function theme() {
    return chosen ?? (prefersDark.matches ? "dark" : "light");
  }

  function applyTheme() {
    document.documentElement.dataset.theme = theme();
    setText(byId("theme"), theme() === "dark" ? "Light theme" : "Dark theme");
  }

  byId("theme").addEventListener("click", () => {
    chosen = theme() === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("geventecho-theme", chosen);
    } catch {
      // Without storage, see above.
    }
    applyTheme();
  });
  prefersDark.addEventListener("change", applyTheme);
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.theme = "light";
  });
  addEventListener("afterprint", applyTheme);

  // Row and plots -------------------------------------------------------------------------------------------------

  let shown = null;
  let plots = null;
  let row = null;
  let isChosen = false;

  function resetPlots() {
    plots?.destroy();
    plots = null;
  }

  function showPlots() {
    setHidden(byId("over-time"), !shown?.series.at_s.length);
    if (byId("over-time").hidden) return;
    plots ??= window.TcpPlots.create(byId("plots"));
    plots.update(shown, row);
  }

  // The row with the most good operations, connects and log-ins left out.
  function busiest(rows) {
    const candidates = rows.filter((one) => !one.setup);
    const most = (candidates.length ? candidates : rows).reduce((best, one) => (best && best.ok >= one.ok ? best : one), null);
    return most && nameOf(most);
  }

  function showChoice(rows) {
    const names = rows.map(nameOf);
    const current = rows.find((one) => nameOf(one) === row);
    // The first rows of a test have only connects.
    if (!current || (!isChosen && current.setup)) row = busiest(rows);
    const select = byId("row");
    const old = Array.from(select.options, (option) => option.value);
    if (old.length !== names.length || old.some((name, index) => name !== names[index])) {
      select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    }
    select.value = row ?? "";
  }

  byId("row").addEventListener("change", (event) => {
    row = event.target.value;
    isChosen = true;
    if (isReport) showPlots();
    else poll();
  });

  // The value -----------------------------------------------------------------------------------------------------

  function progressOf(value) {
    const facts = [`${span(Math.round(value.elapsed_s))} elapsed`];
    if (value.left_s) facts.push(`${span(Math.round(value.left_s))} left`);
    const users = value.now.users ?? null;
    return [...facts, `${count(users)} users`].join(", ");
  }

  function show(value) {
    if (shown?.started_at !== value.started_at) resetPlots();
    shown = value;
    setText(byId("target"), value.target);
    tables.update(value);
    setText(byId("announcement"), `${byId("verdict-title").textContent}: ${statusText(value.verdict)}`);
    showChoice(value.rows);
    showPlots();
  }

  function showReport(value) {
    const when = value.started_at.slice(0, 19).replace("T", " ");
    setText(byId("progress"), `${when} UTC, measured for ${span(value.duration_s)}`);
    show(value);
  }

  const NOTHING = { text: "" };
  const NOTICES = {
    ready: { text: "No test has run yet.", link: ["Start one in Locust\u2019s UI", "./"] },
    starting: { text: "The test is starting." },
    stopping: { text: "The test is stopping." },
  };
  const NO_FIGURES = { text: "There are no live figures. The load test\u2019s log says why. The result comes at the end of the test.", tone: "bad" };
  const LONGEST_START_S = 20;
  const LOST = { text: "The connection to the load test is lost. Retrying.", tone: "bad" };
  const LOGGED_OUT = { text: "You are logged out.", link: ["Log in again", "tcp"], tone: "bad" };
  let noticed = NOTHING;

  function showNotice(notice) {
    if (notice === noticed) return;
    noticed = notice;
    byId("notice").className = notice.tone ?? "";
    byId("notice").replaceChildren(element("span", {}, notice.text));
    if (notice.link) byId("notice").append(" ", element("a", { href: notice.link[1] }, notice.link[0]));
    byId("notice").hidden = !notice.text;
  }

  function noticeOf(value) {
    const isLate = value.state === "starting" && value.elapsed_s > LONGEST_START_S;
    return isLate || (value.state === "running" && !value.verdict) ? NO_FIGURES : NOTICES[value.state] ?? NOTHING;
  }

  function showLive(value) {
    setText(byId("state"), value.state);
    showNotice(noticeOf(value));
    for (const link of document.querySelectorAll("nav [download]")) setHidden(link, !value.verdict);
    if (value.verdict) {
      show(value);
      setText(byId("progress"), progressOf(value));
    } else {
      shown = null;
      tables.hide();
      showPlots();
      setText(byId("progress"), "");
    }
    document.title = [value.state, value.target, "TCP load test"].filter(Boolean).join(" \u2013 ");
  }

  // Polling -------------------------------------------------------------------------------------------------------

  let isAsking = false;
  let mustPollAgain = false;
  let errors = 0;
  let timer = null;

  async function ask(asked) {
    const url = new URL("../live.json", script.src);
    url.searchParams.set("row", asked);
    // Locust redirects a request without a log-in to the log-in page.
    const answer = await fetch(url, { cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (answer.type === "opaqueredirect" || answer.status === 401) return { trouble: LOGGED_OUT };
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return answer.json();
  }

  function period() {
    const usual = document.hidden ? HIDDEN_PERIOD_MS : PERIOD_MS;
    return errors ? Math.max(usual, Math.min(PERIOD_MS * 2 ** errors, LONGEST_PERIOD_MS)) : usual;
  }

  async function poll() {
    clearTimeout(timer);
    mustPollAgain = isAsking;
    if (isAsking) return;
    isAsking = true;
    const asked = row ?? "";  // with "" the answer has no row's series
    const value = await ask(asked).catch(() => ({ trouble: LOST }));
    isAsking = false;
    errors = value.trouble ? errors + 1 : 0;
    if (mustPollAgain) poll();
    else timer = setTimeout(poll, period());
    if (value.trouble) {
      showNotice(value.trouble);
    } else {
      showLive(value);
      if ((row ?? "") !== asked) poll();
    }
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
