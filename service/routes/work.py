"""Work: what the routes that do work share: admission, the body, and the watch over deadline and caller.

Never holds a route, and never knows what the work is.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from service.admission import Ticket
from service.analysis import Timings
from service.arrival import arrival_of
from service.errors import DeadlinePassed, Disconnected
from service.parts import parts_of
from service.problems import MEDIA_TYPE
from service.uploads import parse_object, read_whole

T = TypeVar("T")
JSON_TYPE: Final = "application/json"
_TOO_LATE: Final = "The deadline passed before the answer was ready."


def admit(request: Request) -> tuple[Ticket, float]:
    """Takes a request's first permit; the door has let it in, and asks nobody twice but for what came in between.

    Returns:
        Its ticket, for a `with` block, and its deadline.

    Raises:
        ServiceError: `Starting`, `Draining`, `QueueFull`, `InvalidOption`, or `WouldMissDeadline` by prediction.
    """
    parts = parts_of(request)
    deadline = arrival_of(request).deadline(parts.settings.deadline_ms)
    return parts.admission.admit(deadline), deadline


def chunks_of(request: Request, deadline: float) -> AsyncIterator[bytes]:
    """The request's body as it comes, under the byte cap and the deadline."""
    return arrival_of(request).chunks(request.headers, parts_of(request).settings.max_body_bytes, deadline)


async def read_object(request: Request, deadline: float, fields: tuple[str, ...]) -> dict[str, object]:
    """The request's body as a JSON object, parsed off the event loop."""
    body = await read_whole(chunks_of(request, deadline))
    return await parts_of(request).analyzer.blocking(parse_object, body, fields)


async def watched(request: Request, work: Coroutine[Any, Any, T], deadline: float) -> T:
    """Does work until it is done, the caller hangs up, or the deadline passes; what is left of it is cancelled.

    Raises:
        Disconnected: if the caller hung up.
        DeadlinePassed: if the deadline passed.
    """
    loop, is_gone = asyncio.get_running_loop(), False
    try:
        async with asyncio.timeout_at(deadline) as limit:

            def stop() -> None:
                nonlocal is_gone
                is_gone = True
                with contextlib.suppress(RuntimeError):  # the work was done in this very turn of the loop
                    limit.reschedule(loop.time())

            with arrival_of(request).watching(stop):
                return await work
    except TimeoutError:
        raise (Disconnected() if is_gone else DeadlinePassed(_TOO_LATE)) from None


def answered(request: Request, body: bytes, timings: Timings | None = None) -> Response:
    """An answer in JSON; its stages are counted."""
    counted = parts_of(request).metrics.stages
    stages = {} if timings is None else timings.stages()
    for stage, seconds in {**stages, "total": arrival_of(request).elapsed_seconds}.items():
        counted[stage].observe(seconds)
    return Response(body, media_type=JSON_TYPE)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the reference says of a route's refusals."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


def bodies(**kinds: object) -> dict[str, Any]:
    """What the reference says of a route's bodies: schemas by content type, `__` in place of the slash."""
    content = {kind.replace("__", "/").replace("ANY", "*").replace("form_data", "form-data"): {"schema": schema}
               for kind, schema in kinds.items()}  # fmt: skip
    return {"requestBody": {"required": True, "content": content}}


_MEANINGS: Final = {
    400: "Malformed request",
    401: "Missing or wrong key",
    413: "Too many bytes, pixels or images",
    415: "Not an allowed image type, or not an allowed type of body",
    422: "Unreadable image, no face, unknown task or option, or embeddings that cannot be compared",
    429: "As many images are in flight as may be; come again after `Retry-After` seconds",
    500: "A fault of the service",
    503: "Starting, stopping, or predicted to miss the deadline",
    504: "The deadline passed",
}
