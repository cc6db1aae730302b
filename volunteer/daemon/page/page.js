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

const coreSeconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} core-s`;
const time = (text) => new Date(text).toLocaleString();
const short = (id) => id.slice(0, 12);

/** A reason with what to do about it. */
function advice({ reason, hint }) {
  return hint ? element("span", {}, reason, " ", element("span", { class: "quiet" }, `(${hint})`)) : reason;
}

// What each section shows of the status.

function now(status) {
  if (!status.jobs.length) return [status.idle ? advice(status.idle) : quiet("Nothing runs.")];
  const held = (job) => job.lapsed ? "lease lapsed" : job.offline_until ? `offline until ${time(job.offline_until)}` : "";
  const columns = [
    ["project", (job) => job.project], ["job", (job) => job.name],
    ["task", (job) => String(job.task), "number"], ["runtime", (job) => job.runtime, "word"],
    ["stage", (job) => job.stage, "word"], ["lease", held],
  ];
  const obstacle = status.obstacle ? [element("p", {}, "Takes nothing new: ", advice(status.obstacle))] : [];
  return [table(columns, status.jobs), ...obstacle];
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

function receipts(status) {
  const waiting = status.undelivered ? [element("p", {}, `${status.undelivered} results wait for their receipts.`)] : [];
  if (!status.receipts.length) return [...waiting, quiet("None yet.")];
  const names = new Map(status.projects.map((it) => [it.project, it.name]));
  return [...waiting, table([
    ["when", (it) => time(it.issued), "word"], ["project", (it) => names.get(it.project) || short(it.project)],
    ["offer", (it) => element("code", { title: it.offer }, short(it.offer)), "word"],
    ["task", (it) => String(it.task), "number"],
    ["verdict", (it) => it.reason ? `${it.verdict}: ${it.reason}` : it.verdict],
    ["credit", (it) => coreSeconds(it.credit), "number"],
  ], status.receipts)];
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

const SECTIONS = { now, projects, declined, receipts, machine };
const shown = new Map(); // what each section was made of, so that nothing moves under a reader's hand

function show(status) {
  byId("name").textContent = status.name;
  const state = byId("state");
  const running = status.jobs.filter((job) => job.stage === "running").length;
  state.textContent = status.idle?.reason ?? (running ? `${running} running` : "busy");
  state.className = running ? "busy" : status.paused ? "held" : "";
  for (const [id, render] of Object.entries(SECTIONS)) {
    const made = element("div", {}, ...render(status));
    if (shown.get(id) === made.innerHTML) continue;
    shown.set(id, made.innerHTML);
    byId(id).querySelector("div").replaceWith(made);
  }
}

// How the daemon is asked.

/** The answer of the daemon; throws what went wrong, in words. */
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

let timer;

async function look() {
  clearTimeout(timer);
  if (!sessionStorage.getItem(TOKEN)) return lock();
  try {
    const status = await (await ask("status")).json();
    byId("unlock").hidden = true;
    byId("main").hidden = false;
    show(status);
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
document.addEventListener("visibilitychange", () => document.hidden || look());
addEventListener("hashchange", () => { takeToken(); look(); });
takeToken();
look();
