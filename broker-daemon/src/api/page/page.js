// The page: messages as they come, a chart of their numbers, how the broker is.
import { Chart } from "/chart.js";
import { NotAllowed, logIn, stream, takeToken } from "/client.js";
import * as glance from "/glance.js";
import { preferred, use, word } from "/text.js";

const LINES_MAX = 300;
const TEXT_MAX = 2000;
const LOOK_MS = 2000;
const WAIT_MS = [500, 1000, 2000, 5000, 10000];

const find = (id) => document.getElementById(id);
const chart = new Chart(find("chart"), find("values").tBodies[0], find("field"), find("series"), word);
const waiting = [];
let [isPaused, dropped, watching, state, isShown] = [false, 0, undefined, "state_connecting", false];

function setState(key) {
  state = key;
  find("state").textContent = word(key);
}

function mustLogIn(is) {
  find("login").hidden = !is;
  if (is) setState("state_login");
}

// The payload as it was sent: JSON.parse would change its digits.
function payloadOf(data) {
  const [from, to] = [data.indexOf(',"payload":'), data.lastIndexOf(',"payload_encoding":')];
  return data.slice(from + 11, to);
}

function take(name, data) {
  const event = JSON.parse(data);
  if (name === "dropped") {
    dropped += event.count;
    find("notice").textContent = `${dropped} ${word("dropped")}`;
    return;
  }
  if (name !== "message" || isPaused) return;
  const raw = event.payload_encoding === "json" ? payloadOf(data) : event.payload;
  const time = new Date(event.timestamp);
  if (event.payload_encoding === "json") chart.add(event.topic, event.payload, time.getTime() / 1000);
  waiting.push([time, event.topic, raw.length > TEXT_MAX ? `${raw.slice(0, TEXT_MAX)}…` : raw]);
  // A hidden tab draws nothing, and must not collect for it.
  if (waiting.length > LINES_MAX) waiting.shift();
}

function draw() {
  if (waiting.length) {
    const lines = waiting.splice(0).map(([time, topic, text]) => {
      const line = document.createElement("div");
      const when = Object.assign(document.createElement("time"), { textContent: time.toLocaleTimeString() });
      when.dateTime = time.toISOString();
      line.append(when, Object.assign(document.createElement("b"), { textContent: topic }));
      line.append(Object.assign(document.createElement("span"), { textContent: text }));
      return line;
    });
    const list = find("messages");
    list.prepend(...lines.reverse());
    while (list.children.length > LINES_MAX) list.lastChild.remove();
  }
  chart.draw();
  requestAnimationFrame(draw);
}

const sleep = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()));
  });

// Watches a filter until another one is watched.
async function watch() {
  watching?.abort();
  watching = new AbortController();
  const { signal } = watching;
  const path = `/api/v1/stream?filter=${encodeURIComponent(find("filter").value)}`;
  for (let failures = 0; !signal.aborted; failures += 1) {
    setState("state_connecting");
    const opened = () => {
      failures = 0;
      find("notice").textContent = "";
      mustLogIn(false);
      setState("state_open");
    };
    try {
      await stream(path, signal, opened, take);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof NotAllowed) return mustLogIn(true);
      find("notice").textContent = error.message;
    }
    setState("state_lost");
    await sleep(WAIT_MS[Math.min(failures, WAIT_MS.length - 1)], signal);
  }
}

async function look() {
  for (;;) {
    try {
      if (!document.hidden && find("login").hidden) {
        isShown ||= await glance.begin();
        if (isShown) await glance.look();
      }
    } catch {
      // The stream says what is wrong.
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

const onSubmit = (id, action) =>
  find(id).addEventListener("submit", (event) => (event.preventDefault(), action()));

onSubmit("stream-form", () => {
  clear();
  watch();
});
onSubmit("login-form", async () => {
  logIn(find("user").value, find("password").value);
  find("login-error").textContent = "";
  try {
    isShown = await glance.begin();
    mustLogIn(false);
    watch();
  } catch (error) {
    find("login-error").textContent = word("login_wrong") + error.message;
  }
});
onSubmit("publish-form", async () => {
  const text = find("payload").value;
  const [topic, qos, retain] = [find("topic").value, Number(find("qos").value), find("retain").checked];
  const said = find("published");
  try {
    await glance.publish({ topic, payload: text, payload_encoding: "text", qos, retain });
    said.textContent = `${word("published")}: ${topic}`;
    said.className = "";
  } catch (error) {
    said.textContent = error.message;
    said.className = "bad";
  }
});
find("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  find("pause").setAttribute("aria-pressed", String(isPaused));
});
find("clear").addEventListener("click", clear);
find("language").addEventListener("change", () => translate(find("language").value));

function clear() {
  waiting.length = 0;
  find("messages").replaceChildren();
  chart.clear();
}

async function translate(language) {
  await use(language);
  find("language").value = language;
  find("state").textContent = word(state);
  chart.translate();
}

takeToken();
await translate(preferred());
watch();
look();
draw();
