"""Candidates: which matrices of a graph are quantised, and how.

Holds the damage that each matrix does on its own, and the sets that follow from it. Never times a graph and never looks
at a validation row: candidates are made and first compared on training crops.
Shape suffixes: N crops; S crop side; C channels (three, RGB); D embedding length.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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


def candidates(
    quantiser: Quantiser,
    method: Method,
    crops_NSSC: NDArray[np.uint8],
    plain: Answers,
    advance: Callable[[str], None] = lambda _: None,
) -> Iterator[Candidate]:
    """Every way to quantise a graph that is tried, in a fixed order.

    Args:
        quantiser: of the graph.
        method: static or dynamic ones alone; `auto` for both.
        crops_NSSC: real crops to measure ranges and damage on, uint8.
        plain: what the float graph answers on them.
        advance: told what is being done.
    """
    total = len(quantiser.matrices)
    if method != "dynamic":
        ranges = {}
        for name in RANGE_METHODS:
            advance(f"ranges: {name}")
            ranges[name] = quantiser.ranges(crops_NSSC, name)
        damages = {}
        for matrix in quantiser.matrices:
            advance(f"damage of {matrix.name}")
            damages[matrix.name] = _damage_of(quantiser, ranges[RANGE_METHODS[0]], matrix, crops_NSSC, plain)
        for label, chosen in _sets(quantiser.matrices, damages):
            for name in RANGE_METHODS if label not in _ONE_METHOD else RANGE_METHODS[:1]:
                advance(f"static, {name}, {label}")
                yield _static(quantiser, name, ranges[name], label, chosen, total)
    if method != "static":
        products = [matrix.name for matrix in quantiser.matrices if matrix.kind != "Conv"]
        if products:  # a convolution with ranges of each run is slower than in float32
            advance("dynamic, matrix products")
            yield Candidate("dynamic, matrix products", quantiser.dynamic(products), len(products), total)


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


def _damage_of(
    quantiser: Quantiser, ranges: Ranges, matrix: Matrix, crops_NSSC: NDArray[np.uint8], plain: Answers
) -> float:
    few = {task: values[:_NUM_FOR_DAMAGE] for task, values in plain.items()}
    return damage(answers_of(quantiser.static(ranges, [matrix.name]), crops_NSSC[:_NUM_FOR_DAMAGE]), few)


def _sets(matrices: Sequence[Matrix], damages: Mapping[str, float]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of matrices, each set once: all, each kind, and those left of all when the most harmful are spared."""
    named: list[tuple[str, list[str]]] = [
        ("all", [matrix.name for matrix in matrices]),
        (_ONE_METHOD[0], [matrix.name for matrix in matrices if matrix.kind == "Conv"]),
        (_ONE_METHOD[1], [matrix.name for matrix in matrices if matrix.kind != "Conv"]),
    ]
    named += [
        (f"damage to {share:g}", [name for name, value in damages.items() if value <= share]) for share in SPARED_OVER
    ]
    seen: set[tuple[str, ...]] = {()}
    for label, names in named:
        if tuple(names) not in seen:
            seen.add(tuple(names))
            yield label, tuple(names)


def _static(
    quantiser: Quantiser, method: RangeMethod, ranges: Ranges, label: str, names: Sequence[str], total: int
) -> Candidate:
    return Candidate(f"static, {method}, {label}", quantiser.static(ranges, names), len(names), total)
