"""A client of ChannelAPI: it joins a channel whenever it has connected, and says what comes.

It is started as `python channel.py <url> <token> <transport>...`.
"""

import json
import sys

import engineio
import socketio


class InOrder(engineio.Client):
    """Handles one message after the other. The library has a thread for each, so they would be said in any order."""

    def _trigger_event(self, event, *args, run_async=False, **kwargs):
        return super()._trigger_event(event, *args, run_async=False, **kwargs)


class Client(socketio.Client):
    def _engineio_client_class(self):
        return InOrder


url, token, *transports = sys.argv[1:]
client = Client(reconnection_delay=0.01, reconnection_delay_max=0.05)


def say(*line):
    print(json.dumps(line, separators=(",", ":")), flush=True)


client.on("connect", lambda: client.emit("join_channel", json.dumps({"token": token})))
client.on("clientevent", lambda told: say("clientevent", told))
client.on("message", lambda message: say("message", message))
client.on("disconnect", lambda reason: say("disconnect"))
client.connect(url, transports=transports)
client.wait()
