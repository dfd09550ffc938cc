// What the pages gain from a script: live figures, clocks that run, a word about the JSON while it is typed,
// keys on the keyboard, and no text lost by closing a tab. Without it everything still works.

const units = [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]];

/** The same words as ttl_words in dashboard/words.py. */
function ttlWords(seconds) {
  if (seconds < 1) return seconds > 0 ? "under 1 s" : "expired";
  const whole = Math.floor(seconds);
  for (const [unit, size, lower, lowerSize] of units) {
    if (whole >= size) {
      const rest = Math.floor((whole % size) / lowerSize);
      const most = Math.floor(whole / size).toLocaleString("en");
      return rest ? `${most} ${unit} ${rest} ${lower}` : `${most} ${unit}`;
    }
  }
  return `${whole} s`;
}

function runClocks() {
  const clocks = [...document.querySelectorAll("[data-ttl]")].map((element) => [element, Number(element.dataset.ttl)]);
  if (!clocks.length) return;
  const start = performance.now();
  const tick = () => {
    const passed = (performance.now() - start) / 1000;
    let alive = false;
    for (const [element, ttl] of clocks) {
      const words = ttlWords(ttl - passed);
      if (element.textContent !== words) element.textContent = words;
      alive ||= ttl > passed;
      const notice = document.getElementById("expired");
      if (notice && ttl <= passed) notice.hidden = false;
    }
    if (alive) setTimeout(tick, 1000 - (passed * 1000) % 1000);
  };
  tick();
}

function count(value) {
  if (value === null) return "–";
  return value >= 10 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

/** The same line as spark in dashboard/words.py. */
function spark(series) {
  const top = Math.max(1, ...series);
  const step = 600 / Math.max(series.length - 1, 1);
  return "M" + series.map((value, at) => `${(at * step).toFixed(1)},${(62 - (value / top) * 58).toFixed(1)}`).join(" L");
}

function showFigures(live, figures) {
  const words = {
    rate: count(figures.rate),
    reads: count(figures.reads),
    writes: count(figures.writes),
    batch: count(figures.batch),
    largest: count(figures.largest),
    trip: figures.trip === null ? "–" : figures.trip.toFixed(2),
    errors: count(figures.errors),
    lost: count(figures.lost),
    milliseconds: String(figures.milliseconds),
    worker: String(figures.worker),
  };
  for (const name of ["connections", "topics", "heard", "said", "dropped"]) {
    if (name in figures) words[name] = count(figures[name]);
  }
  if ("unread" in figures) words.unread = figures.unread;
  for (const [name, text] of Object.entries(words)) {
    for (const element of live.querySelectorAll(`[data-live="${name}"]`)) element.textContent = text;
  }
  const line = spark(figures.series);
  live.querySelector(".spark .line").setAttribute("d", line);
  live.querySelector(".spark .area").setAttribute("d", `${line} L600,64 L0,64 Z`);
  showState(live, figures.up, figures.up ? "The store answers" : "The store does not answer");
}

function showState(live, up, words) {
  const state = live.querySelector("#state");
  state.classList.toggle("up", up);
  state.classList.toggle("down", !up);
  live.classList.toggle("stale", !up); // the figures are those of before
  const text = state.querySelector("[data-live=state]");
  if (text.textContent !== words) text.textContent = words; // said aloud only when it changes
}

function poll(live) {
  let timer = 0;
  let ended = false;
  const ask = async () => {
    clearTimeout(timer);
    if (document.hidden || ended) return;
    try {
      const answer = await fetch(live.dataset.liveUrl, { headers: { Accept: "application/json" } });
      if (answer.ok) {
        showFigures(live, await answer.json());
      } else if (answer.status === 401) {
        ended = true;
        showState(live, false, "Your session has ended. ");
        const link = document.createElement("a");
        link.href = live.dataset.signIn;
        link.textContent = "Sign in";
        live.querySelector("[data-live=state]").append(link);
      } else {
        showState(live, false, "The store does not answer");
      }
    } catch {
      showState(live, false, "The server does not answer");
    }
    timer = setTimeout(ask, 2000);
  };
  document.addEventListener("visibilitychange", ask);
  timer = setTimeout(ask, 1000);
}

function watchEditor(form) {
  const text = form.querySelector("#text");
  const check = form.querySelector("#check");
  const before = new FormData(form);
  const changed = () => [...new FormData(form)].some(([name, value]) => before.get(name) !== value);
  let leaving = false;
  let timer = 0;
  form.addEventListener("submit", () => { leaving = true; });
  form.querySelector("[data-leave]")?.addEventListener("click", () => { leaving = true; });
  addEventListener("beforeunload", (event) => {
    if (!leaving && changed()) event.preventDefault();
  });
  addEventListener("pageshow", () => { leaving = false; });
  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      let words = "";
      try {
        if (text.value.trim()) JSON.parse(text.value);
      } catch (error) {
        words = `Not JSON yet: ${error.message}`;
      }
      if (check.textContent !== words) check.textContent = words;
      check.classList.toggle("bad", words !== "");
    }, 400);
  });
  form.querySelector("#number")?.addEventListener("input", () => {
    form.querySelector("input[value=after]").checked = true;
  });
  form.querySelector("#unit")?.addEventListener("change", () => {
    form.querySelector("input[value=after]").checked = true;
  });
  form.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && (event.key === "s" || event.key === "Enter")) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

function listenForShortcuts() {
  const targets = new Map();
  for (const element of document.querySelectorAll("[data-shortcut]")) {
    targets.set(element.dataset.shortcut, element);
    element.setAttribute("aria-keyshortcuts", element.dataset.shortcut);
  }
  if (!targets.size) return;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const target = targets.get(event.key);
    if (!target) return;
    event.preventDefault();
    if (target.tagName === "INPUT") target.select();
    else target.click();
  });
}

/** Moments stand there in UTC; pointed at, they are said in the reader's own time. */
function localTimes() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    element.title = new Date(element.dateTime).toLocaleString();
  }
}

runClocks();
localTimes();
listenForShortcuts();
const live = document.getElementById("live");
if (live) poll(live);
const editor = document.querySelector("[data-editor]");
if (editor) watchEditor(editor);
