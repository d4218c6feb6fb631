"""Turns a lamp on and off: publishes 1 and 0 in turn. paho-mqtt 1.x, no client id, with a user name and a password.

Usage: switch.py HOST PORT TOPIC COUNT
"""

import sys

import paho.mqtt.client as mqtt

host, port, topic, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])

client = mqtt.Client(client_id="")
client.username_pw_set("aluno", "senha")
client.connect(host, port)
client.loop_start()
for number in range(count):
    state = "1" if number % 2 == 0 else "0"
    client.publish(topic, state).wait_for_publish()
client.disconnect()
client.loop_stop()
