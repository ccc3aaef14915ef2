"""The operating point: the score from which a detection counts, and what the smallest must have more.

Measured and written into a checkpoint.

Holds the choice on the validation split. Never trains.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

from model.detector.checkpoint import OperatingPoint, load_detector, save_detector
from model.detector.network import DetectorNetwork, with_small_shift
from model.runtime.detection import Detector
from model.runtime.pack import DetectorPart
from model.training.detection.evaluate import DetectionReport, find
from model.training.detection.scenes import read_scenes
from model.training.detection.torch_session import TorchSession

MAX_FALSE_ALARMS: Final = 0.02  # a room: of all scores that are this quiet, the lowest finds the most faces
_SMALL_SHIFTS: Final = (0.0, 0.5, 1.0)  # in logits
_UNHASHED = "0" * 64  # a checkpoint's network has no file with a hash; nothing compares this one


def open_checkpoint(checkpoint: Path, scales: tuple[float, ...] | None = None) -> Detector:
    """A checkpoint as the runtime's detector, at its own operating point (but for `scales`, if stated), run by torch.

    Raises:
        CheckpointError: if it cannot be read.
    """
    network, point = load_detector(checkpoint)
    return _detector(network, replace(point, scales=point.scales if scales is None else scales), checkpoint.name)


def _detector(network: DetectorNetwork, point: OperatingPoint, name: str) -> Detector:
    part = DetectorPart(
        file=name,
        sha256=_UNHASHED,
        min_score=point.min_score,
        nms_iou=point.nms_iou,
        scales=point.scales,
        blend=point.blend,
        trims=point.trims,
    )
    return Detector(TorchSession(network), part)


def settle(checkpoint: Path, data: Path, min_score: float | None = None) -> DetectionReport:
    """Measures a checkpoint on the validation split and writes its operating point into it.

    Args:
        checkpoint: a detector's checkpoint folder.
        data: the folder with `detection-val*.parquet`.
        min_score: the point; by default `best_score` chooses it, with the shift for the smallest anchors that then
            finds the most faces.

    Returns:
        The figures at the point, which the checkpoint then states.

    Raises:
        CheckpointError: if the checkpoint cannot be read.
        DataError: if the data cannot be read.
    """
    network, point = load_detector(checkpoint)
    scenes, best = read_scenes(data, "val"), None
    # From none upwards, so that of equally good shifts the least is taken.
    for small_shift in _SMALL_SHIFTS if min_score is None else (network.config.small_shift,):
        shifted = with_small_shift(network, small_shift)
        found = find(_detector(shifted, point, checkpoint.name), scenes)
        report = found.at(best_score(found.at(point.min_score)) if min_score is None else min_score)
        if best is None or report.recall > best[1].recall:
            best = (shifted, report)
    assert best is not None
    network, report = best
    measured = {measure.metric: measure.value for measure in report.measures() if measure.group == "all"}
    save_detector(checkpoint, network, replace(point, min_score=report.min_score, measured=measured))
    return report


def best_score(report: DetectionReport) -> float:
    """The lowest score of the sweep from which on a room has at most `MAX_FALSE_ALARMS`; the highest where none has."""
    quiet = [point.min_score for point in report.sweep if point.false_alarms_per_room <= MAX_FALSE_ALARMS]
    return min(quiet, default=report.sweep[-1].min_score)
