"""A client of notiflux over PyPI's websockets: it subscribes to a topic whenever it has connected, and says what comes.

It is started as `python topics.py <url> <topic> <token>`.
"""

import asyncio
import json
import sys

import websockets

url, topic, token = sys.argv[1:]


async def listen():
    async with websockets.connect(url) as socket:
        await socket.send(f"/subscribe {topic} {token}")
        # Its answer says that the command before it is in force.
        await socket.send("/ready?")
        async for message in socket:
            kind = "text" if isinstance(message, str) else "binary"
            print(json.dumps([kind, message], separators=(",", ":")), flush=True)


async def main():
    while True:
        try:
            await listen()
        except (OSError, websockets.WebSocketException):
            pass
        await asyncio.sleep(0.01)


asyncio.run(main())
