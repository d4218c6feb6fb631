"""What a webhook of Culex brings, in a text box and a chart. Run: flask --app app run --port 5000"""
from collections import deque

from flask import Flask, jsonify, request

app = Flask(__name__)
messages = deque(maxlen=100)  # the oldest go, so memory stays as it is


@app.post("/webhook")
def webhook():
    messages.append(request.get_json())
    return "Webhook received", 200


@app.get("/messages")
def latest():
    return jsonify(list(messages))


@app.get("/")
def page():
    return """<!doctype html><meta charset="utf-8"><title>Webhook</title>
<h1>Messages</h1>
<textarea id="box" rows="10" cols="80" readonly aria-label="messages"></textarea>
<h1>Chart</h1>
<svg id="chart" width="640" height="200" role="img" aria-label="values" style="border:1px solid">
  <polyline id="line" fill="none" stroke="steelblue" stroke-width="2"/></svg>
<script>
const number = p => typeof p === "number" ? p : Object.values(p ?? {}).find(v => typeof v === "number");
async function draw() {
  const all = await (await fetch("/messages")).json();
  box.value = all.map(m => m.topic + ": " + JSON.stringify(m.payload)).reverse().join("\\n");
  const values = all.map(m => number(m.payload)).filter(v => v !== undefined);
  const low = Math.min(...values), high = Math.max(...values);
  const x = n => 10 + 620 * n / Math.max(values.length - 1, 1);
  const y = v => 190 - 180 * (v - low) / (high - low || 1);
  line.setAttribute("points", values.map((v, n) => x(n) + "," + y(v)).join(" "));
}
setInterval(draw, 1000); draw();
</script>"""
