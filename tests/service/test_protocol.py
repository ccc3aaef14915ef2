"""What the protocol leaves in a request's scope: the time of its headers, and the link to its connection."""

import asyncio
import contextlib
import os
import random
import socket
import time
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.protocol import ARRIVED, LINK, PROTOCOL

BUSY_SECONDS = 0.05
KEEP_ALIVE_SECONDS = 1
App = TypeVar("App", bound=ASGIApp)


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
        async with _served(Stamps()) as (app, address):
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
        async with _served(Stamps()) as (app, address):
            pairs = [await asyncio.open_connection(*address) for _ in range(2)]
            for _, writer in pairs:
                writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            for reader, writer in pairs:
                await reader.readuntil(b"ok")
                writer.close()
        assert app.began[1] - app.came[1] >= BUSY_SECONDS

    asyncio.run(check())


class Hasty:
    """An app that answers before a request's body has come, and lets it come for `seconds` behind the answer."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self.num_done, self.stops = seconds, 0, asyncio.Event()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        link = scope.pop(LINK)
        assert (link.outlives, link.is_body_whole) == (True, False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        link.forget_body()
        link.follow(self._seconds, self._done)

    def _done(self) -> None:
        self.num_done += 1
        self.stops.set()


def test_connection_whose_late_body_has_come_is_idle_again() -> None:
    """A body that comes behind its answer ends, and the keep-alive closes the connection as any that is idle."""

    async def check() -> None:
        app = Hasty(60)
        async with _served(app) as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            for _ in range(2):
                writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc")
                await reader.readuntil(b"ok")
                writer.write(b"abc")
                await app.stops.wait()
                app.stops.clear()
            began = time.monotonic()
            assert await reader.read() == b""
            writer.close()
        assert app.num_done == 2
        assert time.monotonic() - began < 10 * KEEP_ALIVE_SECONDS

    asyncio.run(check())


@pytest.mark.parametrize("hangs_up", [False, True])
def test_late_body_that_never_comes_is_waited_for_no_longer(hangs_up: bool) -> None:
    """A caller that holds its body back is cut off, and one that hangs up is waited for no longer; both once."""

    async def check() -> None:
        app = Hasty(60 if hangs_up else 0.05)
        async with _served(app) as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc")
            await reader.readuntil(b"ok")
            if hangs_up:
                writer.close()
            else:
                assert await reader.read() == b""
            await app.stops.wait()
            writer.close()
        assert app.num_done == 1

    asyncio.run(check())


class Joining:
    """An app that answers by its link, `body` in one part, and notes what is written to a socket."""

    def __init__(self, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self._body, self._headers = body, headers

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % len(self._body)), *self._headers]
        head = {"type": "http.response.start", "status": 200, "headers": headers}
        await scope[LINK].answer(send, head, {"type": "http.response.body", "body": self._body})


def test_answer_leaves_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body go to the kernel at once, of each of two answers of a connection."""
    written, real = list[bytes](), os.write

    def write(descriptor: int, data: bytes) -> int:
        if data.startswith(b"HTTP/1.1"):
            written.append(data)
        return real(descriptor, data)

    async def check() -> None:
        async with _served(Joining(b"ok")) as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            for _ in range(2):
                writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                await reader.readuntil(b"\r\n\r\nok")
            writer.close()

    monkeypatch.setattr(os, "write", write)
    asyncio.run(check())
    assert [data.endswith(b"\r\n\r\nok") for data in written] == [True, True]


@pytest.mark.parametrize("closes", [False, True])
def test_answer_that_the_kernel_does_not_take_at_once_comes_whole(closes: bool) -> None:
    """Thirty megabytes to a caller that begins to read late come whole and in order, then the end where it is due."""
    body = random.Random(0).randbytes(1 << 20) * 30

    async def check() -> None:
        headers = ((b"connection", b"close"),) if closes else ()
        async with _served(Joining(body, headers)) as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"content-length: %d" % len(body) in head
            assert await reader.readexactly(len(body)) == body
            assert await reader.read() == b""  # at once, or when the keep-alive ends
            writer.close()

    asyncio.run(check())


def test_answer_to_a_caller_that_has_gone_harms_nobody() -> None:
    """A caller resets its connection before its answer: the answer is dropped, and the next caller gets its own."""

    class Late(Joining):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/late":
                gone = asyncio.Event()
                scope[LINK].watch(gone.set)
                came.set()
                await gone.wait()
            await super().__call__(scope, receive, send)

    async def check() -> None:
        async with _served(Late(b"ok")) as (_, address):
            _, lost = await asyncio.open_connection(*address)
            lost.write(b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n")
            await came.wait()
            lost.transport.abort()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await reader.readuntil(b"\r\n\r\nok")
            writer.close()

    came = asyncio.Event()
    asyncio.run(check())


class Watching:
    """An app that takes a body in, and answers when its caller has hung up, or `looks_away` and answers at once."""

    def __init__(self, looks_away: bool) -> None:
        self._looks_away, self.num_gone, self.began, self.ended = looks_away, 0, asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            continue
        gone = asyncio.Event()

        def tell() -> None:
            self.num_gone += 1
            gone.set()

        scope[LINK].watch(tell)
        self.began.set()
        if self._looks_away:
            scope[LINK].look_away()
        else:
            await gone.wait()
        self.ended.set()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.parametrize("num_bytes", [0, 1_000_000])
@pytest.mark.parametrize("looks_away", [False, True])
def test_caller_that_hangs_up_is_told_of_once(num_bytes: int, looks_away: bool) -> None:
    """Who watches hears once that its caller has gone, behind a large body, too; who looks away does not."""

    async def check() -> int:
        async with _served(Watching(looks_away)) as (app, address):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % num_bytes)
            writer.write(b"x" * num_bytes)
            await app.began.wait()
            if looks_away:
                await reader.readuntil(b"ok")
            writer.close()
            await app.ended.wait()
        return app.num_gone

    assert asyncio.run(check()) == (0 if looks_away else 1)


def test_a_request_that_waits_unread_keeps_an_idle_connection() -> None:
    """It came before the keep-alive ended, and the event loop, busy with something else, had not read it by then.

    In uvloop timers come right behind what was read in a turn; asyncio's own loop reads again before them.
    """
    uvloop = pytest.importorskip("uvloop")
    request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"

    async def check() -> None:
        loop = asyncio.get_running_loop()
        async with _served(Stamps()) as (app, address):
            with socket.create_connection(address) as caller:
                caller.setblocking(False)

                async def answer() -> bytes:
                    received = b""
                    while not received.endswith(b"ok"):
                        received += (part := await loop.sock_recv(caller, 4096))
                        assert part, "the connection was closed"
                    return received

                await loop.sock_sendall(caller, request)
                await answer()
                ends = time.monotonic() + KEEP_ALIVE_SECONDS

                def be_busy() -> None:
                    assert caller.send(request) == len(request)
                    bell.recv(1)
                    while time.monotonic() < ends + BUSY_SECONDS:
                        pass

                ringer, bell = socket.socketpair()
                with ringer, bell:
                    loop.add_reader(bell, be_busy)
                    loop.call_later(ends - time.monotonic() - 2 * BUSY_SECONDS, ringer.send, b"x")
                    assert b" 200 " in await answer()
                    assert await loop.sock_recv(caller, 1) == b""  # idle again, it is closed
                    loop.remove_reader(bell)
        assert len(app.came) == 2

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(check(), 10 * KEEP_ALIVE_SECONDS))


@contextlib.asynccontextmanager
async def _served(app: App) -> AsyncIterator[tuple[App, tuple[str, int]]]:
    """The app on a real server in this event loop."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=PROTOCOL, lifespan="off", ws="none", log_config=None, timeout_keep_alive=KEEP_ALIVE_SECONDS
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield app, listener.getsockname()
    finally:
        server.should_exit = True
        await running
