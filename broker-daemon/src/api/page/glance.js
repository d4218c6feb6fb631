// How the broker is: rates from the difference of two looks, and lists of who is there.
import { ask, json } from "/client.js";
import { word } from "/text.js";

const ROWS = 50;
const RATES = [
  ["messages_received", "received_rate"],
  ["messages_sent", "sent_rate"],
  ["bytes_received", "bytes_in_rate"],
  ["bytes_sent", "bytes_out_rate"],
];
const LEVELS = [
  ["connections", "connections"],
  ["sessions", "sessions"],
  ["subscriptions", "subscriptions"],
  ["queue_messages", "queued"],
  ["retained_messages", "retained"],
  ["messages_dropped", "dropped_total"],
];
const TABLES = {
  clients: [["client_id"], ["user_name"], ["connection.peer", "peer"], ["queue_messages", "waiting"]],
  slowest: [["client_id"], ["queue_messages", "waiting"], ["queue_bytes", "bytes"]],
  bridges: [["name"], ["state", "is"], ["why"], ["queue.messages", "waiting"]],
  webhooks: [["name"], ["state", "is"], ["why"], ["queue.messages", "waiting"]],
};

let before;

const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
const at = (item, path) => path.split(".").reduce((value, key) => value?.[key], item);

function duration(seconds) {
  const parts = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  return `${parts[0] ? `${parts[0]} d ` : ""}${parts[1]}:${String(parts[2]).padStart(2, "0")} h`;
}

function showNumbers(status) {
  const now = performance.now();
  const format = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 1 });
  const rate = (key) => (before ? (status[key] - before.status[key]) / ((now - before.now) / 1000) : 0);
  const pairs = [
    ...RATES.map(([key, name]) => [name, format.format(Math.max(0, rate(key)))]),
    ...LEVELS.map(([key, name]) => [name, format.format(status[key])]),
    ["uptime", duration(status.uptime_seconds)],
  ];
  const entries = pairs.map(([name, value]) => {
    const entry = document.createElement("div");
    entry.append(make("dt", word(name)), make("dd", value));
    return entry;
  });
  document.getElementById("rates").replaceChildren(...entries);
  before = { status, now };
}

function showTable(id, items, isMore) {
  const columns = TABLES[id];
  const table = document.getElementById(id);
  const head = document.createElement("tr");
  head.append(...columns.map(([path, name]) => Object.assign(make("th", word(name ?? path)), { scope: "col" })));
  const rows = items.map((item) => {
    const row = document.createElement("tr");
    row.append(...columns.map(([path]) => make("td", at(item, path) ?? "–")));
    return row;
  });
  if (!rows.length || isMore) {
    const row = document.createElement("tr");
    row.append(Object.assign(make("td", rows.length ? word("more") : word("none")), { colSpan: columns.length }));
    rows.push(row);
  }
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...rows);
}

// Whether this user may see it at all.
export async function begin() {
  const { role } = await json("/api/v1/me");
  const isAllowed = role !== "client";
  document.getElementById("no-role").hidden = isAllowed;
  for (const element of document.querySelectorAll("#rates, .tables")) element.hidden = !isAllowed;
  return isAllowed;
}

export async function look() {
  const status = await json("/api/v1/status");
  showNumbers(status);
  showTable("slowest", status.slowest, false);
  for (const list of ["clients", "bridges", "webhooks"]) {
    const { items, next } = await json(`/api/v1/${list}${list === "clients" ? `?limit=${ROWS}` : ""}`);
    showTable(list, items.slice(0, ROWS), next !== null || items.length > ROWS);
  }
}

export async function publish(message) {
  const headers = { "content-type": "application/json" };
  await ask("/api/v1/publish", { method: "POST", headers, body: JSON.stringify(message) });
}
