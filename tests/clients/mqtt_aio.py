"""A client of MQTT over PyPI's aiomqtt: it does what programs do with a broker, and says "done".

It is started as `python mqtt_aio.py <url> <level> <username> <password> <prefix of its topics>`.
"""

import asyncio
import sys
from urllib.parse import urlsplit

import aiomqtt

url, level, username, password, prefix = sys.argv[1:]
url = urlsplit(url)


def client(name, **more):
    more["tls_params"] = aiomqtt.TLSParameters() if url.scheme == "mqtts" else None
    return aiomqtt.Client(
        url.hostname,
        url.port,
        identifier=name,
        username=username,
        password=password,
        protocol=aiomqtt.ProtocolVersion(int(level)),
        **more,
    )


async def main():
    async with client("here") as here, client("there") as there:
        messages = aiter(here.messages)

        async def comes(topic, payload, qos, retain):
            message = await asyncio.wait_for(anext(messages), 30)
            came = (str(message.topic), message.payload, message.qos, message.retain)
            assert came == (prefix + topic, payload, qos, retain), came

        for qos in range(3):
            await here.subscribe(f"{prefix}qos{qos}", qos=qos)
            for of in range(3):
                await there.publish(f"{prefix}qos{qos}", f"by {of}", qos=of)
                await comes(f"qos{qos}", f"by {of}".encode(), min(qos, of), False)
        await there.publish(prefix + "home/light", "on", qos=1, retain=True)
        await here.subscribe(prefix + "+/light", qos=1)
        await comes("home/light", b"on", 1, True)
        await there.publish(prefix + "home/light", None, qos=1, retain=True)
        await comes("home/light", b"", 1, False)
        # A client whose connection is lost leaves its will.
        await here.subscribe(prefix + "gone", qos=2)
        last = client("last", will=aiomqtt.Will(prefix + "gone", "bye", 2))
        await last.__aenter__()
        last._client.socket().close()
        await comes("gone", b"bye", 2, False)
    print("done", flush=True)


asyncio.run(main())
