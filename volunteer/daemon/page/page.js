// The page of talkoot-volunteer: asks the daemon while somebody looks, and shows what it says.
//
// Whatever strangers wrote becomes text and never markup: nodes are made by `element`, and nothing is
// parsed as HTML.
"use strict";

const INTERVAL = 2000; // milliseconds between two looks
const TOKEN = "token"; // its place in the session's storage, which ends with the tab

const byId = (id) => document.getElementById(id);

/** An element of `name` with `attributes`, around texts and elements. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A table of `rows`, of objects; a column is a heading, a function from row to cell, and a class. */
function table(columns, rows) {
  const head = columns.map(([title, , kind]) => element("th", kind ? { class: kind } : {}, title));
  const cell = (row) => ([, show, kind]) => element("td", kind ? { class: kind } : {}, show(row) ?? "");
  const lines = rows.map((row) => element("tr", {}, ...columns.map(cell(row))));
  return element("table", {},
    element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
}

const quiet = (text) => element("p", { class: "quiet" }, text);

const UNITS = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]];

function bytes(count) {
  const [unit, size] = UNITS.find(([, size]) => count >= size) ?? ["B", 1];
  const amount = count / size;
  return `${amount >= 100 || Number.isInteger(amount) ? Math.round(amount) : amount.toFixed(1)} ${unit}`;
}

function duration(seconds) {
  const [unit, size] = [["d", 86400], ["h", 3600], ["min", 60]].find(([, size]) => seconds >= size) ?? ["s", 1];
  return `${Number((seconds / size).toFixed(1))} ${unit}`;
}

const coreSeconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} core-s`;
const time = (text) => new Date(text).toLocaleString();
const short = (id) => id.slice(0, 12);

/** A reason with what to do about it. */
function advice({ reason, hint }) {
  return hint ? element("span", {}, reason, " ", element("span", { class: "quiet" }, `(${hint})`)) : reason;
}

// What each section shows of the status.

/** The step of a job, and how far it says that it is. */
function running({ progress }) {
  if (!progress) return "";
  const { name, step, steps, fraction, message } = progress;
  const percent = typeof fraction === "number" ? `${(fraction * 100).toFixed(1)} %` : "";
  const said = [percent, message].filter(Boolean).join(", ");
  return `${name} (step ${step} of ${steps})${said && `; ${said}`}`;
}

/** What there is to say of its checkpoints. */
function checkpoints({ progress, goes_on }) {
  if (!progress) return "";
  const { resumed, checkpoint_age_s, checkpoint_refused } = progress;
  return [
    resumed > 0 && `went on from one ${resumed} times`,
    typeof checkpoint_age_s === "number" && `the last one ${duration(checkpoint_age_s)} ago`,
    checkpoint_refused && `refused: ${checkpoint_refused}`,
    goes_on && "would go on after a restart",
  ].filter(Boolean).join("; ");
}

/** What the steps that have ended took. */
function used({ progress }) {
  if (!progress || progress.step < 2) return "";
  const { cpu_ms, memory, fuel } = progress;
  const metered = typeof fuel === "number" ? `, ${fuel} units of fuel` : "";
  return `${coreSeconds(cpu_ms)}, ${bytes(memory)}${metered}`;
}

const wait = (job) => job.stage === "waiting" && job.lacks_package ? "waiting for its package" : job.stage;
const allowed = ({ limits, network }) =>
  `${limits.cores} cores, ${bytes(limits.memory)}, ${duration(limits.wall_s)}, network: ${network}`;

function lease(job) {
  if (job.lapsed) return "lapsed";
  return job.offline_until ? `offline until ${time(job.offline_until)}` : `since ${time(job.granted)}`;
}

/** A button that shows what the job writes, and why it runs. */
function closer(job) {
  const button = element("button", { type: "button", "aria-controls": "closer" }, "look closer");
  button.addEventListener("click", () => lookCloser(job));
  return button;
}

/** What waits beside the jobs in hand. */
function waits({ brought_waiting, work_buffer, undelivered }) {
  const ahead = ({ work_seconds, wanted_seconds, waiting }) =>
    `Work buffer: ${duration(work_seconds)} of ${duration(wanted_seconds)}; ${waiting} tasks have not begun.`;
  return [
    brought_waiting && `${brought_waiting} tasks that were brought have not begun.`,
    work_buffer && ahead(work_buffer),
    undelivered && `${undelivered} results wait for their receipts.`,
  ].filter(Boolean).map((text) => element("p", {}, text));
}

function now(status) {
  const waiting = waits(status);
  if (!status.jobs.length) return [status.idle ? advice(status.idle) : quiet("Nothing runs."), ...waiting];
  const columns = [
    ["project", (job) => job.project], ["job", (job) => job.name],
    ["task", (job) => String(job.task), "number"], ["runtime", (job) => job.runtime, "word"],
    ["stage", wait], ["since", (job) => time(job.since)], ["step", running],
    ["checkpoint", checkpoints], ["used", used], ["may use", allowed], ["lease", lease], ["", closer, "word"],
  ];
  const obstacle = status.obstacle ? [element("p", {}, "Takes nothing new: ", advice(status.obstacle))] : [];
  return [table(columns, status.jobs), ...obstacle, ...waiting];
}

function projects(status) {
  if (!status.projects.length) return [quiet("None is trusted. talkoot-volunteer project add <URI that the project publishes>")];
  const check = (it) => it.value === null ? `${it.name}: ${it.reason ?? ""}` : `${it.name} = ${JSON.stringify(it.value)}`;
  return [table([
    ["project", (it) => it.name || short(it.project)],
    ["key", (it) => element("code", { title: it.project }, short(it.project)), "word"],
    ["", (it) => it.trusted ? "trusted" : "trusted no more", "word"],
    ["accepted", (it) => String(it.accepted), "number"],
    ["not accepted", (it) => String(it.rejected), "number"],
    ["credit", (it) => coreSeconds(it.credit), "number"],
    ["checks", (it) => it.checks.map(check).join("; ")],
  ], status.projects)];
}

function declined(status) {
  if (!status.declined.length) return [quiet("No offer was declined.")];
  const names = new Map(status.projects.map((it) => [it.project, it.name]));
  const project = (it) => names.get(it.project) || short(it.project);
  return [table([
    ["job", (it) => it.name], ["project", project], ["why", (it) => it.reason], ["what to do", (it) => it.hint],
  ], status.declined)];
}

/** What ran, newest first; `page` is what the daemon says of it. */
function past({ runs }) {
  if (!runs.length) return [quiet("Nothing yet.")];
  const verdict = ({ result, receipt }) => {
    if (!receipt) return result;
    return receipt.reason ? `${receipt.verdict}: ${receipt.reason}` : receipt.verdict;
  };
  return [table([
    ["ended", (it) => time(it.finished)], ["project", (it) => it.project_name || short(it.project)],
    ["job", (it) => it.name], ["task", (it) => String(it.task), "number"], ["runtime", (it) => it.runtime, "word"],
    ["how", (it) => it.reason ? `${it.ended}: ${it.reason}` : it.ended],
    ["took", (it) => `${(it.wall_ms / 1000).toFixed(1)} s`, "number"],
    ["processors", (it) => coreSeconds(it.cpu_ms), "number"], ["memory", (it) => bytes(it.memory), "number"],
    ["fetched", (it) => bytes(it.fetched), "number"], ["sent", (it) => bytes(it.sent), "number"],
    ["its project said", verdict],
    ["credit", (it) => it.receipt ? coreSeconds(it.receipt.credit) : "", "number"],
  ], runs)];
}

function machine(status) {
  const { cores, memory, disk } = status.donated;
  const runtime = (it) => `${it.runtime}: ${it.reason === null ? `offered, ${it.strength}` : `not offered, ${it.reason}`}`;
  const rows = [
    ["donated", `${cores} cores, ${bytes(memory)} of memory, ${bytes(disk)} of disk`],
    ["free on the disk", bytes(status.disk_free)],
    ["brokers", status.brokers.map(short).join(", ") || `none connected, ${status.broker_addresses} dialled`],
    ...status.runtimes.map((it) => ["runtime", runtime(it)]),
    ["key", status.key],
    ...(status.owner ? [["owner", status.owner]] : []),
    ["version", status.version],
  ];
  return [element("dl", {}, ...rows.flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]))];
}

const SECTIONS = { now, projects, declined, machine };
const shown = new Map(); // what each section was made of, so that nothing moves under a reader's hand

/** Shows `made` in the section `id`, if it is not what stands there. */
function put(id, made) {
  const content = element("div", {}, ...made);
  if (shown.get(id) === content.innerHTML) return;
  shown.set(id, content.innerHTML);
  byId(id).querySelector("div").replaceWith(content);
}

function show(status) {
  byId("name").textContent = status.name;
  const state = byId("state");
  const moving = status.jobs.filter((job) => job.stage === "running").length;
  state.textContent = status.idle?.reason ?? (moving ? `${moving} running` : "busy");
  state.className = moving ? "busy" : status.paused ? "held" : "";
  for (const [id, render] of Object.entries(SECTIONS)) put(id, render(status));
}

// How the daemon is asked.

/** The answer of the daemon; throws what went wrong, in words. `options` are those of `fetch`. */
async function ask(path, options = {}) {
  const headers = { authorization: `Bearer ${sessionStorage.getItem(TOKEN) ?? ""}` };
  const answer = await fetch(`/api/v1/${path}`, { ...options, headers, cache: "no-store" });
  if (answer.status === 401) {
    lock();
    throw new Error("the token is not the daemon's");
  }
  if (!answer.ok) throw new Error((await answer.text()).trim() || `the daemon answered ${answer.status}`);
  return answer;
}

function lock() {
  sessionStorage.removeItem(TOKEN);
  byId("unlock").hidden = false;
  byId("main").hidden = true;
  byId("state").textContent = "locked";
  byId("state").className = "held";
}

const pages = []; // where the page of the history that is shown begins, and those before it
let older = null;

const historyPath = () => `history?limit=20${pages.length ? `&before=${pages.at(-1)}` : ""}`;

// One job more closely.

const MOST = 200_000; // characters of output that are kept here
let reading; // ends the reading of the former job

async function lookCloser(job) {
  reading?.abort();
  const ended = reading = new AbortController();
  const output = byId("output");
  byId("closer").hidden = false;
  byId("closer-title").textContent = `${job.name}, task ${job.task}`;
  byId("grounds").replaceChildren();
  output.textContent = "";
  const say = (text) => { output.textContent = (output.textContent + text).slice(-MOST); };
  try {
    const grounds = await (await ask(`jobs/${job.lease}/why`, ended)).json();
    byId("grounds").replaceChildren(...why(grounds));
    const lines = (await ask(`jobs/${job.lease}/log?follow=true`, ended)).body.pipeThrough(new TextDecoderStream());
    let rest = "";
    for await (const piece of lines) {
      const whole = (rest + piece).split("\n");
      rest = whole.pop();
      for (const line of whole) say(event(JSON.parse(line)));
    }
  } catch (error) {
    if (!ended.signal.aborted) say(`\n[${error.message}]\n`);
  }
}

/** Why a job runs, in items of a list. */
function why({ job, note, permitted, policy }) {
  const trusted = `${job.project} is trusted${note && ` (${note})`} and may use ${permitted.join(", ")}`;
  const clauses = policy.map(({ clause, has }) => `you want ${clause}; the job has ${has}`);
  return [trusted, ...clauses].map((text) => element("li", {}, text));
}

/** One event of a log, as text. */
function event({ event: kind, name, bytes: count, text, over }) {
  switch (kind) {
    case "step": return `[step ${name}]\n`;
    case "left-out": return `[${bytes(count)} left out]\n`;
    case "output": return text;
    default: return over ? "\n[the job is over]\n" : "";
  }
}

let timer;

async function look() {
  clearTimeout(timer);
  if (!sessionStorage.getItem(TOKEN)) return lock();
  try {
    const [status, page] = await Promise.all([ask("status"), ask(historyPath())].map(async (it) => (await it).json()));
    byId("unlock").hidden = true;
    byId("main").hidden = false;
    show(status);
    put("history", past(page));
    older = page.next;
    byId("older").disabled = older === null;
    byId("newest").disabled = pages.length === 0;
  } catch (error) {
    if (!sessionStorage.getItem(TOKEN)) return;
    byId("state").textContent = `no answer: ${error.message}`;
    byId("state").className = "held";
  }
  // Nobody looks, nobody asks.
  if (!document.hidden) timer = setTimeout(look, INTERVAL);
}

async function wish(name, body) {
  const said = byId("said");
  try {
    await ask(name, { method: "POST", body: body && JSON.stringify(body) });
    said.textContent = "";
  } catch (error) {
    said.textContent = error.message;
  }
  await look();
}

/** Takes the token out of the address, so that it is in no bookmark and in no picture of the screen. */
function takeToken() {
  const token = location.hash.slice(1);
  if (!token) return;
  sessionStorage.setItem(TOKEN, token);
  history.replaceState(null, "", location.pathname);
}

byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value.trim());
  byId("token").value = "";
  look();
});
byId("wishes").addEventListener("submit", (event) => {
  event.preventDefault();
  const seconds = Number(byId("length").value);
  wish("pause", { ...(seconds && { seconds }), note: byId("note").value });
});
byId("resume").addEventListener("click", () => wish("resume"));
byId("drain").addEventListener("click", () => wish("drain"));
byId("stop").addEventListener("click", () => {
  if (confirm("Stop the daemon? Jobs that run are given back.")) wish("stop");
});
byId("older").addEventListener("click", () => { if (older !== null) pages.push(older); look(); });
byId("newest").addEventListener("click", () => { pages.length = 0; look(); });
byId("close").addEventListener("click", () => { reading?.abort(); byId("closer").hidden = true; });
document.addEventListener("visibilitychange", () => document.hidden || look());
addEventListener("hashchange", () => { takeToken(); look(); });
takeToken();
look();
