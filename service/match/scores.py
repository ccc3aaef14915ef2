"""Scores: cosines of every probe with every gallery embedding, a block of rows at a time.

Which pairs there are is face_analysis_pytorch's `feature_match` (MIT): authentic where the subjects are one, impostor
where they are two; what has the same label is left out, and without a gallery each pair is taken once. Never holds the
whole matrix.
Shapes: P pairs; B probes of a block; G embeddings of the gallery.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.match.features import Features

DECIMALS: Final = 6
_BLOCK_PAIRS: Final = 2_000_000  # 16 MB of scores, and ten times that while they are sorted out


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The pairs of a few probes, in the order of probe and then gallery index.

    Attributes:
        authentic: float64 (P, 3): probe index, gallery index, cosine rounded to six decimals.
        impostor: the same.
        num_probes: probes that it is of.
    """

    authentic: NDArray[np.float64]
    impostor: NDArray[np.float64]
    num_probes: int


def most_pairs(probe: Features, gallery: Features | None) -> int:
    """Pairs to come, those of one label included."""
    return len(probe) * (len(probe) - 1) // 2 if gallery is None else len(probe) * len(gallery)


def score_blocks(probe: Features, gallery: Features | None, block_pairs: int = _BLOCK_PAIRS) -> Iterator[Block]:
    """Every pair's score; probe with probe where `gallery` is None."""
    against = gallery or probe
    subjects, others = _codes(probe.subjects, against.subjects)
    labels, other_labels = _codes(probe.labels, against.labels)
    num_rows = max(1, block_pairs // len(against))
    for start in range(0, len(probe), num_rows):
        rows = np.arange(start, min(start + num_rows, len(probe)))
        first = start if gallery is None else 0  # what lies before is mirrored
        columns = np.arange(first, len(against))
        scores = np.round(probe.units[rows] @ against.units[first:].T, DECIMALS)
        kept = labels[rows, None] != other_labels[None, first:]
        if gallery is None:
            kept &= columns[None] > rows[:, None]
        same = subjects[rows, None] == others[None, first:]
        yield Block(_pairs(scores, kept & same, start, first), _pairs(scores, kept & ~same, start, first), len(rows))


def _pairs(
    scores_BG: NDArray[np.float64], wanted_BG: NDArray[np.bool_], first_row: int, first_column: int
) -> NDArray[np.float64]:
    rows, columns = np.nonzero(wanted_BG)
    return np.stack([rows + first_row, columns + first_column, scores_BG[wanted_BG]], axis=1).astype(np.float64)


def _codes(names: Sequence[str], others: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Names as numbers that are equal where the names are."""
    known: dict[str, int] = {}
    first, second = ([known.setdefault(name, len(known)) for name in each] for each in (names, others))
    return np.array(first, np.int64), np.array(second, np.int64)
