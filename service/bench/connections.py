"""Connections: HTTP/1.1 on loopback, as cheap as Python allows: the load generator shares the cores with the server.

A request's bytes are made beforehand; of an answer the status is read and the rest is counted. Never parses a body,
never follows a redirect, never tries again.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from service.client import HOST

ANSWER_SECONDS: Final = 120.0
# Servers close what is idle for longer, mien after 5 seconds: a request that crosses that on its way is lost without
# any fault of theirs, and a caller that is well made sends none.
IDLE_SECONDS: Final = 4.0
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"


class LostAnswerError(Exception):
    """A connection that ended, or a time that passed, before the answer had come whole."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: status, and when its last byte came, on `time.perf_counter`'s clock."""

    status: int
    at: float


class Connection(asyncio.Protocol):
    """One connection, for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answered] | None = None
        self._head = b""
        self._missing_bytes = 0
        self.reusable = True
        self.body = b""
        self._keeps_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Notes what to write to."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def exchange(self, request: bytes, *, keep_body: bool = False) -> Answered:
        """Sends a request's bytes and waits for the answer; its body is in `body` afterwards if it is to be kept.

        Raises:
            LostAnswerError: if the connection ended before it had come whole.
        """
        assert self._transport is not None
        if not self.reusable:
            raise LostAnswerError("the connection had ended")
        self._head, self.body, self._keeps_body, self._missing_bytes = b"", b"", keep_body, -1
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """Takes in what came of the answer."""
        if self._missing_bytes < 0:
            self._head += data
            end = self._head.find(_HEAD_END)
            if end < 0:
                return
            data, self._head = self._head[end + len(_HEAD_END) :], self._head[: end + 2]
            self._missing_bytes = self._stated_length()
        self._missing_bytes -= len(data)
        if self._keeps_body:
            self.body += data
        if self._missing_bytes <= 0 and self._answer is not None and not self._answer.done():
            status = int(self._head[9:12])
            self.reusable = self.reusable and _CLOSE.search(self._head) is None
            self._answer.set_result(Answered(status, time.perf_counter()))

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever still waits for an answer never gets one."""
        self.reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LostAnswerError(str(exc or "the server closed the connection")))

    def close(self) -> None:
        """Ends the connection."""
        self.reusable = False
        if self._transport is not None:
            self._transport.close()

    def _stated_length(self) -> int:
        found = _LENGTH.search(self._head)
        if found is None:
            raise LostAnswerError("the answer states no content-length")
        return int(found[1])


class Pool:
    """Connections to one port; as many are open as there are requests under way."""

    def __init__(self, port: int, idle_seconds: float = IDLE_SECONDS) -> None:
        self._port, self._idle_seconds = port, idle_seconds
        self._idle: list[tuple[Connection, float]] = []  # and since when, the one that was used last behind the others

    async def exchange(self, request: bytes, *, keep_body: bool = False) -> tuple[Answered, bytes]:
        """One request on an idle connection, or on a new one.

        Raises:
            LostAnswerError: if the answer did not come whole, or not in time.
        """
        connection: Connection | None = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                connection = self._taken() or await self._opened()
                answered = await connection.exchange(request, keep_body=keep_body)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, OSError | TimeoutError):
                raise LostAnswerError(str(error) or "no answer in time") from error
            raise
        if connection.reusable:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.close()
        return answered, connection.body

    def close(self) -> None:
        """Ends the idle connections."""
        while self._idle:
            self._idle.pop()[0].close()

    def _taken(self) -> Connection | None:
        while self._idle:
            connection, since = self._idle.pop()
            if connection.reusable and time.monotonic() - since < self._idle_seconds:
                return connection
            connection.close()
        return None

    async def _opened(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, HOST, self._port)
        return connection


@contextlib.asynccontextmanager
async def connected(port: int, idle_seconds: float = IDLE_SECONDS) -> AsyncIterator[Pool]:
    """A pool of connections to a port, each used again unless it was idle for as long; closed afterwards."""
    pool = Pool(port, idle_seconds)
    try:
        yield pool
    finally:
        pool.close()
        await asyncio.sleep(0)  # lets the transports close before the loop does
