"""`POST /verify`: whether two images, or two embeddings, are of one person.

Holds the forms that the two may come in. Never keeps either.
"""

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from service.admission import Ticket
from service.analysis import Timings, Upload
from service.answers import dump, timings_answer
from service.arrival import arrival_of
from service.comparison import Comparison, compare_embeddings, compare_images, comparison_answer
from service.errors import BadRequest
from service.parts import parts_of
from service.routes.work import admit, answered, bodies, chunks_of, problems, read_object, watched
from service.schemas import CriterionQuery, VerifyAnswer, VerifyBody
from service.uploads import JSON, MULTIPART, from_base64, kind_of, read_multipart, unsupported
from service.vectors import check_space, embedding_dim, read_vector
from service.verification import Criterion, criterion

router = APIRouter()
_IMAGES: Final = ("image_a", "image_b")
_EMBEDDINGS: Final = ("embedding_a", "embedding_b")
_BINARY: Final = {"type": "string", "format": "binary"}
_FORM: Final = {
    "type": "object",
    "properties": dict.fromkeys(_IMAGES, _BINARY),
    "required": list(_IMAGES),
    "additionalProperties": False,
}
_BODIES: Final = bodies(multipart__form_data=_FORM, application__json={"$ref": "#/components/schemas/VerifyBody"})


@router.post(
    "/verify",
    summary="Whether two faces are one person's",
    responses={200: {"model": VerifyAnswer}, **problems(400, 401, 413, 415, 422, 429, 500, 503, 504)},
    openapi_extra=_BODIES,
)
async def verify(request: Request, query: Annotated[CriterionQuery, Query()]) -> Response:
    """Two images (multipart or base64), whose largest faces are compared; or two embeddings.

    `confidence` is the probability that the answer `same`, true or false, is right, where a pair is beforehand as
    likely as not to be one person's; from the similarities of the genuine and impostor pairs that the pack was
    calibrated on.
    """
    parts = parts_of(request)
    pack = parts.analyzer.pack
    chosen = criterion(pack.verification, query.fmr, query.threshold)
    embedding_dim(pack)
    ticket, deadline = admit(request)
    with ticket:
        read = await _read(request, ticket, deadline)
        if isinstance(read, list):
            compared = await watched(request, compare_images(parts.analyzer, read, chosen, deadline), deadline)
        else:
            compared = read(chosen)
        total_seconds = arrival_of(request).elapsed_seconds
        return answered(request, _answer(request, compared, total_seconds), compared.timings)


async def _read(request: Request, ticket: Ticket, deadline: float) -> list[Upload] | Callable[[Criterion], Comparison]:
    """Two images; or, of two embeddings, what compares them."""
    content_type = request.headers.get("content-type", "")
    kind = kind_of(content_type)
    if kind == MULTIPART:
        parts = await read_multipart(content_type, chunks_of(request, deadline), _IMAGES, len(_IMAGES), ticket.grow)
        if sorted(part.name for part in parts) != list(_IMAGES):
            raise BadRequest("The multipart body must hold one part named 'image_a' and one named 'image_b'.")
        return [part.upload() for part in sorted(parts, key=lambda part: part.name)]
    if kind != JSON:
        raise unsupported(kind, MULTIPART, JSON)
    body = await read_object(request, deadline, tuple(VerifyBody.model_fields))
    images = _both(body, _IMAGES)
    if images == _both(body, _EMBEDDINGS):
        raise BadRequest("The body must hold either image_a and image_b, or embedding_a and embedding_b.")
    if images:
        ticket.grow()
        return [from_base64(body[name], name) for name in _IMAGES]
    pack = parts_of(request).analyzer.pack
    check_space(body.get("embedding_space"), pack)
    first, second = (read_vector(body[name], embedding_dim(pack), name) for name in _EMBEDDINGS)
    return lambda chosen: compare_embeddings(pack.verification, first, second, chosen)


def _both(body: dict[str, object], names: tuple[str, str]) -> bool:
    """Whether both are there; one without the other is no comparison."""
    there = [body.get(name) is not None for name in names]
    if any(there) and not all(there):
        raise BadRequest(f"The body must hold both {names[0]} and {names[1]}.")
    return all(there)


def _answer(request: Request, compared: Comparison, total_seconds: float) -> bytes:
    answer = comparison_answer(compared, parts_of(request).analyzer.pack)
    return dump({**answer, "timings_ms": timings_answer(compared.timings or Timings(), total_seconds)})
