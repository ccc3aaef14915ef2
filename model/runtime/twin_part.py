"""Twin parts: what `pack.json` states of an analyzer's graphs in other precisions, int8 and float16.

Holds their schema, and what both kinds of twin share. Never measures (see `export.twin`), and never says which graph is
served (see `model.runtime.twins`).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

from pydantic import Field

from model.runtime.labels import Task
from model.runtime.part import KnownAnswer, PackFile, Part

TwinPrecision = Literal["int8", "float16"]
MADE_BY: Final[dict[TwinPrecision, str]] = {"int8": "mien-export quantise", "float16": "mien-export halve"}


class TwinSpeed(Part):
    """How many times as fast as its float graph a twin ran at one batch size, both in turns on one thread."""

    batch_size: int = Field(ge=1)
    ratio_min: float = Field(gt=0)
    ratio_median: float = Field(gt=0)
    ratio_max: float = Field(gt=0)


class Comparison(Part):
    """One figure of an analyzer's own graph, and of how many rows; a twin's own number stands beside it."""

    task: Task
    metric: str
    dataset: str
    float32: float
    num_samples: int = Field(ge=1)

    @property
    @abstractmethod
    def of_twin(self) -> float:
        """The same figure of the twin."""


class TwinComparison(Comparison):
    """One figure of both graphs on the same rows: what quantising cost."""

    PRECISION: ClassVar[TwinPrecision] = "int8"
    int8: float

    @property
    def of_twin(self) -> float:
        """The int8 graph's."""
        return self.int8


class HalfComparison(Comparison):
    """One figure of both graphs on the same rows: what computing in half precision cost."""

    PRECISION: ClassVar[TwinPrecision] = "float16"
    float16: float

    @property
    def of_twin(self) -> float:
        """The float16 graph's."""
        return self.float16


class Twin(PackFile):
    """A graph with its analyzer's inputs and outputs that computes in another precision, and what was measured of it.

    A twin has an embedding space of its own where its embeddings lie too far from the float graph's to be compared with
    them, or where nobody measured how far.
    """

    method: str = ""
    known_answer: KnownAnswer | None = None
    embedding_space: str | None = None
    cosine_mean: float | None = Field(default=None, ge=-1.001, le=1.001)
    cosine_min: float | None = Field(default=None, ge=-1.001, le=1.001)
    command: str = ""

    @property
    @abstractmethod
    def figures(self) -> Sequence[Comparison]:
        """What was compared with the float graph on validation rows."""


class TwinPart(Twin):
    """The quantised twin of an analyzer: int8 weights.

    `preferred` is what `auto` goes by: measured as fast enough and close enough (see `export.twin.verdict`).
    """

    preferred: bool = False
    speed: tuple[TwinSpeed, ...] = ()
    compared: tuple[TwinComparison, ...] = ()
    machine: str | None = None

    @property
    def figures(self) -> Sequence[Comparison]:
        """What was compared with the float graph on validation rows."""
        return self.compared


class HalfPart(Twin):
    """The float16 twin of an analyzer, for a GPU alone: half-precision weights and activations.

    It states no speed, since the processors that packs are made on gain none by it. So `auto` never takes it.
    """

    compared: tuple[HalfComparison, ...] = ()

    @property
    def figures(self) -> Sequence[Comparison]:
        """What was compared with the float graph on validation rows."""
        return self.compared
