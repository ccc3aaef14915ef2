"""Refusals: how a request that is turned away at its headers is answered, as cheaply as can be: in a flood most are.

Holds answers' bytes, made once a reason; the counting, without a line in the log each; and what becomes of the body
that still comes. Never decides who is turned away.
"""

import asyncio
import collections
import logging
from typing import Final

from starlette.types import Scope, Send

from service.arrival import DRAIN_SECONDS, Arrival
from service.errors import ServiceError
from service.logs import is_logged, log_event
from service.metrics import Metrics
from service.problems import MEDIA_TYPE, problem_body

_TELL_SECONDS: Final = 1.0
# Bodies that still come behind their refusals, at once: each costs what it takes to receive, and a connection.
_MOST_BODIES: Final = 256


class Refusals:
    """Answers for one app. Belongs to one event loop.

    Args:
        metrics: where to count.
        max_body_bytes: the most that is read, and thrown away, of a body.
    """

    def __init__(self, metrics: Metrics, max_body_bytes: int) -> None:
        self._metrics, self._max_body_bytes = metrics, max_body_bytes
        self._prepared: dict[tuple[str, type[ServiceError], str], _Prepared] = {}
        self._num_bodies = 0
        self._untold: collections.Counter[_Prepared] = collections.Counter()
        self._telling: asyncio.TimerHandle | None = None

    async def answer(self, scope: Scope, arrival: Arrival, send: Send, error: ServiceError, *, closes: bool) -> None:
        """Answers one request.

        Args:
            scope: the request's; its path is a route's own.
            arrival: the request's.
            send: the server's.
            error: why it is refused.
            closes: whether the connection is closed whatever becomes of the body.
        """
        prepared = self._prepare(scope["path"], error)
        body = prepared.body(arrival.request_id)
        whole = arrival.is_body_here
        follows = not whole and not closes and self._may_follow(arrival)
        headers = prepared.headers(arrival.request_id, len(body), error, closes=closes or not (whole or follows))
        head = {"type": "http.response.start", "status": error.status, "headers": headers}
        if whole or follows:
            await arrival.answer(send, head, {"type": "http.response.body", "body": body})
            self._count(prepared, arrival)
            self._let_go(arrival, follows=follows)
        else:
            # The answer goes out first, whole, so that a caller who reads while it sends may stop.
            await arrival.answer(send, head, {"type": "http.response.body", "body": body, "more_body": True})
            self._count(prepared, arrival)
            await self._discard(arrival)
            await send({"type": "http.response.body", "body": b""})

    def tell(self) -> None:
        """Logs what was refused and is not told yet; else that happens within a second."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        untold, self._untold = self._untold, collections.Counter()
        for prepared, num in untold.items():
            log_event("refused", route=prepared.route, status=prepared.status, reason=prepared.slug, requests=num)

    def _prepare(self, route: str, error: ServiceError) -> "_Prepared":
        key = route, type(error), error.detail
        if key not in self._prepared:
            self._prepared[key] = _Prepared(route, error, self._metrics)
        return self._prepared[key]

    def _may_follow(self, arrival: Arrival) -> bool:
        """Whether the rest of the body may come behind the answer, and the connection live on."""
        stated = arrival.stated_bytes
        is_known = stated is not None and stated <= self._max_body_bytes and not arrival.wants_continue
        return is_known and arrival.link is not None and arrival.link.outlives and self._num_bodies < _MOST_BODIES

    def _let_go(self, arrival: Arrival, *, follows: bool) -> None:
        if arrival.link is None:
            return
        arrival.link.forget_body()
        if follows and not arrival.link.is_body_whole:  # it may have come while the answer waited to be sent
            self._num_bodies += 1
            arrival.link.follow(DRAIN_SECONDS, self._body_has_come)

    def _body_has_come(self) -> None:
        self._num_bodies -= 1

    async def _discard(self, arrival: Arrival) -> None:
        if self._num_bodies >= _MOST_BODIES:
            return
        self._num_bodies += 1
        try:
            await arrival.discard(self._max_body_bytes)
        finally:
            self._body_has_come()

    def _count(self, prepared: "_Prepared", arrival: Arrival) -> None:
        seconds = arrival.elapsed_seconds
        prepared.count(seconds)
        if is_logged(logging.DEBUG):
            log_event(
                "request",
                level=logging.DEBUG,
                request_id=arrival.request_id,
                route=prepared.route,
                status=prepared.status,
                total_ms=round(seconds * 1000, 3),
            )
        self._untold[prepared] += 1
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_TELL_SECONDS, self.tell)


class _Prepared:
    """What all refusals of one route for one reason have in common."""

    def __init__(self, route: str, error: ServiceError, metrics: Metrics) -> None:
        kind = error.kind
        self.route, self.status, self.slug = route, kind.status, kind.slug
        self._before_id = problem_body(error, "")[:-2]
        self._headers = [(b"content-type", MEDIA_TYPE.encode()), (b"x-content-type-options", b"nosniff")]
        self._rejected = metrics.rejected.labels(kind.slug)
        self._requests = metrics.requests_of(route, str(kind.status))
        self._answer_seconds = metrics.answer_seconds_of(route, str(kind.status))

    def body(self, request_id: str) -> bytes:
        """The problem; an id holds nothing that JSON would escape (see `Arrival`)."""
        return b'%b%b"}' % (self._before_id, request_id.encode())

    def headers(
        self, request_id: str, num_bytes: int, error: ServiceError, *, closes: bool
    ) -> list[tuple[bytes, bytes]]:
        """One answer's headers."""
        own = [(b"content-length", b"%d" % num_bytes), (b"x-request-id", request_id.encode())]
        own += [(name.encode(), value.encode()) for name, value in error.headers.items()]
        if closes:
            own.append((b"connection", b"close"))
        return self._headers + own

    def count(self, seconds: float) -> None:
        """Counts one."""
        self._rejected.inc()
        self._requests.inc()
        self._answer_seconds.observe(seconds)
