"""`POST /analyze`: every face of every image.

Holds the three forms that images may come in. Never decides what a face's answer is (see `service.analyzer`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from model.runtime.labels import Task
from service.admission import Ticket
from service.analysis import Analysis, Options, Timings, Upload
from service.analyzer import Analyzer
from service.answers import analysis_answer
from service.arrival import arrival_of
from service.errors import BadRequest, InvalidOption, TooLarge, UnknownOption
from service.names import nearest
from service.parts import parts_of
from service.routes.work import admit, answered, bodies, chunks_of, problems, read_object, watched
from service.schemas import AnalyzeAnswer, AnalyzeQuery
from service.uploads import JSON, MULTIPART, from_base64, kind_of, read_multipart, read_whole, unsupported

router = APIRouter()
_QUICK_FACES: Final = 8
_BINARY: Final = {"type": "string", "format": "binary"}
_FORM: Final = {
    "type": "object",
    "properties": {"files": {"type": "array", "items": _BINARY, "minItems": 1}},
    "required": ["files"],
    "additionalProperties": False,
}
_BODIES: Final = bodies(
    multipart__form_data=_FORM,
    image__ANY=_BINARY,
    application__json={"$ref": "#/components/schemas/AnalyzeBody"},
)


@router.post(
    "/analyze",
    summary="Every face of every image",
    responses={200: {"model": AnalyzeAnswer}, **problems(400, 401, 413, 415, 422, 429, 500, 503, 504)},
    openapi_extra=_BODIES,
)
async def analyze(request: Request, query: Annotated[AnalyzeQuery, Query()]) -> Response:
    """Images as multipart `files`, as one raw `image/*` body, or as JSON `{"images": ["<base64>", ...]}`.

    Formats are read from the bytes: JPEG, PNG, WebP, BMP, GIF (first frame), TIFF. Faces come largest first. One bad
    image among several gets its own `error`; a request whose only image is bad gets that error's status.
    """
    parts = parts_of(request)
    options = options_of(query, parts.analyzer)
    ticket, deadline = admit(request)
    with ticket:
        uploads = await _read(request, ticket, deadline)
        body, timings = await watched(request, _answer(request, query, uploads, options, deadline), deadline)
        return answered(request, body, timings)


async def _answer(
    request: Request, query: AnalyzeQuery, uploads: list[Upload], options: Options, deadline: float
) -> tuple[bytes, Timings]:
    analyzer = parts_of(request).analyzer
    analysis = await analyzer.analyze(uploads, options, deadline)
    raise_if_only(analysis)
    total_seconds = arrival_of(request).elapsed_seconds
    write = partial(analysis_answer, analysis, analyzer.pack, query.embedding, total_seconds)
    num_faces = sum(len(image.faces) for image in analysis.images)
    # A few faces are written in less time than another thread takes to begin; JPEGs and crowds are not.
    quick = num_faces <= _QUICK_FACES and not query.crops
    return write() if quick else await analyzer.blocking(write), analysis.timings


def options_of(query: AnalyzeQuery, analyzer: Analyzer) -> Options:
    """A query as options for this pack.

    Raises:
        UnknownOption: if a task is unknown, or is none of the pack's.
    """
    tasks = analyzer.default_tasks if query.tasks is None else _tasks(query.tasks, analyzer.pack.tasks)
    return Options(tasks, query.max_faces, query.min_score, query.min_face, query.aligned, query.crops)


def raise_if_only(analysis: Analysis) -> None:
    """A request whose only image is bad gets that image's error.

    Raises:
        ServiceError: the image's.
    """
    if len(analysis.images) == 1 and analysis.images[0].error is not None:
        raise analysis.images[0].error


def _tasks(text: str, known: Sequence[Task]) -> tuple[Task, ...]:
    asked = [name.strip() for name in text.split(",")]
    for name in asked:
        if not name:
            raise InvalidOption("tasks holds an empty name.")
        if name not in known:
            raise UnknownOption(f"Unknown task {nearest(name, known)}")
    return tuple(task for task in known if task in asked)


async def _read(request: Request, ticket: Ticket, deadline: float) -> list[Upload]:
    content_type = request.headers.get("content-type", "")
    kind = kind_of(content_type)
    if kind == MULTIPART:
        max_files = parts_of(request).settings.max_files
        parts = await read_multipart(content_type, chunks_of(request, deadline), ["files"], max_files, ticket.grow)
        if not parts:
            raise BadRequest("The multipart body holds no part named 'files'.")
        return [part.upload() for part in parts]
    if kind == JSON:
        return await _read_json(request, ticket, deadline)
    if kind.startswith("image/"):
        return [Upload(await read_whole(chunks_of(request, deadline)))]
    raise unsupported(kind, MULTIPART, JSON, "image/*")


async def _read_json(request: Request, ticket: Ticket, deadline: float) -> list[Upload]:
    images = (await read_object(request, deadline, ("images",))).get("images")
    if not isinstance(images, list) or not images:
        raise BadRequest("`images` must be a list of at least one image in base64.")
    max_files = parts_of(request).settings.max_files
    if len(images) > max_files:
        raise TooLarge(f"More than {max_files} images in one request.")
    ticket.grow(len(images) - 1)
    return await parts_of(request).analyzer.blocking(_decode_all, images)


def _decode_all(images: list[object]) -> list[Upload]:
    return [from_base64(image, f"Image {number}") for number, image in enumerate(images)]
