"""When a request came: the time of its headers, as the protocol leaves it in the scope."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import uvicorn
from starlette.types import Receive, Scope, Send

from service.protocol import ARRIVED, PROTOCOL

BUSY_SECONDS = 0.05


class Stamps:
    """An app that notes when each request came and when its task began, and keeps the event loop busy a while."""

    def __init__(self) -> None:
        self.came: list[float] = []
        self.began: list[float] = []

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.came.append(scope[ARRIVED])
        self.began.append(time.monotonic())
        while time.monotonic() < self.began[-1] + BUSY_SECONDS:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def test_a_request_comes_when_its_last_header_does() -> None:
    """Of headers in two parts, the time of the second counts; the next request on the connection has its own."""

    async def check() -> None:
        async with _served() as (app, address):
            reader, writer = await asyncio.open_connection(*address)
            halves = []
            for _ in range(2):
                writer.write(b"GET / HTTP/1.1\r\n")
                await writer.drain()
                halves.append(time.monotonic())
                writer.write(b"host: a\r\n\r\n")
                await reader.readuntil(b"ok")
            writer.close()
        first, second = app.came
        assert halves[0] <= first <= app.began[0]
        assert halves[1] <= second <= app.began[1]

    asyncio.run(check())


def test_the_wait_for_the_event_loop_counts() -> None:
    """Of two requests that come at once, the second came before the first one was answered, and began after it."""

    async def check() -> None:
        async with _served() as (app, address):
            pairs = [await asyncio.open_connection(*address) for _ in range(2)]
            for _, writer in pairs:
                writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            for reader, writer in pairs:
                await reader.readuntil(b"ok")
                writer.close()
        assert app.began[1] - app.came[1] >= BUSY_SECONDS

    asyncio.run(check())


@contextlib.asynccontextmanager
async def _served() -> AsyncIterator[tuple[Stamps, tuple[str, int]]]:
    """The app on a real server in this event loop."""
    app, listener = Stamps(), socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=PROTOCOL, lifespan="off", ws="none", log_config=None))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield app, listener.getsockname()
    finally:
        server.should_exit = True
        await running
