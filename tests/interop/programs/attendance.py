"""A card reader at a door: publishes who came in, as JSON with accents and spaces in its keys, at QoS 2.

Usage: attendance.py HOST PORT TOPIC COUNT   prints what it publishes; paho-mqtt 1.x or 2.x
"""

import json
import sys

import paho.mqtt.client as mqtt

NAMES = ["Conceição", "João", "Zoë", "Ítalo", "Müller", "Ана", "花子"]

host, port, topic, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])

if hasattr(mqtt, "CallbackAPIVersion"):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
else:
    client = mqtt.Client()
client.connect(host, port)
client.loop_start()
sent = []
for number in range(count):
    entry = {
        "matrícula": f"2026-{number:04}",
        "nome": NAMES[number % len(NAMES)],
        "Data Hora": f"2026-03-01 08:{number % 60:02}:00",
        "posição": {"bloco": "B", "andar": number % 4, "observação": "porta à esquerda"},
    }
    text = json.dumps(entry, ensure_ascii=False)
    sent.append(client.publish(topic, text, qos=2))
    print(text, flush=True)
for message in sent:
    message.wait_for_publish()
client.disconnect()
client.loop_stop()
