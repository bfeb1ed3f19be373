"""A user over Socket.IO: it says what comes, and emits what it is told on its standard input, a JSON array a line.

It is started as `python signed_in.py <url> <auth> <transport>...`.
"""

import json
import sys
import threading

import socketio

url, auth, *transports = sys.argv[1:]
saying = threading.Lock()
client = socketio.Client(reconnection_delay=0.01, reconnection_delay_max=0.05)


def say(*line):
    # This client has a thread for each event.
    with saying:
        print(json.dumps(line, separators=(",", ":")), flush=True)


client.on("connect", lambda: say("connect", False))
client.on("disconnect", lambda reason: say("disconnect", reason))
client.on("*", lambda event, *args: say("event", event, *args))
client.connect(url, auth=json.loads(auth), transports=transports)
for line in sys.stdin:
    command, *args = json.loads(line)
    if command == "transport":
        say("transport", client.transport())
    else:
        client.emit(command, tuple(args), callback=lambda answer: say("answer", answer))
