"""A lamp that follows what is published to its topic. paho-mqtt 1.x, no client id, with a user name and a password.

Usage: lamp.py HOST PORT TOPIC COUNT   prints `on` or `off` COUNT times, and ends
"""

import sys

import paho.mqtt.client as mqtt

host, port, topic, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
changes = 0


def on_connect(client, userdata, flags, rc):
    client.subscribe(topic)


def on_subscribe(client, userdata, mid, granted_qos):
    print("SUBSCRIBED", flush=True)


def on_message(client, userdata, message):
    global changes
    state = {"1": "on", "0": "off"}.get(message.payload.decode(), "broken")
    print(state, flush=True)
    changes += 1
    if changes == count:
        client.disconnect()


client = mqtt.Client(client_id="")
client.username_pw_set("aluno", "senha")
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.connect(host, port)
client.loop_forever()
