"""A client of ChannelAPI: it joins a channel whenever it has connected, and says what comes.

It is started as `python channel.py <url> <token> <transport>...`.
"""

import json
import sys

import socketio

url, token, *transports = sys.argv[1:]
client = socketio.Client(reconnection_delay=0.01, reconnection_delay_max=0.05)


def say(*line):
    print(json.dumps(line, separators=(",", ":")), flush=True)


client.on("connect", lambda: client.emit("join_channel", json.dumps({"token": token})))
client.on("clientevent", lambda told: say("clientevent", told))
client.on("message", lambda message: say("message", message))
client.on("disconnect", lambda reason: say("disconnect"))
client.connect(url, transports=transports)
client.wait()
