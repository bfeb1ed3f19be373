"""A client of MQTT over PyPI's gmqtt, which is written apart from all others: it does what programs do with a broker, and says "done".

It is started as `python mqtt_gmqtt.py <url> <level> <username> <password> <prefix of its topics>`.
"""

import asyncio
import ssl
import sys
from urllib.parse import urlsplit

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

url, level, username, password, prefix = sys.argv[1:]
url = urlsplit(url)
version = MQTTv50 if level == "5" else MQTTv311


async def connect(name, **more):
    client = gmqtt.Client(name, **more)
    client.came, client.subscribed = asyncio.Queue(), asyncio.Queue()

    def on_message(client, topic, payload, qos, properties):
        client.came.put_nowait((topic, bytes(payload), qos, bool(properties["retain"]), properties))
        return 0

    client.on_message = on_message
    client.on_subscribe = lambda client, mid, qos, properties: client.subscribed.put_nowait(list(qos))
    client.set_auth_credentials(username, password)
    context = ssl.create_default_context() if url.scheme == "mqtts" else False
    await client.connect(url.hostname, url.port, ssl=context, version=version)
    return client


async def subscribe(client, filter, qos, **more):
    client.subscribe(gmqtt.Subscription(prefix + filter, qos=qos, **more))
    assert await asyncio.wait_for(client.subscribed.get(), 30) == [qos]


async def comes(client, topic, payload, qos, retain):
    *came, properties = await asyncio.wait_for(client.came.get(), 30)
    assert came == [prefix + topic, payload, qos, retain], came
    return properties


async def main():
    here, there = await connect("here"), await connect("there")
    for qos in range(3):
        await subscribe(here, f"qos{qos}", qos)
        for of in range(3):
            there.publish(f"{prefix}qos{qos}", f"by {of}", qos=of)
            await comes(here, f"qos{qos}", f"by {of}".encode(), min(qos, of), False)
    await subscribe(here, "told", 1)
    there.publish(prefix + "told", "now", qos=1, retain=True)
    await comes(here, "told", b"now", 1, False)
    await subscribe(here, "+", 1)
    await comes(here, "told", b"now", 1, True)
    there.publish(prefix + "told", "", qos=1, retain=True)
    await comes(here, "told", b"", 1, False)
    if level == "5":
        more = {"content_type": "text/plain", "user_property": [("from", "there")], "message_expiry_interval": 100}
        there.publish(prefix + "asked", "what?", qos=1, **more)
        properties = await comes(here, "asked", b"what?", 1, False)
        assert properties["content_type"] == ["text/plain"], properties
        assert properties["user_property"] == [("from", "there")], properties
        assert properties["message_expiry_interval"][0] <= 100, properties
    # A client that vanishes leaves its will.
    will = gmqtt.Message(prefix + "gone", "bye", qos=1, will_delay_interval=0)
    last = await connect("last", will_message=will)
    last.set_config({"reconnect_retries": 0})
    last._connection._transport.abort()
    await comes(here, "gone", b"bye", 1, False)
    await here.disconnect()
    await there.disconnect()
    print("done", flush=True)


asyncio.run(main())
