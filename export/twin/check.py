"""The check of a quantised twin: what an export's graph must keep, and the known answer with a tolerance of its own.

Holds what is looked at. Never compares a twin with its float graph (see `export.twin.verdict`) and never writes.
Shape suffixes: N crops; S crop side; C channels (three, RGB).
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.check import BATCH_SIZES, TOLERANCES, check_rows, edge_crops, in_batches, predict_by
from export.errors import ExportError
from model.runtime.known_answer import known_answer, known_crops
from model.runtime.pack import KnownAnswer
from model.runtime.session import Session, open_session

_NUM_KNOWN: Final = 16
# Rounding turns the last bit of a float32 sum into a step of 1/256: so much more another processor may move it.
_SAFETY: Final = 2
_LEAST, _MOST = 0.01, 0.25  # of the tolerance of probabilities and embeddings
_LEAST_YEARS, _MOST_YEARS = 0.1, 4.0


def check_twin(graph: bytes | Path, side_px: int, crops_NSSC: NDArray[np.uint8]) -> None:
    """Checks that a twin answers numbers of the right kind, and each crop as it answers it alone, at any batch size.

    A graph that measures its ranges in each run does not pass: what others sent in the same batch would move an answer.

    Args:
        graph: the twin.
        side_px: of its crops.
        crops_NSSC: real crops, uint8.

    Raises:
        ExportError: naming the task and what is wrong with it.
    """
    session = open_session(graph)
    inputs = np.concatenate([crops_NSSC, edge_crops(side_px)])
    check_rows(session, inputs)
    check_sizes(session, inputs)


def check_sizes(session: Session, inputs_NSSC: NDArray[np.uint8]) -> None:
    """Checks a twin's answers at several batch sizes against those at batch size 1.

    Raises:
        ExportError: naming the task and the batch size.
    """
    predict = predict_by(session)
    alone = in_batches(predict, inputs_NSSC, 1)
    for size in BATCH_SIZES[1:]:
        for task, values in in_batches(predict, inputs_NSSC, size).items():
            if not np.abs(values - alone[task]).max() <= TOLERANCES[task]:
                raise ExportError(f"{task}: the twin answers otherwise at batch size {size}")


def twin_known_answer(graph: bytes | Path, seed: int, side_px: int) -> KnownAnswer:
    """What a twin answers on the known crops, and how far another machine's rounding may move it.

    The tolerances are measured: the graph is run a second time with its matrices multiplied in float32, as the file has
    it, and may stray from its integer kernels by twice as much as that moved any answer.

    Raises:
        ExportError: if answers move so far that the known answer would tell nothing.
    """
    crops = known_crops(seed, side_px, _NUM_KNOWN)
    answers = predict_by(open_session(graph))(crops)
    plain = predict_by(open_session(graph, plain=True))(crops)
    moved = {task: float(np.abs(values.astype(np.float64) - plain[task]).max()) for task, values in answers.items()}
    years = _SAFETY * moved.pop("age", 0.0)
    others = _SAFETY * max(moved.values(), default=0.0)
    if not (others <= _MOST and years <= _MOST_YEARS):
        raise ExportError(
            f"answers move by {others / _SAFETY:.3g}, ages by {years / _SAFETY:.3g} years, with the kernels that "
            "multiply: too far to be held to a known answer"
        )
    known = known_answer(seed, answers, round(max(others, _LEAST), 4))
    return known.model_copy(
        update={"tolerance_years": round(max(years, _LEAST_YEARS), 3) if "age" in answers else None}
    )
