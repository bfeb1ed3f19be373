"""Does what a client of Socket.IO can do against the echo application, and fails if anything comes back otherwise.

It is started as `python socket_io.py <url> <transport>...`.
"""

import queue
import sys

import socketio

url, *transports = sys.argv[1:]
client = socketio.Client(reconnection_delay=0.01)
seen = queue.Queue()


def heard(name, namespace="/"):
    client.on(name, lambda *args: seen.put((name, *args)), namespace=namespace)


for namespace in ["/", "/custom"]:
    for name in ["auth", "message-back", "number", "answered"]:
        heard(name, namespace)
client.on("question", lambda what: (what, b"\x05"))
client.on("disconnect", lambda reason: seen.put(("disconnect", reason)))


def following(*expected):
    got = seen.get(timeout=60)
    assert got == expected, (got, expected)


def echoes(namespace="/"):
    args = (1, "2", {"3": [True, None]}, "grün \U0001f600 \x1e", {"deep": [{"binary": b"\x01\x02"}]}, b"\x03")
    client.emit("message", args, namespace=namespace)
    following("message-back", *args)
    assert client.call("message-with-ack", args, namespace=namespace) == args
    large = "x" * 900_000
    assert client.call("message-with-ack", large, namespace=namespace) == large


client.connect(url, auth={"token": "123"}, transports=transports, namespaces=["/", "/custom"])
following("auth", {"token": "123"})
following("auth", {"token": "123"})
assert client.transport() == transports[-1]
echoes()
echoes("/custom")
client.emit("ask", {"to": "you"})
following("answered", {"to": "you"}, b"\x05")
client.emit("listen")
client.emit("more", 1000)
# This client has a thread for each event, so it loses their order itself.
numbers = sorted(seen.get(timeout=60)[1:] for _ in range(1000))
assert numbers == [(number, str(number)) for number in range(1000)], numbers
client.disconnect()
following("disconnect", "client disconnect")

# A namespace that there is not.
other = socketio.Client()
other.on("connect_error", lambda error: seen.put(("connect_error", error)), namespace="/unknown")
try:
    other.connect(url, transports=transports, namespaces=["/unknown"])
    raise AssertionError("it is connected")
except socketio.exceptions.ConnectionError:
    following("connect_error", {"message": "Invalid namespace"})
print("done")
