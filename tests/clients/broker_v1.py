"""A user's program over PyPI's `websockets`: signs in with the token on the standard input, inserts some numbers, and awaits them all.

The argument is the address.
"""

import asyncio
import json
import sys

import websockets


async def main(url: str, token: str) -> None:
    async with websockets.connect(url, subprotocols=["broker.v1"]) as socket:
        assert socket.subprotocol == "broker.v1"
        await socket.send(json.dumps({"do": "sign_in", "ref": 0, "token": token, "events": "python/*", "marks": True}))
        for number in range(1, 101):
            frame = {"do": "insert", "ref": number, "event": "python/1", "data": {"number": number, "text": "x" * 10 * number}}
            await socket.send(json.dumps(frame))
        receipts, events = {}, []
        while len(receipts) < 101 or len(events) < 100:
            frame = json.loads(await socket.recv())
            if "ref" in frame:
                receipts[frame["ref"]] = frame["ok"]
            elif frame.get("event") == "python/1":
                events.append(frame)
        assert [event["data"]["number"] for event in events] == list(range(1, 101)), events
        assert [event["id"] for event in events] == [receipts[number]["id"] for number in range(1, 101)]
        await socket.close()
    print(f"{len(events)} events, {socket.close_code}")


asyncio.run(main(sys.argv[1], sys.stdin.readline().strip()))
