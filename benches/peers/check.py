#!/usr/bin/env python3
"""Checks that a peer, started by start.sh, delivers messages: check.py <peer> <port> [window] [--show] [--qos0]

Three subscribers connect, then one publisher sends 100 messages. Each subscriber must receive each message once, in
order. `window` is the number of publishes sent before the first acknowledgement (default 1). --show prints the bytes on
the wire. --qos0 publishes to mosquitto without acknowledgement. If a check fails, the reason is printed and the exit
status is 1.
"""
import json
import re
import socket
import struct
import sys
import threading
import time

SUBSCRIBERS = 3
MESSAGES = 100
DEADLINE = 15
AFTER = 0.5  # seconds to wait for surplus messages

show = "--show" in sys.argv
qos0 = "--qos0" in sys.argv
arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
if len(arguments) not in (2, 3):
    sys.exit(__doc__)
peer, port, window = arguments[0], int(arguments[1]), int((arguments + ["1"])[2])
channel = "check-%d" % time.time_ns()


def payload(seq):
    """Similar to the load tool's payload: about 200 bytes, the time in microseconds."""
    return json.dumps({"seq": seq, "at": time.time_ns() // 1000, "pad": "x" * 160}, separators=(",", ":")).encode()


def print_wire(what, data):
    if show:
        print("--- " + what)
        print(data.decode() if all(b < 128 and (b >= 32 or b in (10, 13)) for b in data) else repr(data))


class Connection:
    """A socket that reads up to a delimiter or a length, and keeps the bytes after it."""

    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the server closed the connection, with %r left to read" % self.buffer[:200])
        self.buffer += data

    def until(self, end):
        while end not in self.buffer:
            self.more()
        found, self.buffer = self.buffer.split(end, 1)
        return found + end

    def exactly(self, size):
        while len(self.buffer) < size:
            self.more()
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    def answer(self):
        """One whole HTTP answer."""
        head = self.until(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
        if length:
            return head + self.exactly(int(length[1]))
        if b"chunked" in head.lower():
            body = b""
            while not body.endswith(b"0\r\n\r\n"):
                size = self.until(b"\r\n")
                body += size + self.exactly(int(size, 16) + 2)
            return head + body
        if b" 204 " in head.split(b"\r\n", 1)[0]:
            return head
        raise ValueError("an answer without a length: %r" % head)


def request(method, path, headers=(), body=b""):
    lines = ["%s %s HTTP/1.1" % (method, path), "Host: 127.0.0.1:%d" % port, *headers]
    if method != "GET":
        lines.append("Content-Length: %d" % len(body))
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def expect(answer, *statuses):
    if not any(answer.startswith(b"HTTP/1.1 %d " % status) for status in statuses):
        raise ValueError("not %s: %r" % (statuses, answer[:300]))
    return answer


class Sse(Connection):
    """An endless HTTP answer of server-sent events, chunked or not."""

    def subscribe(self, path, headers=()):
        text = request("GET", path, ["Accept: text/event-stream", *headers])
        print_wire("subscribe", text)
        self.send(text)
        head = expect(self.until(b"\r\n\r\n"), 200)
        print_wire("answer", head)
        self.chunked = b"transfer-encoding: chunked" in head.lower()
        self.raw, self.buffer = self.buffer, b""
        self.wire = b""
        self.refill()

    def refill(self):
        """Moves complete chunks from the wire to the text."""
        while self.raw:
            if not self.chunked:
                self.buffer, self.raw = self.buffer + self.raw, b""
                return
            size, found, rest = self.raw.partition(b"\r\n")
            if not found or len(rest) < int(size, 16) + 2:
                return
            if int(size, 16) == 0:
                raise EOFError("the server ended the stream")
            self.buffer += rest[: int(size, 16)]
            self.raw = rest[int(size, 16) + 2:]

    def more(self):
        if not hasattr(self, "raw"):
            return super().more()
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the server closed the connection")
        self.wire += data
        self.raw += data
        self.refill()

    def event(self):
        """(name, data, the raw lines)"""
        text = self.until(b"\n\n")
        fields = {}
        for line in text.splitlines():
            name, _, value = line.partition(b":")
            if name:
                fields.setdefault(name, []).append(value.removeprefix(b" "))
        return fields.get(b"event", [b""])[0], b"\n".join(fields.get(b"data", [])), text


class DurableStreams:
    def prepare(self):
        connection = Connection()
        text = request("PUT", "/" + channel, ["Content-Type: application/json"])
        connection.send(text)
        print_wire("create", text)
        print_wire("answer", expect(connection.answer(), 201))

    def subscriber(self):
        self = Sse()
        self.subscribe("/%s?offset=now&live=sse" % channel)
        name, _, text = self.event()
        assert name == b"control", text
        print_wire("first event", text)
        return self

    def receive(self, connection):
        name, data, _ = connection.event()
        return [message["seq"] for message in json.loads(data)] if name == b"data" else []

    def publish(self, seq):
        return request("POST", "/" + channel, ["Content-Type: application/json"], payload(seq))

    def acknowledged(self, connection):
        return expect(connection.answer(), 204)


class Nchan:
    def prepare(self):
        pass

    def subscriber(self):
        self = Sse()
        self.subscribe("/sub?c=" + channel)
        print_wire("first comment", self.until(b"\n\n"))
        return self

    def receive(self, connection):
        _, data, _ = connection.event()
        return [json.loads(data)["seq"]] if data else []

    def publish(self, seq):
        return request("POST", "/pub?c=" + channel, ["Content-Type: application/json"], payload(seq))

    def acknowledged(self, connection):
        return expect(connection.answer(), 201)


class PocketBase:
    def prepare(self):
        pass

    def subscriber(self):
        self = Sse()
        self.subscribe("/api/realtime")
        name, data, text = self.event()
        assert name == b"PB_CONNECT", text
        print_wire("first event", text)
        body = json.dumps({"clientId": json.loads(data)["clientId"], "subscriptions": ["messages/*"]}, separators=(",", ":"))
        text = request("POST", "/api/realtime", ["Content-Type: application/json"], body.encode())
        print_wire("choose", text)
        connection = Connection()
        connection.send(text)
        print_wire("answer", expect(connection.answer(), 204))
        return self

    def receive(self, connection):
        name, data, _ = connection.event()
        return [json.loads(data)["record"]["seq"]] if name == b"messages/*" else []

    def publish(self, seq):
        return request("POST", "/api/collections/messages/records", ["Content-Type: application/json"], payload(seq))

    def acknowledged(self, connection):
        return expect(connection.answer(), 200)


def mqtt(kind, body):
    """A packet: its kind with flags, its length in groups of seven bits, the lowest first, and its body."""
    length, left = b"", len(body)
    while True:
        left, low = divmod(left, 128)
        length += bytes([low | (128 if left else 0)])
        if not left:
            return bytes([kind]) + length + body


def mqtt_text(text):
    return struct.pack(">H", len(text)) + text.encode()


class Mqtt(Connection):
    clients = 0

    def __init__(self):
        super().__init__()
        self.wire = b""
        Mqtt.clients += 1
        # Protocol MQTT, level 4, clean session, keep-alive 0 (none), client id.
        text = mqtt(0x10, mqtt_text("MQTT") + b"\x04\x02\x00\x00" + mqtt_text("%s-%d" % (channel, Mqtt.clients)))
        print_wire("CONNECT", text)
        self.send(text)
        kind, body = self.packet()
        print_wire("CONNACK", bytes([kind, len(body)]) + body)
        assert (kind, body) == (0x20, b"\0\0"), (kind, body)

    def more(self):
        before = len(self.buffer)
        super().more()
        if hasattr(self, "wire"):
            self.wire += self.buffer[before:]

    def packet(self):
        kind, length, shift = self.exactly(1)[0], 0, 0
        while True:
            byte = self.exactly(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return kind, self.exactly(length)


class Mosquitto:
    def prepare(self):
        pass

    def subscriber(self):
        self = Mqtt()
        text = mqtt(0x82, struct.pack(">H", 1) + mqtt_text(channel) + b"\0")
        print_wire("SUBSCRIBE", text)
        self.send(text)
        kind, body = self.packet()
        print_wire("SUBACK", bytes([kind, len(body)]) + body)
        assert (kind, body) == (0x90, b"\0\1\0"), (kind, body)
        self.wire = b""
        return self

    def receive(self, connection):
        kind, body = connection.packet()
        if kind != 0x30:
            raise ValueError("not a PUBLISH of QoS 0: %#x %r" % (kind, body))
        topic = struct.unpack(">H", body[:2])[0]
        return [json.loads(body[2 + topic:])["seq"]]

    def publish(self, seq):
        if qos0:
            return mqtt(0x30, mqtt_text(channel) + payload(seq))
        return mqtt(0x32, mqtt_text(channel) + struct.pack(">H", seq) + payload(seq))

    def acknowledged(self, connection):
        if qos0:
            return b""
        kind, body = connection.packet()
        assert kind == 0x40, (kind, body)
        return bytes([kind, len(body)]) + body


def main():
    target = {"durable-streams": DurableStreams, "nchan": Nchan, "pocketbase": PocketBase, "mosquitto": Mosquitto}[peer]()
    target.prepare()
    global show
    subscribers = []
    for number in range(SUBSCRIBERS):
        asked, show = show, show and number == 0
        subscribers.append(target.subscriber())
        show = asked
    got = [[] for _ in subscribers]
    trouble = []

    def read(number):
        connection = subscribers[number]
        try:
            while len(got[number]) < MESSAGES:
                got[number] += target.receive(connection)
            connection.socket.settimeout(AFTER)
            while True:
                got[number] += target.receive(connection)
        except TimeoutError:
            pass
        except Exception as error:
            trouble.append("subscriber %d: %s: %s" % (number, type(error).__name__, error))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(subscribers))]
    for thread in threads:
        thread.start()

    asked, show = show, False
    publisher = Mqtt() if peer == "mosquitto" else Connection()
    show = asked
    times, sent = [], {}
    for seq in range(1, MESSAGES + window + 1):
        if seq > window:  # the oldest must be acknowledged first
            answer = target.acknowledged(publisher)
            times.append(time.perf_counter() - sent[seq - window])
            if seq == window + 1:
                print_wire("acknowledgement", answer)
        if seq <= MESSAGES:
            text = target.publish(seq)
            if seq == 1:
                print_wire("publish", text)
            sent[seq] = time.perf_counter()
            publisher.send(text)
    for thread in threads:
        thread.join()
    print_wire("delivered first", subscribers[0].wire[:900])

    wanted = list(range(1, MESSAGES + 1))
    for number, seqs in enumerate(got):
        if seqs != wanted:
            trouble.append("subscriber %d got %d messages: missing %s, twice %s, %s" % (
                number, len(seqs), sorted(set(wanted) - set(seqs)), sorted({s for s in seqs if seqs.count(s) > 1}),
                "in order" if seqs == sorted(seqs) else "out of order: %s" % seqs))
    for line in trouble:
        print("FAILED " + line)
    if trouble:
        sys.exit(1)
    times.sort()
    print("ok: %s, window %d: %d subscribers got %d messages each, once and in order%s" % (
        peer, window, SUBSCRIBERS, MESSAGES,
        "" if qos0 else "; acknowledged after %.0f us (median)" % (times[len(times) // 2] * 1e6)))


main()
