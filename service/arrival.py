"""Arrival: what is known of a request before its body is read, and how its body comes in.

Holds the request's id, its clock, and the reading of its body under a cap and a deadline. Never keeps the body, and
never reads past the cap.
"""

import asyncio
import contextlib
import os
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from service.errors import BadRequest, DeadlinePassed, Disconnected, InvalidOption, TooLarge
from service.protocol import ARRIVED, LINK, Link

_KEY: Final = "mien.arrival"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
DRAIN_SECONDS: Final = 2.0
_ids: Final = random.Random()  # noqa: S311 - names, no secrets; seeded by the system
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.seed)
_LONGEST: Final = 19  # digits of a length that is taken for one


@dataclass(slots=True, eq=False)
class Arrival:
    """One request at the door.

    Attributes:
        request_id: the caller's where it is well formed (at most 128 of letters, digits and `._:-`), else made up.
        at: when its headers came, on `time.monotonic`'s clock.
        receive: the server's.
        body_done: whether its body has come whole; True from the start where it has none.
        wants_continue: whether the caller holds its body back until it is told to go on.
        stated_bytes: the body's length, where the caller states it.
        stated_deadline: its `x-deadline-ms`, as it stands there.
        link: its connection, where the server lends it.
    """

    request_id: str
    receive: Receive
    body_done: bool
    wants_continue: bool
    stated_bytes: int | None = None
    stated_deadline: str | None = None
    link: Link | None = None
    at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> "Arrival":
        """Reads it off a request's headers, and leaves it in the scope for `arrival_of`."""
        headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))  # of one that is repeated, the first
        given, length = headers.get(b"x-request-id", b""), headers.get(b"content-length", b"")
        deadline = headers.get(b"x-deadline-ms")
        arrival = cls(
            given.decode() if _REQUEST_ID.fullmatch(given) else _new_id(),
            receive,
            b"transfer-encoding" not in headers and length in (b"", b"0"),
            headers.get(b"expect", b"").lower() == b"100-continue",
            int(length) if length.isdigit() and len(length) < _LONGEST else None,
            None if deadline is None else deadline.decode("latin-1"),
            scope.pop(LINK, None),  # or it would hold the connection, which holds the scope
            scope.get(ARRIVED) or time.monotonic(),
        )
        scope[_KEY] = arrival
        return arrival

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since it came."""
        return time.monotonic() - self.at

    @property
    def is_body_here(self) -> bool:
        """Whether its body has come whole, as far as is known, read by anybody or not."""
        return self.body_done or (self.link is not None and self.link.is_body_whole)

    def deadline(self, most_ms: int) -> float:
        """When the answer is due, on `time.monotonic`'s clock: `most_ms` after arrival, or sooner by `x-deadline-ms`.

        Raises:
            InvalidOption: if `x-deadline-ms` is no whole number of at least 1.
        """
        given = self.stated_deadline
        if given is not None and not (given.isascii() and given.isdigit() and 0 < len(given) < 10 and int(given) > 0):
            raise InvalidOption("x-deadline-ms must be a whole number of milliseconds, at least 1.")
        return self.at + min(int(given or most_ms), most_ms) / 1000

    async def next_message(self) -> Message:
        """The server's next message; notes when the body has come whole."""
        message = await self.receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.body_done = True
        self.wants_continue = False  # the server told it to go on when it was asked for the body
        return message

    async def chunks(self, headers: Headers, cap_bytes: int, deadline: float) -> AsyncIterator[bytes]:
        """The body, as it comes.

        Raises:
            TooLarge: if it is, or says that it is, over the cap.
            DeadlinePassed: if the deadline passed before it had come whole.
            Disconnected: if the caller hung up.
        """
        _check_stated_length(headers, cap_bytes)
        num_bytes = 0
        while not self.body_done:
            try:
                # What is here already needs no timer.
                async with contextlib.nullcontext() if self.is_body_here else asyncio.timeout_at(deadline):
                    message = await self.next_message()
            except TimeoutError:
                raise DeadlinePassed("The deadline passed before the request's body had come whole.") from None
            if message["type"] == "http.disconnect":
                raise Disconnected
            chunk = message.get("body", b"")
            num_bytes += len(chunk)
            if num_bytes > cap_bytes:
                raise _too_large(cap_bytes)
            yield chunk

    async def discard(self, cap_bytes: int) -> None:
        """Reads what is still coming of the body and throws it away, up to a cap and two seconds.

        A server that closed now would reset the connection under a caller that sends before it reads, and take the
        answer with it. A caller that waits to be told to go on is not told so.
        """
        if self.wants_continue:
            return
        num_bytes = 0
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.body_done and num_bytes <= cap_bytes:
                    num_bytes += len((await self.next_message()).get("body", b""))
        except TimeoutError:
            return

    async def answer(self, send: Send, head: Message, body: Message) -> None:
        """Sends an answer's head and the first of its body, in one write where the server lends its link."""
        if self.link is not None:
            await self.link.answer(send, head, body)
        else:
            await send(head)
            await send(body)

    @contextlib.contextmanager
    def watching(self, gone: Callable[[], None]) -> Iterator[None]:
        """Within it, `gone` is told once if the caller hangs up. Only for a request whose body has come whole."""
        if self.link is not None:
            self.link.watch(gone)
            try:
                yield
            finally:
                self.link.look_away()
            return
        waiting = asyncio.get_running_loop().create_task(self._hang_up())
        waiting.add_done_callback(tell := lambda _: gone())
        try:
            yield
        finally:
            waiting.remove_done_callback(tell)
            waiting.cancel()

    async def _hang_up(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            continue


def arrival_of(request: Request) -> Arrival:
    """The arrival that the door left in a request's scope."""
    arrival = request.scope[_KEY]
    assert isinstance(arrival, Arrival), "the door stands before every route"
    return arrival


def _new_id() -> str:
    """128 bits that no other request has, in hexadecimal.

    Not from the system's source of secrets, which an id is none of: it is asked without the interpreter's lock, and a
    busy service waits for that to come back.
    """
    return f"{_ids.getrandbits(128):032x}"


def _check_stated_length(headers: Headers, cap_bytes: int) -> None:
    stated = headers.get("content-length")
    if stated is None:
        return
    if not (stated.isascii() and stated.isdigit()):
        raise BadRequest("content-length is not a number.")
    if len(stated) > 18 or int(stated) > cap_bytes:
        raise _too_large(cap_bytes)


def _too_large(cap_bytes: int) -> TooLarge:
    return TooLarge(f"The body is over {cap_bytes / 1e6:g} MB.")
