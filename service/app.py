"""The app: the one place where the parts are wired, and the three doors to them.

`create_app` is the HTTP service as an ASGI app, `serve` runs it on a socket until it is told to stop, `open_analyzer`
is the same analysis without HTTP, for a command line. Never holds what a part does.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from fastapi import FastAPI
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from service.admission import Admission, State
from service.analyzer import Analyzer
from service.blocking import BlockingAnalyzer
from service.direct import Direct, Route
from service.docs_assets import SCRIPT, STYLE, docs_dir
from service.door import Door
from service.engine import Engine
from service.errors import StartupError
from service.logs import log_event, set_up_logs
from service.memory import keep_freed_memory, keep_what_stands
from service.metrics import Metrics
from service.onnx_engine import open_engine
from service.parts import Parts
from service.problems import handle_problems
from service.roster import Membership
from service.routes import analyze, health, search, verify
from service.schemas import QUERIES, reference_schemas
from service.server import listen, make_server
from service.settings import Settings

_WORK: Final = tuple(
    Route(path, endpoint, QUERIES[path])
    for path, endpoint in (("/analyze", analyze.analyze), ("/verify", verify.verify), ("/search", search.search))
)
PAGE_DIR: Final = Path(__file__).resolve().parent / "page"
_DOCS: Final = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mien: reference</title>
<link rel="icon" href="/page/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/docs/assets/{STYLE}">
</head>
<body>
<div id="reference"></div>
<script src="/docs/assets/{SCRIPT}"></script>
<script>SwaggerUIBundle({{url: "/openapi.json", dom_id: "#reference", deepLinking: true, validatorUrl: null}})</script>
</body>
</html>
"""


class _App(FastAPI):
    """FastAPI behind the door, outside all its own layers."""

    entrance: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or lives through the lifespan."""
        await self.entrance(scope, receive, send)


def create_app(
    settings: Settings, engine: Engine | None = None, *, member: Membership | None = None, is_late: bool = False
) -> FastAPI:
    """Wires the service.

    Args:
        settings: what the operator chose.
        engine: what runs the graphs; by default the pack that the settings name, by onnxruntime.
        member: this process's place among several behind one port; None where it is the only one.
        is_late: whether the lifespan begins only when the engine is warm, so that nobody is let in before.

    Returns:
        An ASGI app. Its lifespan warms the engine up while `/readyz` says 503; `app.state.parts` are its parts, and
        `app.state.failure` is the reason where the warm-up failed.

    Raises:
        StartupError: one line, if the pack or the device is not what it should be.
    """
    engine = engine or _open(settings, settings.num_lanes if member is None else member.num_cores)
    metrics = Metrics()
    analyzer = Analyzer(engine, settings, metrics, neighbours=member)
    admission = Admission(
        settings.max_in_flight,
        analyzer.predicted_seconds,
        metrics,
        analyzer.watchdog,
        lambda: member is None or member.is_group_ready,
        analyzer.useful_in_flight(aligned=False),
    )
    pack = engine.pack
    labels = (pack.name, pack.version, pack.embedding_space or "", engine.device, pack.precision)
    metrics.model_info.labels(*labels).set(1)
    app = _App(
        title="mien",
        summary="Face analysis: every face on a photograph, from one pass of one network.",
        version=pack.version,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.parts = Parts(settings, analyzer, admission, metrics, engine.device)
    app.state.failure, app.state.is_late = None, is_late
    for routes in (analyze, verify, search, health):
        app.include_router(routes.router)
    _add_pages(app)
    _add_reference(app)
    handle_problems(app)
    direct = Direct(app, partial(FastAPI.__call__, app), _WORK)
    app.entrance = Door(direct, settings, metrics, admission, {route.path for route in _WORK})
    return app


def serve(settings: Settings, announce: Callable[[str], None] | None = None, engine: Engine | None = None) -> None:
    """Runs the service until SIGTERM or SIGINT, then finishes what was accepted, and returns.

    Args:
        settings: what the operator chose.
        announce: told the service's address once it is ready.
        engine: as in `create_app`.

    Raises:
        StartupError: one line, if the pack, the device or the address is not what it should be.
    """
    set_up_logs(settings.log_level)
    keep_freed_memory()
    app = create_app(settings, engine)
    _run(app, listen(settings), announce)


def run_app(settings: Settings, listener: socket.socket, *, member: Membership, is_late: bool) -> None:
    """As `serve`, for one process of several that share a socket; see `create_app` for what it is told.

    Raises:
        StartupError: one line, if the pack or the device is not what it should be.
    """
    keep_freed_memory()
    app = create_app(settings, member=member, is_late=is_late)
    _run(app, listener, None, member)


def _run(
    app: FastAPI, listener: socket.socket, announce: Callable[[str], None] | None, member: Membership | None = None
) -> None:
    server = make_server(app, app.state.parts, listener, announce, lambda: app.state.failure, member)
    keep_what_stands()
    server.run(sockets=[listener])
    if app.state.failure is not None:
        raise app.state.failure
    if app.state.parts.admission.has_stalled:
        _end_stalled()


def open_analyzer(settings: Settings, engine: Engine | None = None) -> BlockingAnalyzer:
    """The same analysis without HTTP, warmed up; a context manager whose methods block.

    Example:
        `with open_analyzer(settings) as analyzer: analysis = analyzer.analyze([Path("a.jpg").read_bytes()])`

    Raises:
        StartupError: one line, if the pack or the device is not what it should be.
    """
    engine = engine or _open(settings, settings.num_lanes)
    analyzer = Analyzer(engine, settings, Metrics(), is_watched=False)  # a person watches it
    return BlockingAnalyzer(analyzer, settings)


def _open(settings: Settings, num_cores: int) -> Engine:
    return open_engine(
        settings.pack,
        settings.device,
        settings.gpu_memory_mb,
        settings.detect_scales,
        settings.precision,
        settings.cuda_graphs,
        settings.tensorrt,
        settings.tensorrt_cache,
        spreads=num_cores > 1,
    )


def _end_stalled() -> NoReturn:
    """Ends the process although a thread hangs, for which Python's own end would wait for ever."""
    log_event("ended while a run hangs", level=40)
    sys.stderr.flush()
    os._exit(1)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    warming = asyncio.create_task(_warm_up(app, parts))
    if app.state.is_late:
        await asyncio.wait({warming})
    try:
        yield
    finally:
        warming.cancel()
        await asyncio.gather(warming, return_exceptions=True)
        await parts.analyzer.close()


async def _warm_up(app: FastAPI, parts: Parts) -> None:
    try:
        await parts.analyzer.start()
    except Exception as error:
        reason = error if isinstance(error, StartupError) else StartupError(f"the warm-up failed: {_first_line(error)}")
        parts.admission.enter(State.FAILED)
        app.state.failure = reason
        log_event("warm-up failed", level=40, error=error, message=str(reason))
    else:
        parts.admission.enter(State.READY)
        pack = parts.analyzer.pack
        log_event("ready", pack=pack.name, device=parts.device, precision=pack.precision)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _add_pages(app: FastAPI) -> None:
    """The page and the reference, both from files that come with the installation."""

    async def page() -> Response:
        return FileResponse(PAGE_DIR / "index.html")

    async def docs() -> Response:
        return HTMLResponse(_DOCS)

    app.add_api_route("/", page, methods=["GET"], include_in_schema=False)
    app.add_api_route("/docs", docs, methods=["GET"], include_in_schema=False)
    app.mount("/docs/assets", StaticFiles(directory=docs_dir()))
    app.mount("/page", StaticFiles(directory=PAGE_DIR))


def _add_reference(app: FastAPI) -> None:
    """Adds to the generated reference what routes that read their own body cannot declare."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            schema.setdefault("components", {}).setdefault("schemas", {}).update(reference_schemas())
            schema["components"]["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            }
            schema["security"] = [{}, {"bearer": []}, {"key": []}]  # a service on loopback may ask for none
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
