"""The check of an exported analyzer: does the graph answer what the network answers, at any batch size, on any input.

Holds the inputs, the comparison and the tolerances; an export that breaks one is not written. Never traces a graph,
never touches the disk and never imports torch, so that a pack can be checked where it is served.
Shape suffixes: N crops; S crop side; C channels (three, RGB).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from model.runtime.known_answer import known_crops
from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, RACES, TASKS, Task
from model.runtime.session import Session

Answers = Mapping[Task, NDArray[Any]]
Predict = Callable[[NDArray[np.uint8]], Answers]  # uint8 (N, S, S, 3) to a pack's outputs
# uint8 (N, S, S, 3) to (N,): how many ranks of an ordinal age lie so near their border that rounding decides them.
Wavering = Callable[[NDArray[np.uint8]], NDArray[np.integer]]

INPUT: Final = "images"
TRACED_BATCH: Final = 4
BATCH_SIZES: Final = (1, 2, 3, 5, 16)  # none of them the traced one, which alone would hide a baked-in batch
# Absolute, of graph against network with the same weights: both compute in float32 and add in another order.
TOLERANCES: Final[dict[Task, float]] = {
    "embedding": 1e-4,
    "expression": 1e-4,
    "age": 5e-3,  # years
    "gender": 1e-4,
    "attributes": 1e-4,
    "race": 1e-4,
}
MIN_COSINE_TO_FLOAT32: Final = 0.999  # of half-precision weights' embeddings to those of the float32 weights
_COLUMNS: Final[dict[Task, int]] = {
    "expression": len(EXPRESSIONS),
    "gender": len(GENDERS),
    "attributes": len(ATTRIBUTES),
    "race": len(RACES),
}
_PROBABILITIES: Final = ("expression", "gender", "race")
_NOISE_SEED: Final = 20
_MAX_BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class GraphCheck:
    """What a passed check measured.

    Attributes:
        batch_sizes: the batch sizes that were compared.
        num_crops: real crops among the inputs.
        worst: by task, the largest absolute difference of graph and network that was met; of ages, among those that
            stand at no border.
        num_at_border: inputs whose ordinal age stands at the border of two years, where rounding decides.
    """

    batch_sizes: tuple[int, ...]
    num_crops: int
    worst: dict[Task, float]
    num_at_border: int = 0


@dataclass(frozen=True, slots=True)
class Drift:
    """How far half-precision weights move the answers on real crops: rounding of the weights, nothing else."""

    min_cosine: float | None
    max_age_years: float | None
    num_crops: int


def edge_crops(side_px: int) -> NDArray[np.uint8]:
    """Inputs (9, side_px, side_px, 3) at the edge of what a crop can be.

    Black, black with one white value, white, white with one black value, grey, grey with one value changed by one, a
    checkerboard of single pixels, a ramp, noise.
    """
    flat = [np.full((side_px, side_px, 3), value, np.uint8) for value in (0, 0, 255, 255, 128, 128)]
    flat[1][side_px // 2, side_px // 2, 0] = 255
    flat[3][0, 0, 1] = 0
    flat[5][side_px - 1, side_px - 1, 2] = 129
    rows, columns = np.mgrid[:side_px, :side_px]
    board = np.repeat(((rows + columns) % 2 * 255)[:, :, None], 3, axis=2).astype(np.uint8)
    ramp = np.stack([rows, columns, side_px - 1 - rows], axis=-1) * 255 // (side_px - 1)
    return np.stack([*flat, board, ramp.astype(np.uint8), known_crops(_NOISE_SEED, side_px)[0]])


def compare(
    graph: Session,
    network: Predict,
    crops_NSSC: NDArray[np.uint8],
    side_px: int,
    tolerances: Mapping[Task, float] = TOLERANCES,
    wavering: Wavering | None = None,
) -> GraphCheck:
    """Compares a graph with the network it was made of, on real crops and edge inputs, at several batch sizes.

    An ordinal age is a count of logits over 0, so a logit at 0 moves it by a whole year however well graph and network
    agree. Such an input's age may differ by as many years as it has logits there, and by the tolerance anywhere else.

    Args:
        graph: the exported graph, opened.
        network: the analyzer with the same weights, run at one crop a call so that no batch of its own can mislead.
        crops_NSSC: real crops, uint8 (N, S, S, 3); may be empty.
        side_px: side of the crops.
        tolerances: absolute, by task.
        wavering: for an ordinal age, how many ranks of each input's stand at their border.

    Raises:
        ExportError: naming the task, the batch size and the difference of the first breach.
    """
    inputs_NSSC = np.concatenate([crops_NSSC.reshape(-1, side_px, side_px, 3), edge_crops(side_px)])
    expected = in_batches(network, inputs_NSSC, 1)
    borders_N = np.zeros(len(inputs_NSSC), np.int64) if wavering is None else np.asarray(wavering(inputs_NSSC))
    worst: dict[Task, float] = dict.fromkeys(expected, 0.0)
    at_size: dict[int, Answers] = {}
    for size in BATCH_SIZES:
        assert size != TRACED_BATCH
        got = at_size[size] = _answer_at(graph, inputs_NSSC, size, f"at batch size {size}")
        for task, values in expected.items():
            slack_N = borders_N if task == "age" else np.zeros_like(borders_N)
            difference = _difference(task, got, values, size, tolerances[task], slack_N)
            worst[task] = max(worst[task], difference)
    _check_rows(graph, inputs_NSSC, at_size[1], tolerances, borders_N)
    return GraphCheck(BATCH_SIZES, len(crops_NSSC), worst, int(np.count_nonzero(borders_N)))


def check_rows(
    graph: Session,
    inputs_NSSC: NDArray[np.uint8],
    tolerances: Mapping[Task, float] = TOLERANCES,
    borders_N: NDArray[np.integer] | None = None,
) -> None:
    """Checks a graph against itself: answers are numbers of the right kind, and a row's are those it gets alone.

    Args:
        graph: opened.
        inputs_NSSC: crops, uint8.
        tolerances: absolute, by task.
        borders_N: by how many years each input's age may move, see `compare`. Where it is not known and every age is a
            whole number, a single input's may move by one year.

    Raises:
        ExportError: naming the task and what is wrong with it.
    """
    _check_rows(graph, inputs_NSSC, _answer_at(graph, inputs_NSSC, 1, "alone"), tolerances, borders_N)


def _check_rows(
    graph: Session,
    inputs_NSSC: NDArray[np.uint8],
    alone: Answers,
    tolerances: Mapping[Task, float],
    borders_N: NDArray[np.integer] | None,
) -> None:
    _check_kinds(alone, len(inputs_NSSC))
    together = _answer_at(graph, inputs_NSSC, len(inputs_NSSC), "in one batch")
    shuffled = _answer_at(graph, inputs_NSSC[::-1], 3, "in other company")
    for task, values in alone.items():
        for other in (together[task], shuffled[task][::-1]):
            if other.shape != values.shape or _leans(task, values, other, tolerances[task], borders_N):
                raise ExportError(f"{task}: a crop's answer depends on the other crops of its batch")


def drift(full: Predict, rounded: Predict, crops_NSSC: NDArray[np.uint8]) -> Drift | None:
    """Measures what rounding the weights to half precision does to the answers on real crops; None without crops.

    Raises:
        ExportError: if an embedding's cosine to the float32 one falls under `MIN_COSINE_TO_FLOAT32`.
    """
    if not len(crops_NSSC):
        return None
    before, after = in_batches(full, crops_NSSC), in_batches(rounded, crops_NSSC)
    cosine = float((before["embedding"] * after["embedding"]).sum(1).min()) if "embedding" in before else None
    if cosine is not None and not cosine >= MIN_COSINE_TO_FLOAT32:
        raise ExportError(
            f"embedding: half-precision weights move an embedding to cosine {cosine:.5f} of its float32 one, "
            f"under {MIN_COSINE_TO_FLOAT32}"
        )
    age = float(np.abs(before["age"] - after["age"]).max()) if "age" in before else None
    return Drift(cosine, age, len(crops_NSSC))


def in_batches(predict: Predict, images_NSSC: NDArray[np.uint8], size: int = _MAX_BATCH) -> dict[Task, NDArray[Any]]:
    """Runs crops in batches of a size and joins the answers (N, ...) by task."""
    parts = [predict(images_NSSC[start : start + size]) for start in range(0, len(images_NSSC), size)]
    return {task: np.concatenate([part[task] for part in parts]) for task in parts[0]}


def predict_by(session: Session) -> Predict:
    """A graph as a function of crops."""

    def predict(images_NSSC: NDArray[np.uint8]) -> dict[Task, NDArray[Any]]:
        answers = session.run({INPUT: np.ascontiguousarray(images_NSSC)})
        return {task: answers[task] for task in TASKS if task in answers}

    return predict


def _answer_at(graph: Session, inputs_NSSC: NDArray[np.uint8], size: int, where: str) -> dict[Task, NDArray[Any]]:
    """The graph's answers in batches of exactly `size`: the last one is filled up with the first rows."""
    missing = -len(inputs_NSSC) % size
    filled = np.concatenate([inputs_NSSC, *[inputs_NSSC] * (missing // len(inputs_NSSC)), inputs_NSSC[:missing]])
    filled = filled[: len(inputs_NSSC) + missing]
    try:
        answers = in_batches(predict_by(graph), filled, size)
    except Exception as error:  # onnxruntime raises a family of its own, without a common base
        raise ExportError(f"the graph does not run {where}: {str(error).splitlines()[0][:200]}") from error
    return {task: values[: len(inputs_NSSC)] for task, values in answers.items()}


def _difference(
    task: Task, got: Answers, expected: NDArray[Any], size: int, tolerance: float, slack_N: NDArray[np.integer]
) -> float:
    if task not in got:
        raise ExportError(f"{task}: the network answers it and the graph does not")
    if got[task].shape != expected.shape:
        raise ExportError(
            f"{task}: shape {got[task].shape} at batch size {size}, and the network's is {expected.shape}"
        )
    difference_N = _by_row(got[task], expected)
    if not (difference_N <= tolerance + slack_N).all():  # written so that NaN is a breach
        raise ExportError(
            f"{task}: the graph differs from the network by {float(difference_N.max()):.3g} at batch size {size}, "
            f"over the tolerance of {tolerance:.3g}"
        )
    return float(difference_N[slack_N == 0].max(initial=0.0))


def _by_row(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """The largest absolute difference of each row."""
    return np.asarray(np.abs(one.astype(np.float64) - other).reshape(len(one), -1).max(1))


def _leans(
    task: Task, values: NDArray[Any], other: NDArray[Any], tolerance: float, borders_N: NDArray[np.integer] | None
) -> bool:
    difference_N = _by_row(values, other)
    if task != "age":
        return not (difference_N <= tolerance).all()
    if borders_N is None and np.array_equal(values, np.round(values)):
        borders_N = np.where(difference_N == difference_N.max(), 1, 0)
        borders_N[np.cumsum(borders_N) > 1] = 0
    return not (difference_N <= tolerance + (0 if borders_N is None else borders_N)).all()


def _check_kinds(answers: Answers, num: int) -> None:
    for task, values in answers.items():
        if values.dtype != np.float32 or len(values) != num or not np.isfinite(values).all():
            raise ExportError(f"{task}: not {num} rows of finite float32 numbers")
        if task in _COLUMNS and values.shape != (num, _COLUMNS[task]):
            raise ExportError(f"{task}: shape {values.shape}, not {(num, _COLUMNS[task])}")
        if task in _COLUMNS and not (values.min() >= 0 and values.max() <= 1):
            raise ExportError(f"{task}: not probabilities, they reach from {values.min():.3g} to {values.max():.3g}")
        if task in _PROBABILITIES and np.abs(values.sum(1) - 1).max() > TOLERANCES[task]:
            raise ExportError(f"{task}: probabilities that do not add up to 1")
        if task == "embedding" and np.abs(np.linalg.norm(values, axis=1) - 1).max() > TOLERANCES[task]:
            raise ExportError("embedding: not of unit length")
        if task == "age" and values.shape != (num,):
            raise ExportError(f"age: shape {values.shape}, not {(num,)}")
