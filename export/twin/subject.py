"""The subject of trials: an analyzer of a pack, with what its graphs answer on the validation sets.

Holds the runs over these sets, the float graph's at most once. Never judges an answer.
Shape suffixes: N crops; S crop side; C channels (three, RGB).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.progress import Stages
from export.twin.candidates import Method, cosines
from model.runtime.pack import AnalyzerPart
from model.runtime.session import Session, open_session
from model.training.evaluation.report import EvaluationReport
from model.training.evaluation.subjects import resized
from model.training.evaluation.validation import Predict, evaluate_aligned

NUM_CROPS: Final = 128  # to measure ranges, damage and cosine on
NUM_ROUNDS: Final = 15


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried, on what.

    Attributes:
        data: folder with training and validation sets.
        method: which candidates.
        limit: about so many validation images a set, for a quick look; None for all.
        num_crops: training crops.
        num_rounds: turns that each candidate and the float graph are timed in.
        command: whose evaluations these are.
    """

    data: Path
    method: Method = "auto"
    limit: int | None = None
    num_crops: int = NUM_CROPS
    num_rounds: int = NUM_ROUNDS
    command: str = "mien-export quantise"


@dataclass(frozen=True, slots=True)
class Validation:
    """The validation sets, answered by one graph: the report, and the embeddings in the order of the rows."""

    report: EvaluationReport
    embeddings: list[NDArray[np.float32]]

    def cosines_to(self, other: "Validation") -> tuple[float, float] | None:
        """The mean and the least cosine of two graphs' embeddings of the same rows; None where there are none."""
        if not self.embeddings:
            return None
        pairs = zip(self.embeddings, other.embeddings, strict=True)
        found = np.concatenate([cosines(one, another) for one, another in pairs])
        return float(found.mean()), float(found.min())


@dataclass(slots=True)
class Subject:
    """An analyzer whose candidates are tried.

    Attributes:
        graph: its float graph.
        part: what its pack states of it.
        plan: what is tried, on what.
        stages: what a person sees meanwhile.
    """

    graph: Path
    part: AnalyzerPart
    plan: Plan
    stages: Stages
    _reference: Validation | None = None

    @property
    def reference(self) -> Validation:
        """The float graph's answers."""
        if self._reference is None:
            self._reference = self.validated(self.graph, "float32")
        return self._reference

    def validated(self, graph: Path | bytes, name: str) -> Validation:
        """A graph's answers, under a name for people."""
        embeddings: list[NDArray[np.float32]] = []
        predict = _recording(open_session(graph), self.part, embeddings)
        with self.stages.stage(f"{self.part.file}: validation sets, {name}", has_bars=True):
            report = evaluate_aligned(
                lambda alignment: predict if alignment == self.part.alignment else None,
                self.plan.data,
                model=self.part.file,
                command=self.plan.command,
                limit=self.plan.limit,
            )
        return Validation(report, embeddings)


def _recording(session: Session, part: AnalyzerPart, embeddings: list[NDArray[np.float32]]) -> Predict:
    def predict(images_NSSC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        answers = session.run({session.inputs[0].name: resized(images_NSSC, part.side_px)}, part.tasks)
        if "embedding" in answers:
            embeddings.append(answers["embedding"])
        return answers

    return predict
