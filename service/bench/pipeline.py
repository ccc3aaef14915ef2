"""The pipeline: one request's work from bytes to answer in the calling thread, with no server, queue or other thread.

What the raw loop runs, and what each rival puts behind its own server: the parts are the service's own, so the answers
are too. Never batches across requests, and never listens on anything.
"""

import base64
import math
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Final, assert_never

import numpy as np
import orjson

from service.analysis import Analysis, Face, ImageResult, Options
from service.answers import analysis_answer, dump
from service.comparison import compare_embeddings, comparison_answer
from service.crops import Found, Picture
from service.onnx_engine import OnnxEngine
from service.preparation import Cut, Preparation, choose
from service.verification import criterion

MAX_PIXELS: Final = 40_000_000


class Work(Enum):
    """What is asked for; the value is the first byte of a body that goes to a rival, which has one route for all."""

    ANALYZE = b"i"
    ALIGNED = b"a"
    VERIFY = b"v"


class Pipeline:
    """A pack's pipeline. Safe to call from several threads at once.

    Example:
        `Pipeline(open_engine("nano")).answer(b"i" + Path("a.jpg").read_bytes())`
    """

    def __init__(self, engine: OnnxEngine) -> None:
        self._engine, pack = engine, engine.pack
        self._preparation = Preparation(pack, MAX_PIXELS)
        tasks = tuple(task for task in pack.tasks if task != "race") or pack.tasks
        self._work = {
            Work.ANALYZE: partial(self._detected, options=Options(tasks)),
            Work.ALIGNED: partial(self._aligned, options=Options(tasks, aligned=True)),
        }
        self._largest = partial(self._detected, options=Options(tasks, max_faces=1))

    def answer(self, body: bytes) -> bytes:
        """The JSON answer to a rival's request: one byte of `Work`, then the body that mien's own route takes."""
        work, data = Work(body[:1]), body[1:]
        match work:
            case Work.ANALYZE | Work.ALIGNED:
                return self.written([self._work[work](data)])
            case Work.VERIFY:
                return self._compared(data)
        assert_never(work)

    def results(self, work: Work, data: bytes) -> list[ImageResult]:
        """The faces of a request's images, not written as JSON: what the raw loop does."""
        if work is Work.VERIFY:
            return [self._largest(image) for image in _pair(data)]
        return [self._work[work](data)]

    def written(self, results: list[ImageResult]) -> bytes:
        """Results as `/analyze` answers them."""
        return analysis_answer(Analysis(tuple(results)), self._engine.pack, "float", 0.0)

    def _compared(self, data: bytes) -> bytes:
        pack, faces = self._engine.pack, [result.faces[0] for result in self.results(Work.VERIFY, data)]
        first, second = (face.outputs["embedding"] for face in faces)
        compared = compare_embeddings(pack.verification, first, second, criterion(pack.verification))
        return dump(comparison_answer(replace(compared, faces=(faces[0], faces[1])), pack))

    def _detected(self, data: bytes, options: Options) -> ImageResult:
        min_score = self._engine.pack.detector.min_score
        picture, _ = self._preparation.open(data, math.inf)
        (detections,) = self._engine.detect([picture.pixels], min_score)
        found = choose(detections, picture, options, min_score)
        cuts = self._cut(picture, found, options, data) if found else ()
        faces = [Face(face.box, face.score, face.landmarks, {}) for face in found]
        return ImageResult(None, picture.width, picture.height, self._inferred(faces, cuts, options))

    def _cut(self, picture: Picture, found: list[Found], options: Options, data: bytes) -> tuple[Cut, ...]:
        side_px = self._preparation.wanted_side_px(picture, found, options)
        if side_px is None:
            return self._preparation.cut(picture, found, options).faces
        return self._preparation.cut_larger(data, side_px, found, options).faces

    def _aligned(self, data: bytes, options: Options) -> ImageResult:
        picture, made = self._preparation.open_aligned(data, options, math.inf)
        face = Face(np.array([0, 0, picture.width, picture.height], np.float32), None, None, {})
        return ImageResult(None, picture.width, picture.height, self._inferred([face], made.faces, options))

    def _inferred(self, faces: list[Face], cuts: tuple[Cut, ...], options: Options) -> tuple[Face, ...]:
        """The faces with every task's row, from one run an analyzer."""
        if not cuts:
            return ()
        outputs = {
            task: values
            for index in cuts[0].crops
            for task, values in self._engine.analyze(index, np.stack([cut.crops[index] for cut in cuts])).items()
        }
        return tuple(
            Face(
                face.box,
                face.score,
                face.landmarks,
                {task: outputs[task][number] for task in options.tasks},
                cut.quality,
            )
            for number, (face, cut) in enumerate(zip(faces, cuts, strict=True))
        )


def _pair(data: bytes) -> list[bytes]:
    body = orjson.loads(data)
    return [base64.b64decode(body[name], validate=True) for name in ("image_a", "image_b")]
