// Numbers of payloads over time. Bounded: what is older or more goes.
const MESSAGES_MAX = 2000;
const FIELDS_MAX = 64;
const DEPTH_MAX = 4;
const LINES_MAX = 12;
const TOPIC = "\u0000topic";
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#7a5cc7", "#8c564b"];
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

// Scalars of a payload by their path; "" is the payload itself.
function scalars(value, path = "", depth = 0, found = new Map()) {
  if (found.size >= FIELDS_MAX) return found;
  if (value !== null && typeof value === "object") {
    if (depth < DEPTH_MAX) {
      for (const [key, inner] of Object.entries(value).slice(0, FIELDS_MAX)) {
        scalars(inner, path ? `${path}.${key}` : key, depth + 1, found);
      }
    }
  } else {
    found.set(path, value);
  }
  return found;
}

const number = (value) =>
  typeof value === "number" && Number.isFinite(value) ? value : typeof value === "boolean" ? Number(value) : undefined;

export class Chart {
  constructor(place, table, fields, series, word) {
    Object.assign(this, { place, table, fields, series, word });
    this.messages = [];
    this.numbers = new Set();
    this.texts = new Set();
    this.isStale = true;
    fields.addEventListener("change", () => (this.isStale = true));
    series.addEventListener("change", () => (this.isStale = true));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redo());
    addEventListener("resize", () => this.redo());
    this.options();
  }

  add(topic, payload, seconds) {
    const found = scalars(payload);
    const known = this.numbers.size + this.texts.size;
    for (const [path, value] of found) {
      if (this.numbers.size + this.texts.size >= 2 * FIELDS_MAX) break;
      if (number(value) !== undefined) this.numbers.add(path);
      else if (typeof value === "string") this.texts.add(path);
    }
    // Numbers may be names too: of sensors, say.
    if (known !== this.numbers.size + this.texts.size) this.options();
    if (![...found.values()].some((value) => number(value) !== undefined)) return;
    this.messages.push({ topic, found, seconds });
    if (this.messages.length > MESSAGES_MAX) this.messages.splice(0, this.messages.length - MESSAGES_MAX);
    this.isStale = true;
  }

  clear() {
    this.messages = [];
    this.numbers.clear();
    this.texts.clear();
    this.options();
    this.isStale = true;
  }

  translate() {
    this.options();
    this.redo();
  }

  redo() {
    this.forget();
    this.isStale = true;
  }

  options() {
    const name = (path) => path || this.word("whole");
    const fill = (select, options) => {
      const chosen = select.value;
      select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
      if (options.some(([value]) => value === chosen)) select.value = chosen;
    };
    const numbers = [...this.numbers].sort().map((path) => [path, name(path)]);
    fill(this.fields, numbers.length ? numbers : [["", this.word("nothing_yet")]]);
    const keys = [...this.texts, ...this.numbers].filter((path) => path).sort();
    fill(this.series, [[TOPIC, this.word("topic")], ...keys.map((path) => [path, path])]);
  }

  lines() {
    const [field, by] = [this.fields.value, this.series.value];
    const lines = new Map();
    for (const { topic, found, seconds } of this.messages) {
      const value = number(found.get(field));
      if (value === undefined) continue;
      const name = by === TOPIC ? topic : found.has(by) ? String(found.get(by)) : undefined;
      if (name === undefined) continue;
      if (!lines.has(name)) {
        if (lines.size >= LINES_MAX) continue;
        lines.set(name, []);
      }
      lines.get(name).push([seconds, value]);
    }
    return lines;
  }

  // Draws what has changed; called as often as the screen wants it.
  draw() {
    if (!this.isStale) return;
    this.isStale = false;
    const lines = this.lines();
    this.fillTable(lines);
    const times = [...new Set([...lines.values()].flatMap((points) => points.map(([seconds]) => seconds)))];
    times.sort((a, b) => a - b);
    const place = new Map(times.map((seconds, at) => [seconds, at]));
    const columns = [...lines.values()].map((points) => {
      const column = new Array(times.length).fill(undefined);
      for (const [seconds, value] of points) column[place.get(seconds)] = value;
      return column;
    });
    const names = [...lines.keys()];
    if (!this.plot || this.names.join("\n") !== names.join("\n")) this.make(names);
    this.plot.setData([times, ...columns]);
  }

  make(names) {
    this.forget();
    this.names = names;
    const style = getComputedStyle(document.body);
    const [text, grid] = [style.color, style.getPropertyValue("--line")];
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid } };
    const series = names.map((label, n) => ({
      label,
      stroke: COLOURS[n % COLOURS.length],
      dash: DASHES[Math.floor(n / COLOURS.length) % DASHES.length],
      width: 2,
      spanGaps: true,
      points: { size: 5 },
    }));
    const time = (seconds, isFine) => {
      const fraction = isFine ? { fractionalSecondDigits: 2 } : {};
      const format = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", ...fraction };
      return new Date(seconds * 1000).toLocaleTimeString(document.documentElement.lang, format);
    };
    const isFine = (seconds) => seconds.length > 1 && seconds[1] - seconds[0] < 1;
    const times = { ...axis, space: 100, values: (_, ticks) => ticks.map((tick) => time(tick, isFine(ticks))) };
    const clock = { label: this.word("time"), value: (_, seconds) => (seconds ? time(seconds, true) : "–") };
    const width = this.place.clientWidth || 600;
    const options = { width, height: 300, series: [clock, ...series], axes: [times, { ...axis, size: 70 }] };
    this.plot = new uPlot(options, [[], ...names.map(() => [])], this.place);
  }

  forget() {
    this.plot?.destroy();
    this.plot = undefined;
    this.names = [];
  }

  // The same for those who do not see the chart.
  fillTable(lines) {
    const rows = [...lines].map(([name, points]) => {
      const values = points.map(([, value]) => value);
      const cells = [values.at(-1), Math.min(...values), Math.max(...values), values.length];
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head, ...cells.map((cell) => Object.assign(document.createElement("td"), { textContent: cell })));
      return row;
    });
    this.table.replaceChildren(...rows);
  }
}
