"""The requests that the bench sends: what each asks, how many images and faces it holds, and its bytes on the wire.

Holds HTTP/1.1 as text, made once, so that sending costs the load generator next to nothing. Never sends anything.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from service.bench.photographs import photographs
from service.bench.pipeline import Pipeline, Work
from service.client import HOST
from service.onnx_engine import OnnxEngine

_PATHS: Final = {Work.ANALYZE: "/analyze", Work.ALIGNED: "/analyze?aligned=true", Work.VERIFY: "/verify"}
VERIFY: Final = "verify"


@dataclass(frozen=True, slots=True)
class Request:
    """One kind of request.

    Attributes:
        name: what the tables call it.
        work: which route it goes to.
        body: as mien's route takes it.
        num_images: images that it holds.
        num_faces: faces that its answer holds.
    """

    name: str
    work: Work
    body: bytes
    num_images: int
    num_faces: int

    @property
    def path(self) -> str:
        """Mien's route, with its query."""
        return _PATHS[self.work]

    @property
    def content_type(self) -> str:
        """Its body's, as mien's route takes it."""
        return "application/json" if self.work is Work.VERIFY else "image/jpeg"

    def to_service(self, headers: Mapping[str, str] | None = None) -> bytes:
        """Its bytes on the wire to mien."""
        return post(self.path, self.body, {"content-type": self.content_type, **(headers or {})})

    def to_rival(self) -> bytes:
        """Its bytes on the wire to a rival, which has one route and learns the work from the body's first byte."""
        return post("/analyze", self.work.value + self.body, {"content-type": "application/octet-stream"})


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A POST request on the wire."""
    return _head("POST", path, {**headers, "content-length": str(len(body))}) + body


def get(path: str) -> bytes:
    """A GET request on the wire."""
    return _head("GET", path, {})


def make_requests(group: bytes, engine: OnnxEngine, names: Sequence[str] = ()) -> list[Request]:
    """Every kind of request, or those named, with the faces that the pack finds in each.

    Args:
        group: the photograph that all are made of.
        engine: the pack's.
        names: of photographs, or `verify`; all of them by default.

    Raises:
        PhotographError: if the photograph shows no face.
    """
    pipeline, photos = Pipeline(engine), photographs(group, engine)
    bodies = {name: (Work.ALIGNED if name == "aligned crop" else Work.ANALYZE, data) for name, data in photos.items()}
    if "embedding" in engine.pack.tasks:
        pair = (base64.b64encode(photos[name]).decode() for name in ("one face", "six faces"))
        bodies[VERIFY] = Work.VERIFY, orjson.dumps(dict(zip(("image_a", "image_b"), pair, strict=True)))
    made = []
    for name, (work, body) in bodies.items():
        if not names or name in names:
            results = pipeline.results(work, body)
            made.append(Request(name, work, body, len(results), sum(len(result.faces) for result in results)))
    return made


def _head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"host: {HOST}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
