"""Analysis: what an image's analysis is, and what may be asked of it.

Holds plain values alone. Never holds how they are made (see `service.analyzer`) or written (see `service.answers`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.runtime.labels import Task
from model.runtime.quality import Quality
from service.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of every image of a request.

    Attributes:
        tasks: what to answer a face.
        max_faces: faces answered an image, largest first; None for all.
        min_score: the least detection score; None for the pack's.
        min_face: the least length of a face box's shorter side, in pixels of the upright full-size image.
        aligned: each image is one aligned crop, which is neither searched for faces nor aligned.
        crops: each face carries its aligned crop.
    """

    tasks: tuple[Task, ...]
    max_faces: int | None = None
    min_score: float | None = None
    min_face: float = 0.0
    aligned: bool = False
    crops: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face. Pixels are those of the upright full-size image.

    Attributes:
        box: float32 (4,), x1, y1, x2, y2.
        score: the detection's, 0 to 1; None for an aligned crop.
        landmarks: float32 (5, 2) in the order of `labels.LANDMARKS`; None for an aligned crop.
        outputs: by task, one face's row of an analyzer's output: float32 (D,), () for age.
        quality: None for an aligned crop.
        crop: uint8 (S, S, 3), the aligned crop, where it was asked for.
    """

    box: NDArray[np.float32]
    score: float | None
    landmarks: NDArray[np.float32] | None
    outputs: Mapping[Task, NDArray[np.float32]]
    quality: Quality | None = None
    crop: NDArray[np.uint8] | None = None

    @property
    def area_px(self) -> float:
        """The box's area, in square pixels."""
        return area_px(self.box)


@dataclass(frozen=True, slots=True)
class Upload:
    """One image as it came: its bytes, or why there are none; and its name, which is echoed and never used."""

    data: bytes
    name: str | None = None
    error: ServiceError | None = None


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One image's faces, largest first; or the error that it got in their place.

    `width` and `height` are the upright full-size image's, None where it could not be read.
    """

    name: str | None
    width: int | None = None
    height: int | None = None
    faces: tuple[Face, ...] = ()
    error: ServiceError | None = None


@dataclass(slots=True)
class Timings:
    """Seconds an image, or a request, spent in each stage; `queue` is the wait for lanes: to decode, and for runs."""

    decode: float = 0.0
    detect: float = 0.0
    align: float = 0.0
    queue: float = 0.0
    infer: float = 0.0

    @classmethod
    def longest(cls, parts: Sequence["Timings"]) -> "Timings":
        """Stage by stage the longest of several that ran side by side."""
        if len(parts) == 1:
            return parts[0]
        stages = [part.stages() for part in parts] or [cls().stages()]
        return cls(**{stage: max(each[stage] for each in stages) for stage in stages[0]})

    def stages(self) -> dict[str, float]:
        """Seconds by stage."""
        return {
            "decode": self.decode,
            "detect": self.detect,
            "align": self.align,
            "queue": self.queue,
            "infer": self.infer,
        }


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a request's images were found to hold, in the order in which they came."""

    images: tuple[ImageResult, ...]
    timings: Timings = field(default_factory=Timings)


def area_px(box: NDArray[np.float32]) -> float:
    """Area of a box x1, y1, x2, y2, in square pixels."""
    return max(float(box[2] - box[0]), 0.0) * max(float(box[3] - box[1]), 0.0)
