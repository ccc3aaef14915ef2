"""Evaluation of a detector: recall, false alarms and landmark error on the validation split.

Holds what measures any detector behind the runtime's door, a checkpoint, an ONNX graph or a pack alike. Never trains
and never changes an operating point.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.detection import Detections, Detector
from model.training.dataset import DataError
from model.training.detection.matching import landmark_error, match
from model.training.detection.scenes import Scene, read_scenes
from model.training.evaluation.intervals import wilson
from model.training.evaluation.report import Measure

DATASET: Final = "detection-val"
MIN_FACE_PX: Final = 20.0  # the longer side of a face's box, in pixels of its photograph
_FLOOR: Final = 0.05  # the lowest score that is looked at
_SWEEP: Final = tuple(round(0.1 + 0.02 * step, 2) for step in range(41))
_EDGES_PX: Final = (20.0, 64.0, 128.0, 256.0, float("inf"))  # of the size bins


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """What holds at one lowest score: recall of the faces, false alarms a room."""

    min_score: float
    recall: float
    false_alarms_per_room: float


@dataclass(frozen=True, slots=True)
class SizeBin:
    """Recall of the faces whose longer side is from `low_px` to under `high_px` pixels of their photograph."""

    low_px: float
    high_px: float
    recall: float
    num_faces: int

    @property
    def group(self) -> str:
        """The bin's name among an evaluation's groups."""
        upper = "and over" if self.high_px == float("inf") else f"to {self.high_px:g}"
        return f"face {self.low_px:g} {upper} px"


@dataclass(frozen=True, slots=True)
class DetectionReport:
    """A detector on the validation split, at one lowest score.

    Attributes:
        min_score: that score.
        recall: share of the faces over 20 pixels that are found at IoU 0.5.
        num_faces: how many such faces there are.
        false_alarms_per_room: detections in rooms without a face.
        num_rooms: how many rooms.
        unmatched_per_photo: detections in photographs that match no labelled face; some are faces without a label.
        num_photos: how many photographs.
        landmark_error: mean over the found faces of the points' mean distance, by the distance between the eyes.
        bins: recall by size.
        sweep: recall and false alarms at other lowest scores, ascending.
    """

    min_score: float
    recall: float
    num_faces: int
    false_alarms_per_room: float
    num_rooms: int
    unmatched_per_photo: float
    num_photos: int
    landmark_error: float
    bins: tuple[SizeBin, ...]
    sweep: tuple[SweepPoint, ...]

    def measures(self) -> tuple[Measure, ...]:
        """The figures as rows of an evaluation's report."""
        rows = [
            ("min_score", self.min_score, self.num_faces, "all"),
            ("recall_at_iou_0.5", self.recall, self.num_faces, "all"),
            ("false_alarms_per_room", self.false_alarms_per_room, self.num_rooms, "all"),
            ("unmatched_per_photo", self.unmatched_per_photo, self.num_photos, "all"),
            ("landmark_error_by_eye_distance", self.landmark_error, max(round(self.recall * self.num_faces), 1), "all"),
        ]
        rows += [("recall_at_iou_0.5", each.recall, each.num_faces, each.group) for each in self.bins]
        return tuple(
            Measure("detection", name, value, DATASET, count, group).within(
                wilson(value, count) if name.startswith("recall") else None
            )
            for name, value, count, group in rows
        )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One labelled face: its longer side, the score of the detection that found it (0 for none), that one's error."""

    side_px: float
    score: float
    error: float


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a detector found on scenes at the lowest score that is looked at, from which any higher one is counted.

    Attributes:
        faces: labelled faces over 20 pixels.
        alarms: scores of what was found in rooms.
        unmatched: scores of what was found in photographs and matches no label.
        num_rooms: scenes without a face.
        num_photos: the others.
    """

    faces: tuple[_Outcome, ...]
    alarms: tuple[float, ...]
    unmatched: tuple[float, ...]
    num_rooms: int
    num_photos: int

    def at(self, min_score: float) -> DetectionReport:
        """Counts them at a lowest score: suppression goes by score, so what is left out suppressed nothing above it."""
        errors = [face.error for face in self.faces if face.score >= min_score]
        return DetectionReport(
            min_score=min_score,
            recall=_recall(self.faces, min_score),
            num_faces=len(self.faces),
            false_alarms_per_room=_count(self.alarms, min_score) / self.num_rooms,
            num_rooms=self.num_rooms,
            unmatched_per_photo=_count(self.unmatched, min_score) / self.num_photos,
            num_photos=self.num_photos,
            landmark_error=float(np.mean(errors)) if errors else 0.0,
            bins=tuple(_bins(self.faces, min_score)),
            sweep=tuple(
                SweepPoint(each, _recall(self.faces, each), _count(self.alarms, each) / self.num_rooms)
                for each in _SWEEP
            ),
        )


def evaluate_detector(detector: Detector, data: Path, min_score: float | None = None) -> DetectionReport:
    """Measures a detector on `detection-val*.parquet`.

    Args:
        detector: of any origin.
        data: the folder with the parquet files.
        min_score: the lowest score of a face; the detector's own by default.

    Raises:
        DataError: if the files are missing, or hold no face or no room.
    """
    return evaluate_on(detector, read_scenes(data, "val"), min_score)


def evaluate_on(detector: Detector, scenes: Sequence[Scene], min_score: float | None = None) -> DetectionReport:
    """Measures a detector on scenes in memory; see `evaluate_detector`."""
    return find(detector, scenes).at(detector.min_score if min_score is None else min_score)


def find(detector: Detector, scenes: Sequence[Scene]) -> Findings:
    """Runs a detector on scenes.

    Raises:
        DataError: if they hold no face over 20 pixels, or no room.
    """
    faces: list[_Outcome] = []
    alarms: list[float] = []
    unmatched: list[float] = []
    for scene in scenes:
        found = detector.detect([scene.pixels], min_score=_FLOOR)[0]
        if scene.kind == "room":
            alarms += found.scores.tolist()
            continue
        matched = match(found, scene.boxes)
        unmatched += found.scores[matched < 0].tolist()
        faces += [face for face in _outcomes(found, matched, scene) if face.side_px >= MIN_FACE_PX]
    num_rooms = sum(scene.kind == "room" for scene in scenes)
    if not faces or not num_rooms:
        raise DataError("a detector is measured on photographs with faces over 20 pixels and on rooms without")
    return Findings(tuple(faces), tuple(alarms), tuple(unmatched), num_rooms, len(scenes) - num_rooms)


def _outcomes(found: Detections, matched: NDArray[np.int64], scene: Scene) -> Iterable[_Outcome]:
    for face, (box, landmarks) in enumerate(zip(scene.boxes, scene.landmarks, strict=True)):
        side_px = float((box[2:] - box[:2]).max())
        by = np.flatnonzero(matched == face)
        if len(by):
            error = landmark_error(found.landmarks[by[0]], landmarks)
            yield _Outcome(side_px, float(found.scores[by[0]]), error)
        else:
            yield _Outcome(side_px, 0.0, 0.0)


def _bins(faces: Sequence[_Outcome], score: float) -> Iterable[SizeBin]:
    for low, high in pairwise(_EDGES_PX):
        inside = [face for face in faces if low <= face.side_px < high]
        if inside:
            yield SizeBin(low, high, _recall(inside, score), len(inside))


def _recall(faces: Sequence[_Outcome], score: float) -> float:
    return _count([face.score for face in faces], score) / len(faces)


def _count(scores: Sequence[float], lowest: float) -> int:
    return sum(score >= lowest for score in scores)
