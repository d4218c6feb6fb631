"""One MQTT client as a process, with paho-mqtt 1.x or 2.x. The only argument is JSON; see `kind.rs`, which writes it.

Says what happens in lines: CONNECTED, SUBSCRIBED, MESSAGE, PINGRESP, PUBLISHED. A publisher reads one payload a line from
standard input; a subscriber without a count ends, politely, with its standard input.
"""

import json
import os
import sys
import threading

import paho.mqtt.client as mqtt

options = json.loads(sys.argv[1])
sys.stdin.reconfigure(encoding="utf-8", newline="\n")
sys.stdout.reconfigure(encoding="utf-8", newline="\n")
received = 0


def say(*words):
    sys.stdout.write("\t".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def new_client():
    settings = dict(client_id=options["id"], clean_session=options["clean"], protocol=options["version"])
    if hasattr(mqtt, "CallbackAPIVersion"):
        return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, **settings)
    return mqtt.Client(**settings)


def on_connect(client, userdata, flags, result, properties=None):
    if result != 0:
        say("REFUSED", result)
        os._exit(2)
    present = flags["session present"] if isinstance(flags, dict) else flags.session_present
    say("CONNECTED", int(present))
    if options["role"] == "subscribe" and not options["resume"]:
        client.subscribe(options["filter"], options["qos"])


def on_subscribe(client, userdata, mid, granted, properties=None):
    say("SUBSCRIBED", *(getattr(code, "value", code) for code in granted))
    if options["leave"]:
        client.disconnect()


def on_message(client, userdata, message):
    global received
    say("MESSAGE", message.qos, int(message.retain), message.topic, message.payload.decode())
    received += 1
    if received == options["count"]:
        # What comes after the last expected message but before UNSUBACK is one too many, and is printed too.
        client.unsubscribe(options["filter"])


def on_unsubscribe(client, *rest):
    client.disconnect()


def on_disconnect(client, userdata, *rest):
    # 1.x: (result); 2.x: (flags, result, properties).
    result = rest[1] if len(rest) == 3 else rest[0]
    if result != 0:
        say("LOST", result)
        os._exit(3)  # paho would connect again, and hide it


def on_log(client, userdata, level, text):
    if "Received PINGRESP" in text:
        say("PINGRESP")


def end_with_stdin(client):
    sys.stdin.read()
    client.disconnect()


def publish(client):
    client.loop_start()
    sent = [
        client.publish(options["topic"], line.rstrip("\n") or None, options["qos"], options["retain"]) for line in sys.stdin
    ]
    for message in sent:
        message.wait_for_publish()
    say("PUBLISHED", len(sent))
    client.disconnect()
    client.loop_stop()


client = new_client()
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.on_unsubscribe = on_unsubscribe
client.on_disconnect = on_disconnect
client.on_log = on_log
if options["user"] is not None:
    client.username_pw_set(options["user"], options["password"])
if options["will"] is not None:
    will = options["will"]
    client.will_set(will["topic"], will["payload"], will["qos"], will["retain"])
client.connect(options["host"], options["port"], options["keep_alive_s"])
if options["role"] == "publish":
    publish(client)
else:
    if options["count"] == 0 and not options["leave"]:
        threading.Thread(target=end_with_stdin, args=[client], daemon=True).start()
    client.loop_forever()
