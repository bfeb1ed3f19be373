"""Uses PyPI's `websockets` against a server that sends every message back. Arguments: its URL, and a certificate to trust if it is wss."""

import asyncio
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory


async def main(url, root=None):
    options = {}
    if root:
        options["ssl"] = ssl.create_default_context(cafile=root)
    large = "Grüße, 日本 😀 " * 10_000
    # Compressed with the library's own window and with one that is asked for, not compressed on the way back, and not at all.
    for window in [15, 12, 9, None]:
        extensions = [ClientPerMessageDeflateFactory(server_max_window_bits=window)] if window else []
        subprotocols = ["echo.v2", "echo.v1"]
        async with connect(
            url, compression=None, extensions=extensions, subprotocols=subprotocols, **options
        ) as socket:
            assert socket.subprotocol == "echo.v1", socket.subprotocol
            agreed = socket.response.headers.get("Sec-WebSocket-Extensions", "")
            assert agreed.endswith(f"server_max_window_bits={window}") == bool(window), agreed
            for message in ["", "text", b"", bytes(range(256)), large, large.encode(), large[:70_000]]:
                await socket.send(message)
                assert await socket.recv() == message
            # In fragments.
            await socket.send(["in ", "several ", "", "fragments ", large])
            assert await socket.recv() == "in several fragments " + large
            await (await socket.ping(b"are you there?"))
            # Many at once.
            for number in range(1_000):
                await socket.send(str(number))
            for number in range(1_000):
                assert await socket.recv() == str(number)
            await socket.close(4321, "that is all")
        assert (socket.close_code, socket.close_reason) == (4321, "that is all")

    # What is too large is refused with the code that says so.
    async with connect(url, **options) as socket:
        try:
            await socket.send(b"x" * (2 << 20))
            await socket.recv()
            raise AssertionError("it was taken")
        except ConnectionClosed as closed:
            assert closed.rcvd and closed.rcvd.code == 1009, closed

    try:
        await connect(url, origin="https://elsewhere.example", **options)
        raise AssertionError("it was let in")
    except InvalidStatus as refused:
        assert refused.response.status_code == 403, refused


asyncio.run(main(*sys.argv[1:]))
