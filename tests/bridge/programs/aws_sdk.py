"""AWS's SDK with the steps of a device: subscribe, publish, a Retained Message, a session that waits, a Will.

Lines: what came of each step, in order. With `dies`, the process ends without a word once it is connected, and its Will is
left. `version` is 3 or 5. With `websocket`, it is a WebSocket signed for a user of the account, and not a certificate.
"""

import json
import os
import queue
import sys

settings = json.loads(sys.argv[1])
messages = queue.Queue()
WAIT = 60


def say(*words):
    print(*words, flush=True)


def build(builder, **common):
    """A client of the SDK, by one of its modules."""
    common |= dict(endpoint="localhost", port=settings["port"], ca_filepath=settings["ca"], client_id=settings["client_id"])
    if settings["websocket"]:
        from awscrt.auth import AwsCredentialsProvider

        credentials = AwsCredentialsProvider.new_static("AKIDEXAMPLE", "secret")
        return builder.websockets_with_default_aws_signing("local-1", credentials, **common)
    return builder.mtls_from_path(settings["cert"], settings["key"], **common)


class Version3:
    def __init__(self):
        from awscrt import mqtt
        from awsiot import mqtt_connection_builder

        self.mqtt = mqtt
        self.connection = build(
            mqtt_connection_builder,
            clean_session=False,
            keep_alive_secs=60,
            will=mqtt.Will("wills/" + settings["client_id"], mqtt.QoS.AT_LEAST_ONCE, b"gone", False),
        )
        self.connection.on_message(lambda topic, payload, retain, **_: messages.put((topic, payload, retain)))

    def connect(self):
        return self.connection.connect().result(WAIT)["session_present"]

    def subscribe(self, topic):
        return self.connection.subscribe(topic, self.mqtt.QoS.AT_LEAST_ONCE)[0].result(WAIT)["qos"].value

    def publish(self, topic, payload, retain=False):
        self.connection.publish(topic, payload, self.mqtt.QoS.AT_LEAST_ONCE, retain)[0].result(WAIT)
        return "acknowledged"

    def disconnect(self):
        self.connection.disconnect().result(WAIT)


class Version5:
    def __init__(self):
        from awscrt import mqtt5
        from awsiot import mqtt5_client_builder

        self.mqtt5 = mqtt5
        self.events = queue.Queue()

        def received(data):
            packet = data.publish_packet
            messages.put((packet.topic, packet.payload, packet.retain))

        self.client = build(
            mqtt5_client_builder,
            session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS,
            session_expiry_interval_sec=3600,
            keep_alive_interval_sec=60,
            will=mqtt5.PublishPacket(
                topic="wills/" + settings["client_id"], payload=b"gone", qos=mqtt5.QoS.AT_LEAST_ONCE
            ),
            on_publish_received=received,
            on_lifecycle_connection_success=lambda data: self.events.put(data.connack_packet.session_present),
            on_lifecycle_connection_failure=lambda data: self.events.put(data.exception),
            on_lifecycle_stopped=lambda data: self.events.put("stopped"),
        )

    def connect(self):
        self.client.start()
        present = self.events.get(timeout=WAIT)
        if isinstance(present, Exception):
            raise present
        return present

    def subscribe(self, topic):
        wanted = self.mqtt5.Subscription(topic_filter=topic, qos=self.mqtt5.QoS.AT_LEAST_ONCE)
        packet = self.mqtt5.SubscribePacket(subscriptions=[wanted])
        return self.client.subscribe(packet).result(WAIT).reason_codes[0].value

    def publish(self, topic, payload, retain=False):
        qos = self.mqtt5.QoS.AT_LEAST_ONCE
        packet = self.mqtt5.PublishPacket(topic=topic, payload=payload, qos=qos, retain=retain)
        code = self.client.publish(packet).result(WAIT).puback.reason_code
        return "acknowledged" if code.value == 0 else code.name

    def disconnect(self):
        self.client.stop(self.mqtt5.DisconnectPacket())
        while self.events.get(timeout=WAIT) != "stopped":
            pass


def next_message():
    topic, payload, retain = messages.get(timeout=WAIT)
    return topic, payload.decode(), "retained" if retain else "live"


device = Version5() if settings["version"] == 5 else Version3()
say("CONNECTED", device.connect())
if settings["dies"]:
    sys.stdin.readline()
    os._exit(9)
for step in settings["steps"]:
    what, *arguments = step
    if what == "receive":
        say("RECEIVED", *next_message())
    else:
        say(what.upper(), getattr(device, what)(*arguments))
device.disconnect()
say("DISCONNECTED")
