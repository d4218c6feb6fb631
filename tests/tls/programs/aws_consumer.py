"""A consumer such as a course writes for AWS IoT Core, with another endpoint: each message becomes a row of PostgreSQL.

Its callback sleeps after each of the first messages, and the library calls it on the thread that reads and writes the
connection. Lines: CONNECTED, SUBSCRIBED, ROW n (as often as it was called), INTERRUPTED if the connection broke.
"""

import json
import sys
import threading
import time

import psycopg2
from awscrt import io, mqtt
from awsiot import mqtt_connection_builder

settings = json.loads(sys.argv[1])
database = psycopg2.connect(settings["database"]) if settings["database"] else None
everything = threading.Event()
rows = 0


def say(*words):
    print(*words, flush=True)


def insert(topic, message):
    with database, database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO readings (topic, number, sensor) VALUES (%s, %s, %s)",
            (topic, message["number"], message["sensor"]),
        )


def on_message(topic, payload, **_):
    global rows
    message = json.loads(payload)
    if database:
        insert(topic, message)
    rows += 1
    say("ROW", message["number"])
    if rows <= settings["sleeps"]:
        time.sleep(settings["sleep_s"])
    if rows >= settings["count"]:
        everything.set()


event_loop_group = io.EventLoopGroup(1)
host_resolver = io.DefaultHostResolver(event_loop_group)
client_bootstrap = io.ClientBootstrap(event_loop_group, host_resolver)
port = {"port": settings["port"]} if settings["port"] else {}
connection = mqtt_connection_builder.mtls_from_path(
    endpoint=settings["endpoint"],
    cert_filepath=settings["cert"],
    pri_key_filepath=settings["key"],
    ca_filepath=settings["ca"],
    client_bootstrap=client_bootstrap,
    client_id=settings["client_id"],
    clean_session=False,
    keep_alive_secs=6,
    on_connection_interrupted=lambda connection, error, **_: say("INTERRUPTED", error),
    on_connection_resumed=lambda connection, return_code, session_present, **_: say("RESUMED", session_present),
    **port,
)
connection.on_message(on_message)
say("CONNECTED", connection.connect().result(60)["session_present"])
if settings["topic"]:
    granted, _ = connection.subscribe(topic=settings["topic"], qos=mqtt.QoS.AT_LEAST_ONCE)
    granted.result(60)
    say("SUBSCRIBED")
everything.wait(settings["patience_s"])
connection.disconnect().result(60)
