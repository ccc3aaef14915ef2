"""The door: what happens to every request before any route and after it, in plain ASGI.

Gives each request its id and its clock, asks for the key, turns work away that there is no room for, counts, times and
logs the answer, turns an unforeseen exception into a 500 that says nothing, and takes in the rest of a body that nobody
read. Never buffers a body or an answer.
"""

import logging
from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.admission import Admission
from service.arrival import Arrival
from service.errors import InvalidOption, ServiceError, Unauthorized, forget_frames
from service.logs import log_event
from service.metrics import Metrics
from service.problems import DISCONNECTED_STATUS, problem_response, unforeseen
from service.refusals import Refusals
from service.settings import Settings

# Probes and scrapers hold no keys; the page, the reference and their files are the same for everyone and hold no data.
KEYLESS: Final = frozenset({"/livez", "/readyz", "/metrics", "/", "/docs", "/openapi.json"})
KEYLESS_FOLDERS: Final = ("/page/", "/docs/")
_QUIET: Final = frozenset({"/livez", "/readyz", "/metrics"})


class Door:
    """ASGI app, outermost.

    Args:
        app: what answers.
        settings: what the operator chose.
        metrics: where to count.
        admission: who may come in.
        work_paths: of the routes that do work, by POST, and that admission is asked for.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, metrics: Metrics, admission: Admission, work_paths: Collection[str]
    ) -> None:
        self._app, self._settings, self._metrics, self._admission = app, settings, metrics, admission
        self._work_paths = work_paths
        self._refusals = Refusals(metrics, settings.max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._live(scope, receive, send)
            return
        arrival, lacks_key = Arrival.of(scope, receive), self._lacks_key(scope)
        refused = None if lacks_key else self._turned_away(scope, arrival)
        if refused is not None:
            closes = self._admission.closes_connections
            await self._refusals.answer(scope, arrival, send, refused, closes=closes)
            return
        passage = _Passage(scope, arrival, send, self._settings, self._metrics, self._admission)
        try:
            if lacks_key:
                refusal = problem_response(
                    Unauthorized("A key is needed, and it was missing or wrong."), arrival.request_id
                )
                await refusal(scope, arrival.next_message, passage.send)
            else:
                await self._app(scope, arrival.next_message, passage.send)
        except Exception as error:
            log_event("request failed", level=logging.ERROR, error=error, request_id=arrival.request_id)
            forget_frames(error)
            if not passage.started:
                refusal = problem_response(unforeseen(), arrival.request_id)
                await refusal(scope, arrival.next_message, passage.send)
        finally:
            passage.count()

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The lifespan: what was refused last is told before it ends."""
        try:
            await self._app(scope, receive, send)
        finally:
            self._refusals.tell()

    def _turned_away(self, scope: Scope, arrival: Arrival) -> ServiceError | None:
        """Why work is not taken: decided by the headers alone, before anything else of the request is looked at."""
        if scope["path"] not in self._work_paths or scope["method"] != "POST":
            return None
        try:
            deadline = arrival.deadline(self._settings.deadline_ms)
        except InvalidOption:
            deadline = None  # the route says so
        return self._admission.turned_away(deadline)

    def _lacks_key(self, scope: Scope) -> bool:
        path = scope["path"]
        if not self._settings.api_keys or path in KEYLESS or path.startswith(KEYLESS_FOLDERS):
            return False
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        presented = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return not self._settings.accepts(presented)


class _Passage:
    """One answer on its way out."""

    def __init__(
        self, scope: Scope, arrival: Arrival, send: Send, settings: Settings, metrics: Metrics, admission: Admission
    ) -> None:
        self._scope, self._arrival, self._send = scope, arrival, send
        self._settings, self._metrics, self._admission = settings, metrics, admission
        self._status = 0
        self._head: Message | None = None
        self._answer_seconds: float | None = None

    @property
    def started(self) -> bool:
        """Whether the answer's head is out."""
        return self._status != 0 and self._head is None

    async def send(self, message: Message) -> None:
        """Sends on what the app answers; before its last part, takes in what nobody read of the body.

        The answer's head waits for the first of its body, which comes right behind it.
        """
        if message["type"] == "http.response.start":
            self._open(message)
            self._head = message
            return
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and not self._arrival.body_done:
            # The answer goes out first, whole, so that a caller who reads while it sends may stop.
            await self._send_on({**message, "more_body": True})
            self._answer_seconds = self._arrival.elapsed_seconds
            await self._arrival.discard(self._settings.max_body_bytes)
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send_on(message)
        if last and self._answer_seconds is None:
            self._answer_seconds = self._arrival.elapsed_seconds

    async def _send_on(self, message: Message) -> None:
        head, self._head = self._head, None
        if head is None:
            await self._send(message)
        else:
            await self._arrival.answer(self._send, head, message)

    def _open(self, message: Message) -> None:
        self._status = message["status"]
        headers = MutableHeaders(scope=message)
        headers["x-request-id"] = self._arrival.request_id
        headers["x-content-type-options"] = "nosniff"
        slug = headers.get("x-mien-problem")
        if slug is not None:
            del headers["x-mien-problem"]
            self._metrics.rejected.labels(slug).inc()
        if self._admission.closes_connections or not self._arrival.body_done:
            headers["connection"] = "close"

    def count(self) -> None:
        """Counts and logs the answer, by the route's own path and never by what was asked for."""
        route = getattr(self._scope.get("route"), "path", None) or _unrouted(self._scope["path"])
        status = str(self._status or DISCONNECTED_STATUS)
        self._metrics.requests_of(route, status).inc()
        if status == str(DISCONNECTED_STATUS):
            self._metrics.disconnects.inc()
        elif self._answer_seconds is not None:
            self._metrics.answer_seconds_of(route, status).observe(self._answer_seconds)
        seconds = self._arrival.elapsed_seconds
        if route not in _QUIET:
            log_event(
                "request",
                waits=True,
                request_id=self._arrival.request_id,
                route=route,
                status=int(status),
                total_ms=round(seconds * 1000, 3),
            )


def _unrouted(path: str) -> str:
    return next((folder for folder in KEYLESS_FOLDERS if path.startswith(folder)), "unmatched")
