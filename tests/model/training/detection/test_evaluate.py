"""Tests of `model.training.detection.evaluate`, its matching and the operating point."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.detector.checkpoint import OperatingPoint, load_detector, save_detector
from model.detector.network import DetectorNetwork
from model.runtime.detection import Detections, Detector
from model.runtime.pack import DetectorPart
from model.training.dataset import DataError
from model.training.detection.evaluate import SweepPoint, evaluate_detector, evaluate_on
from model.training.detection.matching import landmark_error, match
from model.training.detection.operating_point import best_score, open_checkpoint, settle
from model.training.detection.scenes import Scene, read_scenes
from model.training.detection.torch_session import TorchSession
from tests.model.detector.networks import tiny_detector
from tests.model.training.detection.data import draw_heads, write_data

SCENES = (
    draw_heads("photo", (200, 140), [(20, 20, 60, 60), (110, 40, 190, 120)], 1),
    draw_heads("photo", (200, 140), [(20, 20, 30, 32)], 2),  # under 20 pixels: not counted
    draw_heads("room", (100, 80), [], 3),
    draw_heads("room", (90, 80), [], 4),
)


def quiet_detector() -> DetectorNetwork:
    """A tiny detector with few scores over the floor: suppression among thousands takes its time."""
    network = tiny_detector()
    with torch.no_grad():
        network.head.score.bias.fill_(-6.0)  # type: ignore[union-attr]  # this layer has one
    return network


class Oracle(Detector):
    """Answers with the labels of the scenes it was given, at stated scores, the points moved by `shift` pixels."""

    def __init__(self, scenes: Sequence[Scene], scores: dict[str, list[float]], shift: float = 0.0) -> None:
        super().__init__(TorchSession(tiny_detector()), DetectorPart(file="x", sha256="0" * 64, min_score=0.5))
        self._answers = {}
        for scene in scenes:
            given = np.array(scores.get(scene.name, []), np.float32)
            boxes = (
                scene.boxes if len(scene.boxes) else np.tile(np.array([[1, 1, 40, 40]], np.float32), (len(given), 1))
            )
            points = (
                scene.landmarks + np.array([shift, 0], np.float32) if len(scene.boxes) else np.zeros((len(given), 5, 2))
            )
            order = np.argsort(-given)
            self._answers[scene.pixels.tobytes()] = (boxes[order], given[order], points[order].astype(np.float32))

    def detect(self, images: Sequence[NDArray[np.uint8]], min_score: float | None = None) -> list[Detections]:
        lowest = self.min_score if min_score is None else min_score
        found = [self._answers[image.tobytes()] for image in images]
        return [
            Detections(*(part[scores >= lowest] for part in (boxes, scores, points))) for boxes, scores, points in found
        ]


def test_perfect() -> None:
    """A detector that answers with the labels has full recall, no false alarm and no landmark error."""
    report = evaluate_on(Oracle(SCENES, {"photo1": [0.9, 0.8], "photo2": [0.7]}), SCENES)
    assert (report.min_score, report.recall, report.num_faces) == (0.5, 1.0, 2)
    assert (report.false_alarms_per_room, report.num_rooms) == (0.0, 2)
    assert (report.unmatched_per_photo, report.num_photos) == (0.0, 2)
    assert report.landmark_error == pytest.approx(0, abs=1e-6)
    assert [(size.low_px, size.recall, size.num_faces) for size in report.bins] == [(20.0, 1.0, 1), (64.0, 1.0, 1)]


def test_flawed() -> None:
    """A doubtful face is missed, what is found in a room is a false alarm, and both move with the lowest score."""
    scores = {"photo1": [0.9, 0.3], "photo2": [0.7], "room3": [0.6, 0.2], "room4": [0.2]}
    oracle = Oracle(SCENES, scores, shift=4.0)
    report = evaluate_on(oracle, SCENES)
    assert (report.recall, report.false_alarms_per_room) == (0.5, 0.5)
    assert report.landmark_error == pytest.approx(4 / 16)  # the drawn head of 40 pixels has its eyes 16 apart
    lower = evaluate_on(oracle, SCENES, 0.25)
    assert (lower.min_score, lower.recall, lower.false_alarms_per_room) == (0.25, 1.0, 0.5)
    at = {point.min_score: point for point in report.sweep}
    assert (at[0.1].recall, at[0.1].false_alarms_per_room) == (1.0, 1.5)
    assert (at[0.7].recall, at[0.7].false_alarms_per_room) == (0.5, 0.0)
    assert [point.min_score for point in report.sweep] == sorted(at)


def test_measures() -> None:
    """A report is rows of an evaluation: task, metric, value, set, group, number of samples."""
    rows = evaluate_on(Oracle(SCENES, {"photo1": [0.9, 0.8]}), SCENES).measures()
    assert {row.task for row in rows} == {"detection"}
    assert {row.dataset for row in rows} == {"detection-val"}
    found = {(row.metric, row.group): (row.value, row.num_samples) for row in rows}
    assert found["recall_at_iou_0.5", "all"] == (1.0, 2)
    assert found["recall_at_iou_0.5", "face 20 to 64 px"] == (1.0, 1)
    assert found["false_alarms_per_room", "all"] == (0.0, 2)
    assert rows[0].figure("mien-train evaluate").command == "mien-train evaluate"


def test_nothing_to_measure() -> None:
    """Scenes without a face or without a room measure nothing, and that is said."""
    for scenes in (SCENES[:2], SCENES[2:]):
        with pytest.raises(DataError, match="rooms"):
            evaluate_on(Oracle(SCENES, {}), scenes)


def test_match() -> None:
    """The surest detection takes a face; a second one of it matches nothing, nor does one at IoU under 0.5."""
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    found = np.array([[0, 1, 10, 10], [0, 0, 10, 10], [20, 6, 30, 16], [20, 4, 30, 10]], np.float32)
    detections = Detections(found, np.array([0.9, 0.8, 0.7, 0.6], np.float32), np.zeros((4, 5, 2), np.float32))
    assert match(detections, boxes).tolist() == [0, -1, -1, 1]
    assert match(detections, boxes[:0]).tolist() == [-1] * 4


def test_landmark_error() -> None:
    """The error is the points' mean distance by that between the eyes."""
    labelled = np.array([[0, 0], [10, 0], [5, 5], [2, 9], [8, 9]], np.float32)
    moved = labelled.copy()
    moved[2] += (3, 4)
    assert landmark_error(moved, labelled) == pytest.approx(5 / 5 / 10)


def test_best_score() -> None:
    """The operating point is the lowest score at which a room has at most a fiftieth of a false alarm."""
    rows = [(0.2, 1.0, 0.5), (0.3, 0.98, 0.03), (0.4, 0.97, 0.02), (0.5, 0.96, 0.0), (0.6, 0.8, 0.0)]
    report = evaluate_on(Oracle(SCENES, {}), SCENES)
    assert best_score(replace(report, sweep=tuple(SweepPoint(*row) for row in rows))) == 0.4
    assert best_score(replace(report, sweep=tuple(SweepPoint(*row) for row in rows[:2]))) == 0.3


def test_settle(tmp_path: Path) -> None:
    """Settling writes the measured point into the checkpoint, weights untouched, and a stated score is kept."""
    data = write_data(tmp_path)
    save_detector(tmp_path / "ema", quiet_detector(), OperatingPoint(nms_iou=0.3))
    before = (tmp_path / "ema" / "weights.safetensors").read_bytes()
    report = settle(tmp_path / "ema", data)
    _, point = load_detector(tmp_path / "ema")
    assert point.min_score == report.min_score == best_score(report)
    assert point.nms_iou == 0.3
    assert point.measured["recall_at_iou_0.5"] == report.recall
    assert (tmp_path / "ema" / "weights.safetensors").read_bytes() == before
    assert settle(tmp_path / "ema", data, 0.77).min_score == 0.77
    assert load_detector(tmp_path / "ema")[1].min_score == 0.77


def test_checkpoint_detector(tmp_path: Path) -> None:
    """A checkpoint is measured as its own operating point says, by the files as by the scenes in memory."""
    data = write_data(tmp_path)
    save_detector(tmp_path / "ema", quiet_detector(), OperatingPoint(min_score=0.61))
    detector = open_checkpoint(tmp_path / "ema")
    assert detector.min_score == 0.61
    assert evaluate_detector(detector, data) == evaluate_on(detector, read_scenes(data, "val"), 0.61)
