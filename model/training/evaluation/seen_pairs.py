"""Seen pairs: a figure of rows that were trained on, beside the same one of rows that were not.

Holds the naming of training splits and the pairing, for reports and cards alike; needs no library. Never samples or
measures.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol, TypeVar

ALL: Final = "all"
_VALIDATION: Final = "-val"
_TRAINING: Final = "-train"


class _Stated(Protocol):
    @property
    def task(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def dataset(self) -> str: ...
    @property
    def group(self) -> str: ...


StatedT = TypeVar("StatedT", bound=_Stated)


def training_name(dataset: str) -> str:
    """The name of a set's training split: `lfw` gives `lfw-train`, `detection-val` gives `detection-train`."""
    return f"{dataset.removesuffix(_VALIDATION)}{_TRAINING}"


def set_name(dataset: str) -> str:
    """The set of a training split: `lfw-train` gives `lfw`."""
    return dataset.removesuffix(_TRAINING)


def seen_and_unseen(seen: Sequence[StatedT], measured: Sequence[StatedT]) -> Iterator[tuple[StatedT, StatedT]]:
    """Each figure of a sample of training rows with the same one of rows that were never trained on."""
    unseen = {(row.task, row.metric, training_name(row.dataset)): row for row in measured if row.group == ALL}
    for row in seen:
        if (row.task, row.metric, row.dataset) in unseen:
            yield row, unseen[row.task, row.metric, row.dataset]
