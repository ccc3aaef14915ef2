"""The check of a twin, int8 or float16: what an export's graph must keep, and a known answer with its own tolerance.

Holds what is looked at. Never compares a twin with its float graph (see `export.twin.verdict`) and never writes.
Shape suffixes: N crops; S crop side; C channels (three, RGB).
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.check import BATCH_SIZES, TOLERANCES, check_rows, edge_crops, in_batches, predict_by
from export.errors import ExportError
from model.runtime.known_answer import known_answer, known_crops
from model.runtime.labels import Task
from model.runtime.part import KnownAnswer
from model.runtime.session import Session, open_session

# Absolute: what steps of the rounding may move an answer by, where the kernels add in another order.
STEPS: Final[dict[Task, float]] = {
    "embedding": 5e-3,
    "expression": 3e-2,
    "age": 0.25,  # years
    "gender": 3e-2,
    "attributes": 3e-2,
    "race": 3e-2,
}
_NUM_KNOWN: Final = 16
# Rounding turns the last bit of a float32 sum into a step of 1/256: so much more another processor may move it.
_SAFETY: Final = 2
_LEAST, _MOST = 0.01, 0.25  # of the tolerance of probabilities and embeddings
_LEAST_YEARS, _MOST_YEARS = 0.1, 4.0


def check_twin(session: Session, side_px: int, crops_NSSC: NDArray[np.uint8]) -> None:
    """Checks that a twin answers numbers of the right kind, at any batch size, and each crop whatever its company.

    From one batch size to another float32 sums are made in another order, and a last bit may turn into a step of the
    rounding; in batches of one size a crop's answer must be the same to `export.check`'s tolerances, whoever is beside
    it. A graph that measures its ranges in each run does not pass: others' crops would move an answer.

    Args:
        session: the twin, opened.
        side_px: of its crops.
        crops_NSSC: real crops, uint8; may be none.

    Raises:
        ExportError: naming the task and what is wrong with it.
    """
    inputs = np.concatenate([crops_NSSC.reshape(-1, side_px, side_px, 3), edge_crops(side_px)])
    check_rows(session, inputs, STEPS)
    predict = predict_by(session)
    alone = in_batches(predict, inputs, 1)
    for size in BATCH_SIZES[1:]:
        beside = np.resize(inputs[:size], (size, *inputs.shape[1:]))
        others = np.concatenate([beside[:1], 255 - beside[1:]])
        found, elsewhere = predict(beside), predict(others)
        for task, values in found.items():
            if not _distance(values[0], alone[task][0]) <= STEPS[task]:
                raise ExportError(f"{task}: the twin answers otherwise at batch size {size}")
            if not _distance(values[0], elsewhere[task][0]) <= TOLERANCES[task]:
                raise ExportError(f"{task}: a crop's answer depends on the other crops of its batch")


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(np.float64) - other).max())


def twin_known_answer(graph: bytes | Path, seed: int, side_px: int, float_graph: Path | None = None) -> KnownAnswer:
    """What a twin answers on the known crops, and how far another machine's rounding may move it.

    The tolerances are measured: the graph is run a second time with its matrices multiplied in float32, as the file has
    it, and may stray from its integer kernels by twice as much as that moved any answer. Half precision is rounded
    where the processor at hand does not round, or not there, so a float16 twin may stray as far as it lies from its
    float graph too.

    Args:
        graph: the twin.
        seed: of the known crops.
        side_px: of the crops.
        float_graph: of a float16 twin, the graph that it was made of.

    Raises:
        ExportError: if answers move so far that the known answer would tell nothing.
    """
    crops = known_crops(seed, side_px, _NUM_KNOWN)
    answers = predict_by(open_session(graph))(crops)
    others = [predict_by(open_session(graph, plain=True))(crops)]
    if float_graph is not None:
        others.append(predict_by(open_session(float_graph))(crops))
    moved = {task: max(_distance(values, other[task]) for other in others) for task, values in answers.items()}
    years = _SAFETY * moved.pop("age", 0.0)
    rest = _SAFETY * max(moved.values(), default=0.0)
    if not (rest <= _MOST and years <= _MOST_YEARS):
        raise ExportError(
            f"answers move by {rest / _SAFETY:.3g}, ages by {years / _SAFETY:.3g} years, with the kernels that "
            "multiply: too far to be held to a known answer"
        )
    known = known_answer(seed, answers, round(max(rest, _LEAST), 4))
    return known.model_copy(
        update={"tolerance_years": round(max(years, _LEAST_YEARS), 3) if "age" in answers else None}
    )
