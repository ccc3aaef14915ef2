"""Preparation: what is done to an image in the decode lanes, before and between the runs of the graphs.

Holds decoding at the right size, the choice of faces, and the cutting of crops. Never waits, never runs a network, and
keeps nothing between two images.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.runtime.detection import Detections
from model.runtime.pack import AnalyzerPart, Pack
from model.runtime.passes import useful_side_px
from model.runtime.quality import QUALITY_ALIGNMENT, QUALITY_SIDE_PX, Quality, assess
from service.analysis import Options, area_px
from service.crops import Found, Picture, cut, cut_upright, fit, needed_side_px, shrink
from service.errors import DeadlinePassed, InvalidOption
from service.imaging import decode


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """One face's crops by the number of the analyzer that they are for, and what was measured of the face."""

    crops: dict[int, NDArray[np.uint8]]
    quality: Quality | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """The crops of an image's faces, and the seconds that decoding (again) and cutting took."""

    faces: tuple[Cut, ...]
    decode_seconds: float
    align_seconds: float


class Preparation:
    """Prepares images for one pack. Safe to call from several threads."""

    def __init__(self, pack: Pack, max_pixels: int) -> None:
        self._parts, self._max_pixels = pack.analyzers, max_pixels
        detector = pack.detector
        self._side_px = useful_side_px(detector.input_width, detector.input_height, detector.scales)

    def open(self, data: bytes, deadline: float) -> tuple[Picture, float]:
        """Decodes an image no larger than detection needs; the seconds that it took beside it.

        Raises:
            DeadlinePassed: if the deadline passed before it began.
            ServiceError: as `service.imaging.decode`.
        """
        started = time.monotonic()
        if started >= deadline:
            raise DeadlinePassed("The deadline passed before the image was decoded.")
        picture = shrink(self._decode(data, self._side_px), self._side_px)
        return picture, time.monotonic() - started

    def wanted_side_px(self, picture: Picture, found: Sequence[Found], options: Options) -> int | None:
        """The longer side at which an image must be decoded again, where its crops need more pixels than detection did.

        Returns:
            None where the picture will do.
        """
        parts = [self._parts[index] for index in self.needed(options)]
        has_upright = any(_serves_quality(part) for part in parts)
        return needed_side_px(picture, found, parts, None if has_upright else QUALITY_SIDE_PX)

    def cut(self, picture: Picture, found: Sequence[Found], options: Options) -> Cuts:
        """Crops of every face from a picture that is large enough."""
        started = time.monotonic()
        indices = self.needed(options)
        cuts = []
        for face in found:
            crops = {index: cut(picture, face, self._parts[index]) for index in indices}
            cuts.append(Cut(crops, self._assess(picture, face, crops)))
        return Cuts(tuple(cuts), 0.0, time.monotonic() - started)

    def cut_larger(self, data: bytes, side_px: int, found: Sequence[Found], options: Options) -> Cuts:
        """Crops of every face from the image, decoded again.

        What was decoded again lives in this call alone: a full-size picture never waits in a queue.
        """
        started = time.monotonic()
        picture = self._decode(data, side_px)
        decode_seconds = time.monotonic() - started
        return replace(self.cut(picture, found, options), decode_seconds=decode_seconds)

    def open_aligned(self, data: bytes, options: Options, deadline: float) -> tuple[Picture, Cuts]:
        """Decodes an image that is a crop already, and resizes it for each analyzer that its tasks need.

        Raises:
            InvalidOption: if the tasks belong to analyzers of different alignments: one crop cannot be of several.
            ServiceError: as `open`.
        """
        self._require_one_alignment(options)
        picture, decode_seconds = self.open(data, deadline)
        started = time.monotonic()
        crops = {index: fit(picture.pixels, self._parts[index].side_px) for index in self.needed(options)}
        return picture, Cuts((Cut(crops),), decode_seconds, time.monotonic() - started)

    def needed(self, options: Options) -> list[int]:
        """Numbers of the analyzers whose tasks are asked for."""
        return [index for index, part in enumerate(self._parts) if set(part.tasks) & set(options.tasks)]

    def _require_one_alignment(self, options: Options) -> None:
        tasks: dict[str, list[str]] = {}
        for part in (self._parts[index] for index in self.needed(options)):
            scale = "" if part.box_scale is None else f" at {part.box_scale:g}"
            tasks.setdefault(part.alignment + scale, []).extend(task for task in part.tasks if task in options.tasks)
        if len(tasks) > 1:
            wanted = "; ".join(f"{alignment}: {','.join(names)}" for alignment, names in tasks.items())
            raise InvalidOption(f"aligned=true with tasks of several alignments; ask for one's tasks ({wanted}).")

    def _assess(self, picture: Picture, face: Found, crops: dict[int, NDArray[np.uint8]]) -> Quality:
        """Quality, measured in one alignment whatever the analyzers': sharpness is that of the pixels a crop shows."""
        upright = [crop for index, crop in crops.items() if _serves_quality(self._parts[index])]
        crop = upright[0] if upright else cut_upright(picture, face, QUALITY_SIDE_PX)
        return assess(crop, face.landmarks, face.box)

    def _decode(self, data: bytes, side_px: int) -> Picture:
        image = decode(data, max_pixels=self._max_pixels, max_side_px=side_px)
        return Picture(image.pixels, image.width, image.height)


def _serves_quality(part: AnalyzerPart) -> bool:
    """Whether an analyzer's crop is the one that quality is measured on; of another side it would seem less sharp."""
    return part.alignment == QUALITY_ALIGNMENT and part.side_px == QUALITY_SIDE_PX


def choose(detections: Detections, picture: Picture, options: Options, min_score: float) -> list[Found]:
    """The faces that are answered, largest first; equal ones keep the detector's order, surest first."""
    to_full = picture.to_full.astype(np.float32)
    found = [
        Found(box * np.tile(to_full, 2), float(score), landmarks * to_full)
        for box, score, landmarks in zip(detections.boxes, detections.scores, detections.landmarks, strict=True)
        if score >= min_score
    ]
    found = [face for face in found if _shorter_side_px(face.box) >= options.min_face]
    found.sort(key=lambda face: -area_px(face.box))
    return found[: options.max_faces]


def _shorter_side_px(box: NDArray[np.float32]) -> float:
    return min(float(box[2] - box[0]), float(box[3] - box[1]))
