"""Inspection: what of a set goes wrong with which quality: faces as they are, and the same ones made worse.

Holds which errors are set against which qualities. Never opens a model and never draws. Shape suffixes: N faces; P
pairs; D embedding length; S crop side; C channels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from model.runtime.alignment import ARCFACE_SIDE_PX
from model.runtime.detection import Detector
from model.runtime.quality import QUALITY_ALIGNMENT, sharpness_of
from model.runtime.quality_curve import QualityCurve
from model.training.dataset import FaceTable
from model.training.evaluation.quality.correlation import curve
from model.training.evaluation.quality.degradation import BLURRED, FACE_OF_CROP, SMALLER
from model.training.evaluation.quality.errors import face_errors, genuine_pairs, pair_errors, people_of
from model.training.evaluation.quality.landmarks import poses_of
from model.training.evaluation.rows import rows_of
from model.training.evaluation.validation import Predict, predict_all

NUM_DEGRADED: Final = 200  # faces of a set, each of which is made worse in every way
_MAX_FACES: Final = 8192  # of a set, spread over it: all of them are held decoded
_SEED: Final = 0
_UNTOUCHED: Final = (("size_px", ARCFACE_SIDE_PX * FACE_OF_CROP), ("blur_sigma_px", 0.0))


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is done with each set that an evaluation measured.

    Attributes:
        command: for the curves.
        detector: finds the landmarks on aligned crops; None leaves pose out.
        threshold: from which cosine on a pair counts as one person; None takes the set's own at an FMR of 0.001.
    """

    command: str
    detector: Detector | None = None
    threshold: float | None = None

    def curves(
        self,
        predict: Predict,
        table: FaceTable,
        outputs: Mapping[str, NDArray[np.float32]],
        own_threshold: float | None,
        progress: Progress,
    ) -> list[QualityCurve]:
        """Every curve of a set; none for crops of another alignment than quality is measured in.

        Args:
            predict: the model, for degraded faces.
            table: the set.
            outputs: what the model answered on it, by task.
            own_threshold: the set's own at an FMR of 0.001; None where it has too few pairs.
            progress: gets a bar.
        """
        if table.alignment != QUALITY_ALIGNMENT:
            return []
        if len(table) > _MAX_FACES:
            rows = _spread(len(table), _MAX_FACES)
            table, outputs = rows_of(table, rows.tolist()), {task: answer[rows] for task, answer in outputs.items()}
        threshold = own_threshold if self.threshold is None else self.threshold
        bar = progress.add_task(f"{table.dataset}, quality", total=len(table) + NUM_DEGRADED)
        qualities = self._qualities(table)
        progress.advance(bar, len(table))
        found = [*_of_faces(outputs, table, qualities, self.command)]
        if threshold is not None and "embedding" in outputs:
            found += _of_pairs(outputs["embedding"], table, qualities, threshold, self.command)
        found += _degraded(predict, table, outputs, threshold, self.command)
        progress.advance(bar, NUM_DEGRADED)
        return found

    def _qualities(self, table: FaceTable) -> dict[str, NDArray[np.float64]]:
        found = {"sharpness": sharpness(table.images[: len(table)])}
        if self.detector is not None:
            poses = poses_of(self.detector, np.asarray(table.images[: len(table)]))
            found |= {"yaw_degrees": np.abs(poses.yaw), "pitch_degrees": np.abs(poses.pitch)}
        return found


def sharpness(images_NSSC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Sharpness (N,) of aligned crops, as the service states it."""
    return np.array([sharpness_of(np.asarray(image)) for image in images_NSSC], np.float64)


def _of_faces(
    outputs: Mapping[str, NDArray[np.float32]],
    table: FaceTable,
    qualities: Mapping[str, NDArray[np.float64]],
    command: str,
) -> Iterator[QualityCurve]:
    for errors in face_errors(outputs, table, people_of(table)):
        for quality, values in qualities.items():
            if (found := curve(errors, quality, values, table.dataset, "measured", command)) is not None:
                yield found


def _of_pairs(
    embeddings_ND: NDArray[np.float32],
    table: FaceTable,
    qualities: Mapping[str, NDArray[np.float64]],
    threshold: float,
    command: str,
) -> Iterator[QualityCurve]:
    """Pairs of one person by the quality of the poorer picture: the less sharp, the farther turned."""
    first, second = genuine_pairs(table.identity)
    if not len(first):
        return
    errors = pair_errors(embeddings_ND[first], embeddings_ND[second], threshold, table.identity[first])
    for quality, values in qualities.items():
        poorer = np.minimum if quality == "sharpness" else np.maximum
        found = curve(errors, quality, poorer(values[first], values[second]), table.dataset, "measured", command)
        if found is not None:
            yield found


def _degraded(
    predict: Predict,
    table: FaceTable,
    outputs: Mapping[str, NDArray[np.float32]],
    threshold: float | None,
    command: str,
) -> Iterator[QualityCurve]:
    """The same few faces at every level, as they are among them; a pair's other picture stays as it is."""
    (rows, others), people = _chosen(table), people_of(table)
    crops = np.asarray(table.images[rows])
    levels = (*SMALLER, *BLURRED)
    pictures = [crops, *(level.applied(crops) for level in levels)]
    answers = [{task: answer[rows] for task, answer in outputs.items()}]
    answers += [predict_all(predict, each) for each in pictures[1:]]
    together = {task: np.concatenate([each[task] for each in answers]) for task in outputs}
    cluster = np.tile(people[rows], len(pictures))
    errors = face_errors(together, rows_of(table, np.tile(rows, len(pictures)).tolist()), cluster)
    if others is not None and threshold is not None and "embedding" in together:
        gallery = np.tile(outputs["embedding"][others], (len(pictures), 1))
        errors.append(pair_errors(together["embedding"], gallery, threshold, cluster))
    qualities = {quality: np.repeat(_values(quality, untouched), len(rows)) for quality, untouched in _UNTOUCHED}
    qualities["sharpness"] = sharpness(np.concatenate(pictures))
    for each in errors:
        for quality, values in qualities.items():
            if (found := curve(each, quality, values, table.dataset, "degraded", command)) is not None:
                yield found


def _values(quality: str, untouched: float) -> NDArray[np.float64]:
    """What each picture of a face has of a quality: NaN where it was degraded in the other way."""
    levels = (*SMALLER, *BLURRED)
    return np.array([untouched, *(each.value if each.quality == quality else np.nan for each in levels)], np.float64)


def _chosen(table: FaceTable) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Rows to make worse, and for each another picture of the same person; None in a set without such pairs."""
    first, second = genuine_pairs(table.identity)
    if not len(first):
        return _spread(len(table), NUM_DEGRADED), None
    # One pair a face, so that a person with many pictures does not make up the sample.
    order = np.random.default_rng(_SEED).permutation(len(first))
    _, at = np.unique(table.identity[first[order]], return_index=True)
    per_person = order[np.sort(at)]
    rest = np.setdiff1d(order, per_person, assume_unique=True)
    chosen = np.concatenate([per_person, np.random.default_rng(_SEED).permutation(rest)])[:NUM_DEGRADED]
    return first[chosen], second[chosen]


def _spread(num_faces: int, num_kept: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, num_faces - 1, min(num_kept, num_faces)).round().astype(np.int64))
