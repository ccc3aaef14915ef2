"""Validating a network while it trains: one figure of the evaluation's, over the validation sets.

Holds the reading of the sets and the asking of the network. Never decides what the figure means (see
`model.training.selection`) and never measures by itself (see `model.training.evaluation`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.analyzer import Analyzer
from model.network import MultiTaskNetwork
from model.training.dataset import DataError, FaceTable, read_faces
from model.training.evaluation.matching import measure_pairs
from model.training.evaluation.pairs import PairList, read_pairs
from model.training.evaluation.report import Measure
from model.training.evaluation.subjects import resized
from model.training.evaluation.tasks import labelled_tasks, measure_tasks
from model.training.evaluation.validation import Predict, find_sets, predict_all
from model.training.selection import ValidationConfig


@dataclass(frozen=True, slots=True)
class _Set:
    table: FaceTable
    pairs: PairList | None


class Validator:
    """Validation sets in memory, and the figure that is asked of them."""

    def __init__(self, config: ValidationConfig, data: Path, cache: Path | None, device: torch.device) -> None:
        """Reads the sets that label the metric's task.

        Raises:
            DataError: if none does, or a named set is not there.
        """
        assert config.metric is not None
        self._task, self._metric = config.metric.split("/")
        self._device = device
        names = config.sets or find_sets(data)
        sets = [self._read(data, name, cache) for name in names]
        self._sets = [each for each in sets if self._labelled(each)]
        if not self._sets:
            raise DataError(
                f"no validation set of {data} can tell {config.metric}; add a NAME-val.parquet that labels it, "
                "or --set validation.metric=none"
            )

    def measure(self, network: MultiTaskNetwork) -> float:
        """The metric's mean over the sets.

        Raises:
            DataError: if the sets have no such metric.
        """
        predict = _predictor(network, self._device)
        values = [value for each in self._sets for value in self._values(each, predict_all(predict, each.table.images))]
        if not values:
            raise DataError(f"the validation sets have no metric {self._task}/{self._metric}")
        return float(np.mean(values))

    def _read(self, data: Path, name: str, cache: Path | None) -> _Set:
        table = read_faces(data, name, "val", cache)
        return _Set(table, read_pairs(data, name, table.names) if self._task == "embedding" else None)

    def _labelled(self, each: _Set) -> bool:
        return self._task in labelled_tasks(each.table) and (self._task != "embedding" or each.pairs is not None)

    def _values(self, each: _Set, outputs: Mapping[str, NDArray[np.float32]]) -> list[float]:
        measures: list[Measure] = []
        if self._task == "embedding" and each.pairs is not None:
            measures = measure_pairs(outputs["embedding"], each.table, each.pairs).measures
        elif self._task in outputs:
            measures, _ = measure_tasks({self._task: outputs[self._task]}, each.table, by_group=False)
        return [row.value for row in measures if (row.metric, row.group) == (self._metric, "all")]


def _predictor(network: MultiTaskNetwork, device: torch.device) -> Predict:
    analyzer = Analyzer(network).eval().to(device)

    def predict(images_NSSC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        crops = torch.from_numpy(resized(images_NSSC, analyzer.side_px)).to(device)
        with torch.inference_mode():
            answers = analyzer(crops)
        return {task: np.asarray(answer.cpu().numpy(), np.float32) for task, answer in answers.items()}

    return predict
