"""Direct: the way to the routes that do work, past the framework's layers.

Routing, dependencies and a dozen wrapped senders cost the event loop half a millisecond a request, which the graphs'
lanes want. So a request for a known path, whose query is as it should be, goes straight to its endpoint; any other,
from a typing error to a method that is not taken, goes the framework's way, which knows what to say of it. Never
decides anything that the framework would decide otherwise: what is good here is good there.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import FastAPI
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.arrival import arrival_of
from service.errors import Disconnected, ServiceError, forget_frames
from service.problems import problem_response, response_to_nobody

Endpoint = Callable[[Request, Any], Awaitable[Response]]
_KNOWN_QUERIES: Final = 256  # of each route; clients send few


@dataclass(frozen=True, slots=True)
class Route:
    """A route that is gone to directly.

    Attributes:
        path: the whole of it.
        endpoint: takes a request and its query.
        query: what a query must be.
    """

    path: str
    endpoint: Endpoint
    query: type[BaseModel]


class Direct:
    """ASGI app: POST to one of the routes, else another app.

    Args:
        app: the framework's, which a request carries.
        around: the way through all its layers, for every other request.
        routes: which.
    """

    def __init__(self, app: FastAPI, around: ASGIApp, routes: Sequence[Route]) -> None:
        self._app, self._around = app, around
        self._routes: Mapping[str, tuple[Route, Callable[[bytes], BaseModel | None]]] = {
            route.path: (route, lru_cache(_KNOWN_QUERIES)(_Reader(route.query))) for route in routes
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        route, read = self._routes.get(scope.get("path", ""), (None, None))
        query = read(scope["query_string"]) if read is not None and scope["method"] == "POST" else None
        if route is None or query is None or scope.get("root_path"):
            await self._around(scope, receive, send)
            return
        scope["app"], scope["route"] = self._app, route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request, query)
        except ServiceError as error:
            response = problem_response(error, arrival_of(request).request_id)
            forget_frames(error)
        except Disconnected as error:
            response = response_to_nobody()
            forget_frames(error)
        await response(scope, receive, send)


class _Reader:
    """Reads queries of one kind."""

    def __init__(self, kind: type[BaseModel]) -> None:
        self._kind = kind

    def __call__(self, text: bytes) -> BaseModel | None:
        """The query; None where it takes the framework to say what it means, or what is wrong with it."""
        try:
            pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, strict_parsing=True) if text else []
            if len({name for name, _ in pairs}) != len(pairs) or not all(value for _, value in pairs):
                return None
            return self._kind.model_validate(dict(pairs))
        except (ValueError, ValidationError):
            return None
