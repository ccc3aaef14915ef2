"""`POST /search`: the rows of a gallery that are most like a probe.

Never keeps a gallery: it comes with the request and is gone with the answer.
"""

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from starlette.responses import Response

from model.runtime.pack import Pack
from service.answers import dump, model_answer
from service.errors import BadRequest, InvalidOption
from service.parts import parts_of
from service.routes.work import admit, answered, bodies, problems, read_object, watched
from service.schemas import CriterionQuery, SearchAnswer, SearchBody
from service.uploads import JSON, kind_of, unsupported
from service.vectors import check_space, embedding_dim, read_vector
from service.verification import Criterion, criterion, similarities

router = APIRouter()


@router.post(
    "/search",
    summary="The most similar embeddings of a gallery",
    responses={200: {"model": SearchAnswer}, **problems(400, 401, 413, 415, 422, 429, 500, 503, 504)},
    openapi_extra=bodies(application__json={"$ref": "#/components/schemas/SearchBody"}),
)
async def search(request: Request, query: Annotated[CriterionQuery, Query()]) -> Response:
    """Ranks a gallery of embeddings by their similarity to a probe. Nothing is stored."""
    analyzer = parts_of(request).analyzer
    chosen = criterion(analyzer.pack.verification, query.fmr, query.threshold)
    embedding_dim(analyzer.pack)
    ticket, deadline = admit(request)
    with ticket:
        kind = kind_of(request.headers.get("content-type", ""))
        if kind != JSON:
            raise unsupported(kind, JSON)
        body = await read_object(request, deadline, tuple(SearchBody.model_fields))
        work = analyzer.blocking(_rank, body, analyzer.pack, chosen)
        return answered(request, await watched(request, work, deadline))


def _rank(body: dict[str, object], pack: Pack, chosen: Criterion) -> bytes:
    check_space(body.get("embedding_space"), pack)
    dim = embedding_dim(pack)
    probe = read_vector(body.get("probe"), dim, "probe")
    gallery = _gallery(body.get("gallery"), dim)
    top = body.get("top", 5)
    if type(top) is not int or top < 1:
        raise InvalidOption("top must be a whole number, at least 1.")
    similarity = similarities(probe, gallery)
    order = np.argsort(-similarity, kind="stable")[:top]
    matches = [
        {"index": int(index), "similarity": float(similarity[index]), "same": chosen.same(float(similarity[index]))}
        for index in order
    ]
    return dump({"matches": matches, "threshold": chosen.threshold, "fmr": chosen.fmr, "model": model_answer(pack)})


def _gallery(value: object, dim: int) -> NDArray[np.float32]:
    if not isinstance(value, list) or not value:
        raise BadRequest("gallery must be a list of at least one embedding.")
    return np.stack([read_vector(row, dim, f"Row {number} of gallery") for number, row in enumerate(value)])
