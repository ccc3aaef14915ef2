"""`GET /model`, `/livez`, `/readyz`, `/metrics`: what is served, and how it is.

Never waits for work, and is never refused for want of room.
"""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.admission import State
from service.answers import dump
from service.errors import Draining, Stalled, Starting
from service.metrics import CONTENT_TYPE
from service.parts import parts_of
from service.routes.work import JSON_TYPE, problems
from service.schemas import Health, PackAnswer
from service.watchdog import REFUSAL

router = APIRouter()


@router.get("/model", summary="The pack that is served", responses={200: {"model": PackAnswer}, **problems(401)})
async def model(request: Request) -> Response:
    """Tasks, labels, thresholds, licence, and measured accuracy."""
    parts = parts_of(request)
    pack = parts.analyzer.pack
    labels = {task: names for part in pack.analyzers for task, names in part.labels.items() if names}
    dims = [part.embedding_dim for part in pack.analyzers if part.embedding_dim is not None]
    answer = PackAnswer(
        name=pack.name,
        version=pack.version,
        license=pack.license,
        allowed_use=pack.allowed_use,
        training_data=list(pack.training_data),
        tasks=list(pack.tasks),
        labels={task: list(names) for task, names in labels.items()},
        embedding_dim=dims[0] if dims else None,
        embedding_space=pack.embedding_space,
        min_score=pack.detector.min_score,
        verification=pack.verification,
        measured=list(pack.measured),
        device=parts.device,
        precision=pack.precision,
        twins=[twin for part in pack.analyzers for twin in part.twins.values()],
    )
    return Response(answer.model_dump_json(), media_type=JSON_TYPE)


@router.get("/livez", summary="The process is alive", responses={200: {"model": Health}, **problems(503)})
async def livez(request: Request) -> Response:
    """Answers as long as the event loop runs; 503 where a run of the model hangs, which only a restart ends."""
    if parts_of(request).admission.has_stalled:
        raise Stalled(REFUSAL)
    return Response(dump({"status": "alive"}), media_type=JSON_TYPE)


@router.get("/readyz", summary="Warmed up and taking work", responses={200: {"model": Health}, **problems(503)})
async def readyz(request: Request) -> Response:
    """503 while starting, while draining, and while a run of the model hangs."""
    admission = parts_of(request).admission
    if admission.has_stalled:
        raise Stalled(REFUSAL)
    if not admission.ready:
        # Ready itself, and not to be called so: another process behind the port still warms up.
        starting = admission.state in (State.STARTING, State.FAILED, State.READY)
        raise Starting("The service is starting.") if starting else Draining("The service is stopping.")
    return Response(dump({"status": "ready"}), media_type=JSON_TYPE)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    response_class=Response,
)
async def metrics(request: Request) -> Response:
    """Counters, gauges and histograms in Prometheus' text format."""
    return Response(parts_of(request).metrics.render(), headers={"content-type": CONTENT_TYPE})
