# Publishes with paho at QoS 2, and waits for PUBCOMP. Arguments: port, topic, payload.
import sys

import paho.mqtt.client as mqtt

port, topic, payload = sys.argv[1:]
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.connect("127.0.0.1", int(port))
client.loop_start()
client.publish(topic, payload, qos=2).wait_for_publish(10)
client.disconnect()
client.loop_stop()
