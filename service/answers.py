"""Answers: analyses written as JSON, fast.

Numbers go from numpy to text by orjson, float32 as the shortest text that gives the same float32; nothing is validated
on its way out. Never rounds an embedding. What is written here is described in `service.schemas`.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, LANDMARKS, RACES, Task
from model.runtime.pack import Pack
from service.analysis import Analysis, Face, ImageResult, Timings
from service.errors import ServiceError
from service.imaging import encode_jpeg

Json = dict[str, object]
_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY


def dump(value: Json) -> bytes:
    """JSON in bytes."""
    return orjson.dumps(value, option=_OPTIONS)


def model_answer(pack: Pack) -> Json:
    """Which pack answered, and whether its twins did."""
    return {
        "name": pack.name,
        "version": pack.version,
        "embedding_space": pack.embedding_space,
        "precision": pack.precision,
    }


def analysis_answer(analysis: Analysis, pack: Pack, embedding: str, total_seconds: float) -> bytes:
    """`/analyze`'s answer."""
    return dump(
        {
            "model": model_answer(pack),
            "images": [_image(image, embedding) for image in analysis.images],
            "timings_ms": timings_answer(analysis.timings, total_seconds),
        }
    )


def timings_answer(timings: Timings, total_seconds: float) -> Json:
    """Stages in milliseconds, to the microsecond."""
    stages = {**timings.stages(), "total": total_seconds}
    return {stage: round(seconds * 1000, 3) for stage, seconds in stages.items()}


def error_answer(error: ServiceError) -> Json:
    """Why one image has no faces."""
    return {"status": error.status, "title": error.title, "detail": error.detail}


def face_answer(face: Face, embedding: str = "float") -> Json:
    """One face, with a key for each task that it was asked for."""
    answer: Json = {
        "box": face.box,
        "score": face.score,
        "landmarks": None if face.landmarks is None else dict(zip(LANDMARKS, face.landmarks, strict=True)),
    }
    for task, values in face.outputs.items():
        answer[task] = _encoded(values) if task == "embedding" and embedding == "base64" else _WRITERS[task](values)
    quality = face.quality
    answer["quality"] = None if quality is None else {
        "sharpness": quality.sharpness,
        "yaw": quality.yaw,
        "pitch": quality.pitch,
        "roll": quality.roll,
        "size": quality.size,
    }  # fmt: skip
    if face.crop is not None:
        answer["crop"] = base64.b64encode(encode_jpeg(face.crop)).decode()
    return answer


def _image(image: ImageResult, embedding: str) -> Json:
    return {
        "name": image.name,
        "width": image.width,
        "height": image.height,
        "error": None if image.error is None else error_answer(image.error),
        "faces": [face_answer(face, embedding) for face in image.faces],
    }


def _encoded(values: NDArray[np.float32]) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _embedding(values: NDArray[np.float32]) -> object:
    return np.ascontiguousarray(values)  # orjson takes contiguous arrays alone


def _age(values: NDArray[np.float32]) -> Json:
    return {"years": np.float32(values)}


def _best(values: NDArray[np.float32]) -> int:
    """Index of the largest. numpy's own gives up the interpreter's lock, for which the event loop then has to wait."""
    listed: list[float] = values.tolist()
    return listed.index(max(listed))


def _gender(values: NDArray[np.float32]) -> Json:
    best = _best(values)
    return {"label": GENDERS[best], "probability": values[best]}


def _labelled(labels: tuple[str, ...]) -> Callable[[NDArray[np.float32]], Json]:
    def write(values: NDArray[np.float32]) -> Json:
        probabilities = dict(zip(labels, values, strict=True))
        return {"label": labels[_best(values)], "probabilities": probabilities}

    return write


def _attributes(values: NDArray[np.float32]) -> Json:
    return dict(zip(ATTRIBUTES, values, strict=True))


_WRITERS: Final[Mapping[Task, Callable[[NDArray[np.float32]], object]]] = {
    "embedding": _embedding,
    "age": _age,
    "gender": _gender,
    "expression": _labelled(EXPRESSIONS),
    "attributes": _attributes,
    "race": _labelled(RACES),
}
