"""Robustness: a detector under every condition, counted: recall, false alarms, landmark error, looks at a picture.

Never says what a condition is (see `model.training.detection.conditions`) and never changes an operating point.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from model.runtime.detection import Detections, Detector
from model.runtime.pose import pose_of
from model.training.dataset import DataError
from model.training.detection.conditions import CLEAN, Condition, conditions
from model.training.detection.evaluate import DATASET, MIN_FACE_PX
from model.training.detection.gallery import GALLERY
from model.training.detection.matching import landmark_error, match
from model.training.detection.scenes import Scene
from model.training.detection.views import side_of
from model.training.evaluation.conditions import CONDITION
from model.training.evaluation.report import Measure

_YAWS: Final = ((0, 20), (20, 40), (40, 60), (60, math.inf))  # degrees, by the labelled landmarks
_GALLERY_SIDES_PX: Final = ((20, 32), (64, 128), (256, 600))
_MIN_FACE_PX: Final = 0.99 * MIN_FACE_PX  # a face shown at that size may lack a hair's breadth of it


@dataclass(frozen=True, slots=True)
class Tried:
    """One labelled face: longer side in pixels, yaw in degrees, landmark error of what found it; NaN if missed."""

    side_px: float
    yaw: float
    error: float


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """What a detector reached under one condition.

    Attributes:
        name: the condition's.
        num_faces: labelled faces shown.
        recall: share of them found at IoU 0.5, both boxes cut at the picture's edges.
        landmark_error: mean over the found faces, by the distance between the eyes; NaN where none was found.
        false_alarms_per_room: detections in rooms without a face; NaN where no room was shown.
        num_rooms: how many rooms.
        views_per_photo: runs of the network a photograph; NaN for a part of a condition.
        num_photos: how many photographs.
    """

    name: str
    num_faces: int
    recall: float
    landmark_error: float
    false_alarms_per_room: float = math.nan
    num_rooms: int = 0
    views_per_photo: float = math.nan
    num_photos: int = 0

    def measures(self) -> Iterator[Measure]:
        """The figures as rows of an evaluation's report."""
        num_found = round(self.recall * self.num_faces)
        figures = (
            ("recall_at_iou_0.5", self.recall, self.num_faces),
            ("false_alarms_per_room", self.false_alarms_per_room, self.num_rooms),
            ("landmark_error_by_eye_distance", self.landmark_error, num_found),
            ("views_per_photo", self.views_per_photo, self.num_photos),
        )
        for metric, value, count in figures:
            if math.isfinite(value):
                yield Measure("detection", metric, value, DATASET, count, CONDITION + self.name)


def try_conditions(
    detector: Detector,
    scenes: Sequence[Scene],
    num_threads: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[ConditionRow, ...]:
    """Runs a detector under every condition.

    Args:
        detector: of any origin, at its own operating point.
        scenes: of the validation split.
        num_threads: conditions tried side by side; 0 takes one a core that this process may use.
        progress: told each condition's name once it is done.

    Raises:
        DataError: if the scenes hold no face, or no room.
    """
    photos = [scene for scene in scenes if scene.kind != "room" and len(scene.boxes)]
    rooms = [scene for scene in scenes if scene.kind == "room"]
    if not photos or not rooms:
        raise DataError("a detector is tried on photographs with faces and on rooms without")

    def rows(condition: Condition) -> tuple[ConditionRow, ...]:
        done = tuple(_try(detector, condition, condition.show(photos, rooms)))
        progress(condition.name)
        return done

    with ThreadPoolExecutor(num_threads or len(os.sched_getaffinity(0)), thread_name_prefix="conditions") as pool:
        return tuple(row for found in pool.map(rows, conditions()) for row in found)


def _try(detector: Detector, condition: Condition, shown: Iterable[Scene]) -> Iterator[ConditionRow]:
    faces: list[Tried] = []
    num_rooms = num_photos = num_alarms = num_views = 0
    for scene in shown:
        found = detector.detect([scene.pixels])[0]
        if scene.kind == "room":
            num_rooms, num_alarms = num_rooms + 1, num_alarms + len(found)
        else:
            num_photos, num_views = num_photos + 1, num_views + found.num_views
            faces += _faces(found, scene)
    yield replace(
        _row(condition.name, faces),
        false_alarms_per_room=num_alarms / num_rooms if num_rooms else math.nan,
        num_rooms=num_rooms,
        views_per_photo=num_views / num_photos if num_photos else math.nan,
        num_photos=num_photos,
    )
    yield from _parts(condition.name, faces)


def _faces(found: Detections, scene: Scene) -> Iterator[Tried]:
    height, width = scene.pixels.shape[:2]
    clipped = np.clip(found.boxes, 0, np.array([width, height, width, height], np.float32))
    matched = match(Detections(clipped, found.scores, found.landmarks), scene.boxes)
    for number, (box, landmarks) in enumerate(zip(scene.boxes, scene.landmarks, strict=True)):
        if side_of(box) < _MIN_FACE_PX:
            continue
        by = np.flatnonzero(matched == number)
        error = landmark_error(found.landmarks[by[0]], landmarks) if len(by) else math.nan
        yield Tried(side_of(box), abs(pose_of(landmarks).yaw), error)


def _parts(name: str, faces: Sequence[Tried]) -> Iterator[ConditionRow]:
    """Of two conditions the faces are told apart too: by how far they are turned, and by size."""
    if name == CLEAN:
        for low, high in _YAWS:
            bounds = f"{low} to {high}" if math.isfinite(high) else f"over {low}"
            yield from _part(f"profile, {bounds} degrees", [face for face in faces if low <= face.yaw < high])
    if name == GALLERY:
        for low, high in _GALLERY_SIDES_PX:
            # A hair's breadth around the stated sides: they are pixels of floating-point boxes.
            within = [face for face in faces if 0.9 * low < face.side_px < 1.1 * high]
            yield from _part(f"{name}: {low} to {high} px", within)


def _part(name: str, faces: Sequence[Tried]) -> Iterator[ConditionRow]:
    if faces:
        yield _row(name, faces)


def _row(name: str, faces: Sequence[Tried]) -> ConditionRow:
    errors = [face.error for face in faces if math.isfinite(face.error)]
    recall = len(errors) / len(faces) if faces else math.nan
    return ConditionRow(name, len(faces), recall, float(np.mean(errors)) if errors else math.nan)
