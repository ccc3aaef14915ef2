"""The protocol: uvicorn's own, with a note in each request's scope of when the last of its headers came, and its link.

A request's own task begins a turn of the event loop later, behind everything that came at once: a clock that began
there would hide just what an overload adds. The link lets a refusal go out before its request's body has come: the
parser then throws the body away as it comes, without a task or a buffer, and the connection lives on. By it an answer
leaves in one write, and work hears that its caller has hung up without a task that waits for it. Never changes the
bytes.
"""

import asyncio
import fcntl
import os
import termios
import time
from collections.abc import Callable
from typing import Any, Final

from starlette.types import Message, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

ARRIVED: Final = "mien.arrived"
LINK: Final = "mien.link"
# h11's loop of events tells nobody that a body behind its answer has ended: there, such connections are closed.
_FOLLOWS: Final = hasattr(AutoHTTPProtocol, "on_message_complete")


class StampingProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # one of two classes, by what is installed
    """HTTP/1.1 by httptools where it is installed, else by h11."""

    cycle: Any
    timeout_keep_alive_task: asyncio.TimerHandle | None
    _late: "_LateBody | None" = None  # of the request that was answered last
    gone: Callable[[], None] | None = None  # see `Link.watch`; of the request that is being answered
    _at = 0.0  # when bytes came last

    def data_received(self, data: bytes) -> None:
        """Takes in bytes; those that complete a request's headers leave their time in its scope."""
        self._at, before = time.monotonic(), self.cycle
        super().data_received(data)
        if not _FOLLOWS and self.cycle is not before and self.cycle is not None:  # h11 tells of no headers' end
            self.cycle.scope[ARRIVED] = self._at
        if self._late is not None and self._late.has_come:
            self._late = None
            self._idle_from_now()  # the body's first bytes ended what began at the answer's end

    def on_headers_complete(self) -> None:
        """Leaves their time and the link in the request's scope: in each one's, though several come in one go."""
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.scope[ARRIVED] = self._at
            self.cycle.scope[LINK] = Link(self, self.cycle)

    def on_message_complete(self) -> None:
        """Notes the end of a request's body."""
        super().on_message_complete()
        if self._late is not None:
            self._late.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for no body any more, and tells who wanted to know."""
        super().connection_lost(exc)
        if self.gone is not None:
            gone, self.gone = self.gone, None
            gone()
        if self._late is not None:
            self._late.end()
            self._late = None

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection that has been idle for long, but for one whose next request has come and waits unread."""
        if _has_unread(self.transport):
            self.timeout_keep_alive_task = None
            self._idle_from_now()
        else:
            super().timeout_keep_alive_handler()

    def follow(self, seconds: float, done: Callable[[], None]) -> None:
        """See `Link.follow`."""
        self._late = _LateBody(self.loop.call_later(seconds, self.transport.close), done)

    def _idle_from_now(self) -> None:
        """Lets the keep-alive begin, unless it has: uvicorn does at an answer's end alone."""
        if self.cycle.response_complete and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            later = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
            self.timeout_keep_alive_task = later


class Link:
    """What a request may know of its connection, and do to it."""

    __slots__ = ("_connection", "_cycle")

    def __init__(self, connection: StampingProtocol, cycle: Any) -> None:  # noqa: ANN401 - one of two classes of uvicorn's
        self._connection, self._cycle = connection, cycle

    @property
    def is_body_whole(self) -> bool:
        """Whether the body has come whole, read by anybody or not."""
        return not self._cycle.more_body

    @property
    def outlives(self) -> bool:
        """Whether the connection is to live on after the answer, as far as its caller and the server go."""
        return bool(self._cycle.keep_alive)

    def watch(self, gone: Callable[[], None]) -> None:
        """Tells once, on the event loop, that the caller has hung up, until `look_away`."""
        if self._cycle.disconnected:
            self._connection.loop.call_soon(gone)
            return
        self._connection.gone = gone
        self._cycle.flow.resume_reading()  # paused by a large body; who does not read does not hear of an end

    def look_away(self) -> None:
        """Ends what `watch` began."""
        self._connection.gone = None

    async def answer(self, send: Send, head: Message, body: Message) -> None:
        """Sends an answer's head and the first of its body in one write.

        In two, the kernel would carry each to the caller, and wake it, while this thread holds the interpreter's lock.
        """
        cycle = self._cycle
        transport, cycle.transport = cycle.transport, (joined := _Joined(cycle.transport))
        try:
            await send(head)
            await send(body)
        finally:
            cycle.transport = transport
            joined.flush()

    def forget_body(self) -> None:
        """Frees what has come of a body that nobody will read."""
        self._cycle.body = bytearray()

    def follow(self, seconds: float, done: Callable[[], None]) -> None:
        """Closes the connection if the body, which still comes right after the answer's end, takes too long.

        Args:
            seconds: how long the rest of the body may take.
            done: called once, when the body has come or the connection has ended.
        """
        if self._cycle.disconnected or self._connection.transport.is_closing():
            done()
        else:
            self._connection.follow(seconds, done)


class _Joined:
    """A transport, as far as an answer needs one, that writes what it is given in one go."""

    __slots__ = ("_parts", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._parts = transport, list[bytes]()

    def write(self, data: bytes) -> None:
        """Keeps it until `flush`."""
        self._parts.append(data)

    def is_closing(self) -> bool:
        """Whether the connection is."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Closes the connection behind what was written."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Writes what is kept.

        At once and without the interpreter's lock where the kernel takes it: uvloop's transport holds the lock while
        the kernel carries an answer to its caller, and every lane would wait for that.
        """
        data, self._parts = b"".join(self._parts), []
        num_taken = _write_now(self._transport, data)
        if num_taken < len(data):
            self._transport.write(data[num_taken:])


def _write_now(transport: asyncio.Transport, data: bytes) -> int:
    """How many bytes the kernel has taken: none where others wait before them, or the connection is broken or ends."""
    if transport.is_closing() or transport.get_write_buffer_size():
        return 0
    try:
        return os.write(transport.get_extra_info("socket").fileno(), data)
    except OSError:
        return 0


def _has_unread(transport: asyncio.Transport) -> bool:
    """Whether the kernel holds bytes of the caller's that the event loop has not come to."""
    if transport.is_closing():
        return False
    try:
        held = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, bytes(4))
    except OSError:
        return False
    return any(held)


class _LateBody:
    """A body that comes behind its answer."""

    def __init__(self, timer: asyncio.TimerHandle, done: Callable[[], None]) -> None:
        self._timer, self._done = timer, done
        self.has_come = False

    def end(self) -> None:
        """It has come, or never will."""
        if not self.has_come:
            self.has_come = True
            self._timer.cancel()
            self._done()


PROTOCOL: Final[type[asyncio.Protocol]] = StampingProtocol
