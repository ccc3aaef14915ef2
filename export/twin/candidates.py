"""Candidates: which matrices of a graph are quantised, and how.

Holds the damage that each matrix does on its own, and the sets that follow from it. Never times a graph and never looks
at a validation row: candidates are made and first compared on training crops.
Shape suffixes: N crops; S crop side; C channels (three, RGB); D embedding length.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from export.check import Answers, in_batches, predict_by
from export.twin.quantisation import RANGE_METHODS, Matrix, Quantiser, RangeMethod, Ranges
from model.runtime.labels import Task
from model.runtime.session import open_session

Method = Literal["auto", "static", "dynamic"]

# By how much an answer may move, on average over real crops, before a matrix alone has used up all that there is.
_ALLOWED_COSINE: Final = 0.005  # of 1 - cosine
_ALLOWED_YEARS: Final = 1.0
_ALLOWED_PROBABILITY: Final = 0.01
# A matrix that does more than this share of what is allowed stays in float32.
SPARED_OVER: Final = (0.5, 0.35, 0.25, 0.15, 0.1)
_ONE_METHOD: Final = (
    "convolutions",
    "matrix products",
)  # sets that show where the gain lies, by the first ranges alone
_BATCH: Final = 8
_NUM_FOR_DAMAGE: Final = 48  # crops, since every matrix is tried on them alone


@dataclass(frozen=True, slots=True)
class Candidate:
    """A quantised graph and how it came about.

    Attributes:
        name: for people.
        graph: the ONNX model, serialised.
        num_matrices: that are in int8.
        num_possible: that could be.
    """

    name: str
    graph: bytes
    num_matrices: int
    num_possible: int

    @property
    def spares_none(self) -> bool:
        """Whether every matrix that could be is in int8."""
        return self.num_matrices == self.num_possible


@dataclass(frozen=True, slots=True)
class Candidates:
    """Every way to quantise a graph that is tried, in two rounds.

    Attributes:
        quantiser: of the graph.
        method: static or dynamic ones alone; `auto` for both.
        crops: real ones to measure ranges and damage on, uint8 (N, S, S, 3).
        plain: what the float graph answers on them.
    """

    quantiser: Quantiser
    method: Method
    crops: NDArray[np.uint8]
    plain: Answers
    _ranges: dict[RangeMethod, Ranges] = field(default_factory=dict)

    @property
    def rounds(self) -> tuple[Callable[[Callable[[str], None]], list[Candidate]], ...]:
        """What makes each round's candidates, told whom to tell what is being done."""
        return (self.of_kinds,) if self.method == "dynamic" else (self.of_kinds, self.sparing)

    def of_kinds(self, advance: Callable[[str], None] = lambda _: None) -> list[Candidate]:
        """All matrices in int8, and those of one kind alone."""
        kinds, made = dict(_kinds(self.quantiser.matrices)), []
        if self.method != "dynamic":
            for name in RANGE_METHODS:
                advance(f"ranges: {name}")
                self._ranges[name] = self.quantiser.ranges(self.crops, name)
            made += self._static(kinds, advance)
        products = kinds[_ONE_METHOD[1]]
        if self.method != "static" and products:  # a convolution with ranges of each run is slower than in float32
            advance("dynamic, matrix products")
            graph = self.quantiser.dynamic(products)
            made.append(Candidate("dynamic, matrix products", graph, len(products), len(self.quantiser.matrices)))
        return made

    def sparing(self, advance: Callable[[str], None] = lambda _: None) -> list[Candidate]:
        """All but the matrices that do most harm. Each is tried on its own for that: minutes for a large network."""
        few = {task: values[:_NUM_FOR_DAMAGE] for task, values in self.plain.items()}
        damages = {}
        for matrix in self.quantiser.matrices:
            advance(f"damage of {matrix.name}")
            graph = self.quantiser.static(self._ranges[RANGE_METHODS[0]], [matrix.name])
            damages[matrix.name] = damage(answers_of(graph, self.crops[:_NUM_FOR_DAMAGE]), few)
        known = {names for _, names in _kinds(self.quantiser.matrices)}
        sets = {
            f"damage to {share:g}": tuple(name for name, value in damages.items() if value <= share)
            for share in SPARED_OVER
        }
        return self._static({label: names for label, names in sets.items() if names not in known}, advance)

    def _static(self, sets: Mapping[str, tuple[str, ...]], advance: Callable[[str], None]) -> list[Candidate]:
        """A graph of each set of matrices that is not empty and was not there before, by each kind of ranges."""
        seen: set[tuple[str, ...]] = {()}
        made = []
        for label, names in sets.items():
            for method in RANGE_METHODS[: 1 if label in _ONE_METHOD else None] if names not in seen else ():
                name = f"static, {method}, {label}"
                advance(name)
                graph = self.quantiser.static(self._ranges[method], names)
                made.append(Candidate(name, graph, len(names), len(self.quantiser.matrices)))
            seen.add(names)
        return made


def answers_of(graph: bytes, crops_NSSC: NDArray[np.uint8]) -> dict[Task, NDArray[Any]]:
    """What a graph answers on crops, by task."""
    return in_batches(predict_by(open_session(graph)), crops_NSSC, _BATCH)


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row of two (N, D) arrays of unit length, (N,)."""
    return np.asarray((one.astype(np.float64) * other).sum(1))


def damage(found: Answers, plain: Answers) -> float:
    """How far answers moved from the float graph's, as a share of what is allowed; the task that moved most counts."""
    shares = []
    for task, values in plain.items():
        if task == "embedding":
            shares.append(float(1 - cosines(found[task], values).mean()) / _ALLOWED_COSINE)
        else:
            allowed = _ALLOWED_YEARS if task == "age" else _ALLOWED_PROBABILITY
            shares.append(float(np.abs(found[task].astype(np.float64) - values).mean()) / allowed)
    return max(shares)


def _kinds(matrices: Sequence[Matrix]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of all matrices, and of each kind's."""
    yield "all", tuple(matrix.name for matrix in matrices)
    yield _ONE_METHOD[0], tuple(matrix.name for matrix in matrices if matrix.kind == "Conv")
    yield _ONE_METHOD[1], tuple(matrix.name for matrix in matrices if matrix.kind != "Conv")
