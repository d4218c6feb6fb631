"""Keeps the list of those who came in: one of several subscribers to one topic, at QoS 2.

Usage: attendance_list.py HOST PORT TOPIC COUNT   prints COUNT entries, and ends; paho-mqtt 1.x or 2.x
"""

import json
import sys

import paho.mqtt.client as mqtt

host, port, topic, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
entries = {}


def on_connect(client, userdata, flags, rc, properties=None):
    client.subscribe(topic, qos=2)


def on_subscribe(client, userdata, mid, granted, properties=None):
    print("SUBSCRIBED", flush=True)


def on_message(client, userdata, message):
    text = message.payload.decode("utf-8")
    entry = json.loads(text)
    if entry["matrícula"] in entries:
        print("twice:", text, flush=True)
    entries[entry["matrícula"]] = entry["Data Hora"]
    print(text, flush=True)
    if len(entries) == count:
        client.disconnect()


if hasattr(mqtt, "CallbackAPIVersion"):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
else:
    client = mqtt.Client()
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.connect(host, port)
client.loop_forever()
