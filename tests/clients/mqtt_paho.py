"""A client of MQTT over PyPI's paho-mqtt: it does what programs do with a broker, and says "done".

It is started as `python mqtt_paho.py <url> <level> <username> <password> <prefix of its topics>`.
"""

import queue
import socket
import sys
from urllib.parse import urlsplit

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

url, level, username, password, prefix = sys.argv[1:]
url = urlsplit(url)
is_five = level == "5"


def connect(client_id, will=None):
    """Connects, and returns when the client is let in."""
    transport = "websockets" if url.scheme in ("ws", "wss") else "tcp"
    kind = {"protocol": int(level), "transport": transport}
    if not is_five:
        kind["clean_session"] = True
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, **kind)
    client.username_pw_set(username, password)
    if transport == "websockets":
        client.ws_set_options(path=url.path or "/mqtt")
    if url.scheme in ("mqtts", "wss"):
        client.tls_set()
    if will:
        client.will_set(prefix + will[0], *will[1:])
    client.came, client.answers = queue.Queue(), queue.Queue()
    client.on_connect = lambda client, data, flags, reason, properties: client.answers.put(reason)
    client.on_subscribe = lambda client, data, mid, reasons, properties: client.answers.put(reasons[0])
    client.on_unsubscribe = lambda client, data, mid, reasons, properties: client.answers.put(None)
    client.on_message = lambda client, data, message: client.came.put(message)
    client.connect(url.hostname, url.port)
    client.loop_start()
    reason = client.answers.get(timeout=30)
    assert reason == 0, reason
    return client


def subscribe(client, filter, **options):
    client.subscribe(prefix + filter, **options)
    return client.answers.get(timeout=30).value


def publish(client, topic, payload, **options):
    client.publish(prefix + topic, payload, **options).wait_for_publish(30)


def comes(client, topic, payload, qos, retain):
    message = client.came.get(timeout=30)
    came = (message.topic, message.payload, message.qos, message.retain)
    assert came == (prefix + topic, payload, qos, retain), came
    return message


here, there = connect("here"), connect("there")
for qos in range(3):
    assert subscribe(here, f"qos{qos}", qos=qos) == qos
    for of in range(3):
        publish(there, f"qos{qos}", f"by {of}", qos=of)
        comes(here, f"qos{qos}", f"by {of}".encode(), min(qos, of), False)

# A message that is retained comes to whoever subscribes later, until an empty one removes it.
publish(there, "home/kitchen/light", '{"on": true}', qos=1, retain=True)
publish(there, "home/kitchen/heard", "only now", qos=1)
subscribe(here, "home/+/light", qos=1)
comes(here, "home/kitchen/light", b'{"on": true}', 1, True)
publish(there, "home/kitchen/light", None, qos=1, retain=True)
comes(here, "home/kitchen/light", b"", 1, False)
here.unsubscribe(prefix + "home/+/light")
here.answers.get(timeout=30)
publish(there, "home/kitchen/light", "not for this one", qos=1)

# Bytes come as they are, and many of them.
subscribe(here, "bytes", qos=1)
data = bytes(range(256)) * 200
publish(there, "bytes", data, qos=1)
comes(here, "bytes", data, 1, False)

# A client that vanishes leaves its will.
subscribe(here, "gone", qos=1)
last = connect("last", will=("gone", "bye", 1, False))
last.loop_stop()
last.socket().close()
comes(here, "gone", b"bye", 1, False)

if is_five:
    options = paho.SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True)
    subscribe(here, "asked", options=options)
    publish(here, "asked", "of its own", qos=1)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.ResponseTopic = f"{prefix}answers"
    properties.CorrelationData = b"\x00\xff"
    properties.MessageExpiryInterval = 100
    properties.UserProperty = [("from", "there"), ("from", "again")]
    publish(there, "asked", "what?", qos=1, retain=True, properties=properties)
    came = comes(here, "asked", b"what?", 1, True).properties
    for name in ("ContentType", "ResponseTopic", "CorrelationData", "UserProperty"):
        assert getattr(came, name) == getattr(properties, name), name
    assert came.MessageExpiryInterval <= 100

# Many in flight at once come all, and in order.
subscribe(here, "many", qos=2)
for qos in (1, 2):
    sent = [there.publish(prefix + "many", str(number), qos=qos) for number in range(300)]
    for number in range(300):
        comes(here, "many", str(number).encode(), qos, False)
    for message in sent:
        message.wait_for_publish(30)
for client in (here, there):
    client.disconnect()
    client.loop_stop()
assert here.came.empty()
print("done", flush=True)
