// The dashboard: a client of the public API. Texts of builds only ever become text nodes, never markup.
"use strict";

const PAGE = 50;
const LOG_LINES = 5000; // In the page; older ones are in the plain text.
const FINAL = ["succeeded", "failed", "cancelled"];

const $ = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "data") Object.assign(made.dataset, value);
    else if (name === "class") made.className = value;
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/* ---- Who we are ---- */

// The token is kept in this variable and nowhere else: what is stored outlives the page, and other scripts could read it.
const me = { token: null, role: null };

const authorization = () => (me.token ? { authorization: `Bearer ${me.token}` } : {});

async function api(path, options = {}) {
  const headers = { accept: "application/json", ...authorization(), ...options.headers };
  const answer = await fetch(path, { ...options, headers });
  const body = await answer.json();
  if (answer.status === 401) signOut(me.token ? body.detail : "");
  if (!answer.ok) throw new Error(body.detail || answer.statusText);
  return body;
}

const pause = (time) => new Promise((done) => { setTimeout(done, time); });

// As EventSource, which cannot send a token: connects again behind the last event, and stops at 204.
class Events extends EventTarget {
  constructor(path) {
    super();
    Object.assign(this, { path, last: null, wait: 1000, isClosed: false, stop: new AbortController(), onopen: null, onerror: null });
    this.run();
  }

  close() {
    this.isClosed = true;
    this.stop.abort();
  }

  async run() {
    while (!this.isClosed) {
      try {
        const headers = { accept: "text/event-stream", ...authorization() };
        if (this.last !== null) headers["last-event-id"] = this.last;
        const answer = await fetch(this.path, { headers, signal: this.stop.signal, cache: "no-store" });
        if (answer.ok && answer.status !== 204) {
          if (this.onopen) this.onopen();
          await this.read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
        } else if (answer.status === 401) {
          this.close();
          signOut(me.token ? (await answer.json()).detail : "");
        } else if (answer.status < 500 && answer.status !== 429) {
          this.close();
        }
      } catch { /* The connection is gone; it is made again below. */ }
      if (this.onerror) this.onerror();
      if (!this.isClosed) await pause(this.wait);
    }
  }

  async read(reader) {
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const frames = (rest + value).split("\n\n");
      rest = frames.pop();
      for (const frame of frames) {
        if (this.isClosed) return;
        this.tell(frame);
      }
    }
  }

  tell(frame) {
    const fields = {};
    for (const line of frame.split("\n")) {
      const colon = line.indexOf(": ");
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
    }
    if (fields.id !== undefined) this.last = fields.id;
    if (fields.retry !== undefined) this.wait = Number(fields.retry) || this.wait;
    if (fields.event !== undefined) this.dispatchEvent(new MessageEvent(fields.event, { data: fields.data }));
  }
}

async function signIn(token) {
  me.token = token;
  let who;
  try {
    who = await api("/whoami");
  } catch (error) {
    // A 401 has shown the form already.
    if ($("sign-in").hidden) {
      $("list-error").textContent = `The server does not answer: ${error.message}`;
      $("list-error").hidden = false;
      setTimeout(() => signIn(token), 3000);
    }
    return;
  }
  me.role = who.role;
  $("token").value = "";
  $("sign-in").hidden = true;
  $("who").hidden = $("sign-out").hidden = who.kind === "local";
  $("who").textContent = `${who.name} · ${who.role}`;
  go();
  follow();
}

function signOut(why) {
  me.token = me.role = null;
  if (me.events) me.events.close();
  if (page.log) page.log.close();
  Object.assign(page, { id: null, log: null, steps: [], shown: null });
  list.builds.clear();
  Object.assign(list, { next: null, loaded: false });
  changed.clear();
  for (const id of ["builds", "log", "runs", "artifacts"]) $(id).replaceChildren();
  for (const id of ["list-page", "build-page", "who", "sign-out"]) $(id).hidden = true;
  for (const id of ["build-name", "build-facts", "workers"]) $(id).textContent = "";
  document.title = "fournil";
  $("live").dataset.state = "off";
  $("live").textContent = "signed out";
  $("sign-in-error").textContent = why;
  $("sign-in-error").hidden = !why;
  $("sign-in").hidden = false;
  $("token").focus();
}

const mayBuild = () => me.role === "builder" || me.role === "admin";

function span(from, to) {
  if (!from) return "";
  const seconds = Math.max(0, Math.round(((to ? new Date(to) : new Date()) - new Date(from)) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function since(moment) {
  const seconds = (new Date() - new Date(moment)) / 1000;
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (seconds >= size) return words.format(-Math.floor(seconds / size), unit);
  }
  return "just now";
}

const badge = (state) => element("span", { class: "badge", data: { state } }, state);
const isDone = (build) => FINAL.includes(build.state);
const titleOf = (build) => build.name || build.runs.map((run) => run.name).join(", ") || build.id;

/* ---- The list ---- */

const list = { builds: new Map(), next: null, state: "", asked: 0, loaded: false };

function progressOf(build) {
  const total = build.runs.reduce((sum, run) => sum + run.steps_total, 0);
  if (isDone(build) || total === 0) return null;
  const done = build.runs.reduce((sum, run) => sum + run.steps_done, 0);
  const bar = element("progress", { class: "progress", max: total, value: done });
  bar.setAttribute("aria-label", `${done} of ${total} steps`);
  return bar;
}

function row(build) {
  const labels = Object.entries(build.labels).map(([name, value]) => `${name}=${value}`);
  const what = build.artifacts.filter((artifact) => !artifact.removed_at).map((artifact) => artifact.id);
  const doing = build.runs.filter((run) => run.state === "running" && run.step).map((run) => run.step);
  const waiting = build.runs.map((run) => run.waiting_for).find(Boolean);
  const under = [build.error && build.error.detail, waiting, ...what, ...doing, ...labels].filter(Boolean).join(" · ");
  return element("li", {}, element("a", { class: "build", href: `#/builds/${build.id}` },
    badge(build.state),
    element("span", { class: "title" }, titleOf(build)),
    element("span", { class: "when", title: new Date(build.created_at).toLocaleString() },
      `${since(build.created_at)}${build.started_at ? ` · ${span(build.started_at, build.finished_at)}` : ""}`),
    under ? element("span", { class: "under" }, under) : null,
    progressOf(build)));
}

function showList() {
  const wanted = list.state ? list.state.split(",") : null;
  const builds = [...list.builds.values()]
    .filter((build) => !wanted || wanted.includes(build.state))
    .sort((one, other) => (one.created_at < other.created_at || (one.created_at === other.created_at && one.id < other.id) ? 1 : -1));
  $("builds").replaceChildren(...builds.map(row));
  $("empty").hidden = builds.length > 0 || !list.loaded;
  $("more").hidden = list.next === null;
}

async function loadList(more) {
  const asked = ++list.asked;
  const query = new URLSearchParams({ limit: PAGE });
  if (list.state) query.set("state", list.state);
  if (more && list.next) query.set("cursor", list.next);
  try {
    const page = await api(`/builds?${query}`);
    if (asked !== list.asked) return; // Another filter was chosen meanwhile.
    if (!more) list.builds.clear();
    for (const build of page.builds) remember(build);
    list.next = page.next;
    list.loaded = true;
    $("list-error").hidden = true;
  } catch (error) {
    $("list-error").textContent = `The builds cannot be shown: ${error.message}`;
    $("list-error").hidden = false;
  }
  showList();
}

function remember(build) {
  const known = list.builds.get(build.id);
  if (!known || known.version <= build.version) list.builds.set(build.id, build);
}

/* ---- What changes ---- */

const changed = new Set();
let reading = false;

// Events tell which builds have changed; several in short order cost one read each.
async function readChanged() {
  if (reading) return;
  reading = true;
  while (changed.size > 0) {
    const [id] = changed;
    changed.delete(id);
    try {
      const build = await api(`/builds/${id}`);
      remember(build);
      if (page.id === id) await showBuild(build);
    } catch { /* It is gone, or the next event brings it again. */ }
  }
  reading = false;
  if (!page.id) showList();
}

function follow() {
  if (me.events) me.events.close();
  const events = new Events("/events");
  me.events = events;
  let drawn = null;
  events.addEventListener("ready", () => {
    $("live").dataset.state = "on";
    $("live").textContent = "live";
    // Read after `ready`, from which on nothing is missed.
    loadList(false);
    loadFacts();
    if (page.id) refreshBuild();
  });
  events.addEventListener("state", (event) => {
    changed.add(JSON.parse(event.data).build);
    clearTimeout(drawn);
    drawn = setTimeout(readChanged, 50);
  });
  events.onerror = () => {
    if (events !== me.events || !me.role) return;
    $("live").dataset.state = "off";
    if (events === me.events && !events.isClosed) $("live").textContent = "reconnecting";
  };
}

async function loadFacts() {
  if (!me.role) return;
  try {
    const [version, workers] = await Promise.all([api("/version"), api("/workers")]);
    $("version").textContent = version.version;
    const slots = workers.workers.reduce((sum, worker) => sum + worker.slots, 0);
    const busy = workers.workers.reduce((sum, worker) => sum + worker.busy, 0);
    $("workers").textContent = slots ? `${busy} of ${slots} slots busy` : "no workers";
  } catch { /* Decoration. */ }
}

/* ---- One build ---- */

const page = { id: null, log: null, steps: [], shown: null };

function artifactItem(artifact) {
  const snapshots = artifact.type === "omi" ? artifact.snapshots : artifact.snapshot ? [artifact.snapshot] : [];
  const what = artifact.type === "omi" ? artifact.name : `${artifact.device} · ${artifact.size} GiB`;
  const end = artifact.removed_at ? `destroyed ${new Date(artifact.removed_at).toLocaleString()}` : artifact.removal_error ? `could not be destroyed: ${artifact.removal_error}` : "";
  const facts = [artifact.region, what, snapshots.join(", "), end].filter(Boolean).join(" · ");
  return element("li", {}, element("code", {}, artifact.id), element("span", { class: "quiet" }, facts));
}

function stepItem(step) {
  const time = step.finished_at ? `${step.seconds < 10 ? step.seconds.toFixed(1) : Math.round(step.seconds)} s` : span(step.started_at);
  return element("li", {}, element("span", { class: "badge", data: { state: step.state }, title: step.state }),
    element("span", {}, step.name.replaceAll("_", " ")), element("span", { class: "time" }, time));
}

function button(text, title, action) {
  const made = element("button", { class: "plain", type: "button", title }, text);
  made.addEventListener("click", action);
  return made;
}

function heldItem(run) {
  const how = run.held.ssh || `VM ${run.held.vm}`;
  const ways = [["retry", "Run the failed step again", "On the same VM"], ["keep", "Keep", "The run ends, what it made stays for a while"],
    ["cleanup", "Clean up", "What it made is removed"]];
  return element("div", { class: "notice" },
    element("p", {}, `Held until ${new Date(run.held_until).toLocaleString()}: `, element("code", {}, how)),
    mayBuild() ? element("p", {}, ...ways.map(([then, text, title]) => button(text, title, () => act("release", { then, run: run.name })))) : null);
}

function runItem(run) {
  const steps = page.steps.filter((step) => step.run === run.name && step.attempt === run.attempt);
  const facts = [
    run.builder,
    run.attempt > 1 ? `attempt ${run.attempt}` : "",
    run.kept_until ? `kept until ${new Date(run.kept_until).toLocaleString()}` : run.held ? "held" : run.cleanup === "pending" ? "cleaning up" : run.cleanup === "failed" ? "cleanup is tried again" : "",
    run.started_at ? span(run.started_at, run.finished_at) : "",
  ].filter(Boolean).join(" · ");
  return element("div", { class: "run" },
    element("div", { class: "run-head" }, badge(run.state), run.name, element("span", { class: "quiet" }, facts)),
    run.held ? heldItem(run) : null,
    run.error ? element("p", { class: "problem" }, `${run.error.title}: ${run.error.detail}`) : null,
    element("ol", { class: "steps" }, ...steps.map(stepItem)));
}

function problem(error) {
  const parts = [element("strong", {}, error.title), element("p", {}, error.detail)];
  if (error.last_lines) parts.push(element("pre", {}, error.last_lines.join("\n")));
  if (error.hint) parts.push(element("p", { class: "quiet" }, error.hint));
  if (error.oapi) {
    const { action, code, request_id: id } = error.oapi;
    parts.push(element("p", { class: "quiet" }, [action, code, id].filter(Boolean).join(" · ")));
  }
  return parts;
}

function fill(id, hidden, ...children) {
  $(id).hidden = hidden;
  if (!hidden) $(id).replaceChildren(...children);
}

async function showBuild(build) {
  if (page.shown && page.shown.id === build.id && page.shown.version > build.version) return;
  const { steps } = await api(`/builds/${build.id}/steps`);
  if (page.id !== build.id) return;
  page.shown = build;
  page.steps = steps;
  drawBuild();
}

function drawBuild() {
  const build = page.shown;
  if (!build) return;
  document.title = `${titleOf(build)} · fournil`;
  $("build-name").textContent = titleOf(build);
  $("build-state").dataset.state = build.state;
  $("build-state").textContent = build.cancel_requested && !isDone(build) ? "cancelling" : build.state;
  $("build-facts").textContent = [
    build.id, new Date(build.created_at).toLocaleString(), build.started_at ? span(build.started_at, build.finished_at) : "",
    build.created_by && build.created_by !== "local" ? `by ${build.created_by}` : "",
    ...Object.entries(build.labels).map(([name, value]) => `${name}=${value}`),
  ].filter(Boolean).join(" · ");
  $("cancel").hidden = isDone(build) || !mayBuild();
  $("cancel").disabled = build.cancel_requested;
  $("retry").hidden = !isDone(build) || !mayBuild();
  fill("build-error", !build.error, ...(build.error ? problem(build.error) : []));
  fill("build-notices", build.notices.length === 0, ...build.notices.map((notice) => element("p", {}, notice)));
  const kept = build.runs.some((run) => run.kept_until);
  fill("build-leftovers", build.leftovers.length === 0, element("p", {}, kept ? "Kept in the cloud for a while: " : "Still being removed from the cloud: ",
    mayBuild() ? button("Remove now", "Does not wait for the next try, or the end of the time", () => act("cleanup")) : null),
    ...build.leftovers.map((left) => element("p", {}, element("code", {}, `${left.kind} ${left.id || "(unknown)"}`), left.last_error ? ` ${left.last_error}` : "")));
  $("build-artifacts").hidden = build.artifacts.length === 0;
  $("artifacts").replaceChildren(...build.artifacts.map(artifactItem));
  $("runs").replaceChildren(...build.runs.map(runItem));
}

async function refreshBuild() {
  const id = page.id;
  try {
    await showBuild(await api(`/builds/${id}`));
  } catch (error) {
    if (page.id === id) fill("build-error", false, element("p", {}, error.message));
  }
}

const waiting = [];
let painting = false;

// Lines are put into the page in bunches, so that a fast log does not stall it.
function paint() {
  painting = false;
  const log = $("log");
  log.append(...waiting.splice(0));
  while (log.childElementCount > LOG_LINES) log.firstElementChild.remove();
  if ($("follow").checked) log.scrollTop = log.scrollHeight;
}

function addLine(line) {
  const run = page.shown && page.shown.runs.length > 1 && line.run ? element("span", {}, `${line.run} `) : null;
  waiting.push(element("div", { data: { stream: line.stream }, title: new Date(line.at).toLocaleTimeString() }, run, line.line || "\u00a0"));
  if (waiting.length > LOG_LINES) waiting.splice(0, waiting.length - LOG_LINES);
  if (!painting) {
    painting = true;
    requestAnimationFrame(paint);
  }
}

function openLog(id) {
  const log = new Events(`/builds/${id}/logs?tail=${LOG_LINES}`);
  page.log = log;
  $("log-state").textContent = "";
  log.addEventListener("log", (event) => addLine(JSON.parse(event.data)));
  for (const kind of ["state", "step", "artifact"]) {
    log.addEventListener(kind, () => {
      changed.add(id);
      clearTimeout(page.timer);
      page.timer = setTimeout(readChanged, 100);
    });
  }
  log.addEventListener("end", () => {
    log.close();
    $("log-state").textContent = "complete";
    refreshBuild();
  });
  log.onerror = () => { if (page.log === log && !log.isClosed) $("log-state").textContent = "reconnecting"; };
  log.onopen = () => { $("log-state").textContent = "live"; };
}

async function act(name, body) {
  const id = page.id;
  if ($(name)) $(name).disabled = true;
  try {
    const json = { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const build = await api(`/builds/${id}/${name}`, { method: "POST", ...(body ? json : {}) });
    remember(build);
    if (build.id === id) await showBuild(build);
    else location.hash = `#/builds/${build.id}`;
    drawBuild();
  } catch (error) {
    fill("build-error", false, element("p", {}, error.message));
  }
  if ($(name)) $(name).disabled = page.shown && name === "cancel" ? page.shown.cancel_requested : false;
}

/* ---- Where we are ---- */

function go() {
  if (!me.role) return;
  if (page.log) page.log.close();
  clearTimeout(page.timer);
  waiting.length = 0;
  const match = location.hash.match(/^#\/builds\/([0-9a-f-]{36})$/);
  Object.assign(page, { id: match ? match[1] : null, log: null, steps: [], shown: null });
  $("list-page").hidden = Boolean(match);
  $("build-page").hidden = !match;
  document.title = "fournil";
  if (!match) return showList();
  $("log").replaceChildren();
  $("runs").replaceChildren();
  for (const id of ["build-error", "build-notices", "build-leftovers", "build-artifacts"]) $(id).hidden = true;
  $("build-name").textContent = "";
  $("raw").href = `/builds/${page.id}/logs`;
  refreshBuild().then(() => { if (page.id === match[1] && !page.log) openLog(match[1]); });
}

$("filters").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  for (const other of $("filters").children) other.setAttribute("aria-pressed", String(other === button));
  list.state = button.dataset.state;
  loadList(false);
});
$("more").addEventListener("click", () => loadList(true));
$("cancel").addEventListener("click", () => act("cancel"));
$("retry").addEventListener("click", () => act("retry"));
$("log").addEventListener("wheel", (event) => { if (event.deltaY < 0) $("follow").checked = false; }, { passive: true });
window.addEventListener("hashchange", go);
$("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  if (token) signIn(token);
});
$("sign-out").addEventListener("click", () => signOut(""));
// A link cannot send a token: the text is fetched, and shown in a page of its own.
$("raw").addEventListener("click", async (event) => {
  if (!me.token) return;
  event.preventDefault();
  const shown = window.open("", "_blank");
  try {
    const answer = await fetch($("raw").href, { headers: { accept: "text/plain", ...authorization() } });
    if (!answer.ok) throw new Error(answer.statusText);
    const text = new Blob([await answer.arrayBuffer()], { type: "text/plain;charset=utf-8" });
    shown.location = URL.createObjectURL(text);
  } catch {
    if (shown) shown.close();
  }
});
// Times go on while nothing else happens.
setInterval(() => { if (!me.role) return; if (page.id) { if (page.shown && !isDone(page.shown)) drawBuild(); } else showList(); }, 5000);
setInterval(loadFacts, 15000);

signIn(null);
