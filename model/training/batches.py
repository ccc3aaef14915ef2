"""Batches: rows of several sets, stacked into tensors with every label that any of them carries.

Holds the stacking. Never augments, and never decides which rows (see `model.training.sampler`). Shape suffixes:
B batch; S crop side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.training.data_error import DataError
from model.training.dataset import ALIGNMENT, FaceTable


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's rows; unknown labels are NaN where float and -1 where integer, as in `FaceTable`.

    Attributes:
        images: uint8 (B, S, S, 3), RGB.
        identity: int64 (B,), an index over all sets' identities.
        age: float32 (B,), years.
        gender: int64 (B,).
        race: int64 (B,).
        expression: int64 (B,).
        attributes: int64 (B, 40).
        teacher: float32 (B, 128).
    """

    images: Tensor
    identity: Tensor
    age: Tensor
    gender: Tensor
    race: Tensor
    expression: Tensor
    attributes: Tensor
    teacher: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(**{field.name: getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)})

    def pinned(self) -> "Batch":
        """The same batch in memory that a GPU copies from without waiting."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Batch(**{name: value.pin_memory() if value.numel() else value for name, value in values.items()})

    def rows(self, index_B: Tensor) -> "Batch":
        """The rows of an index, int64 (B,), in its order."""
        return Batch(**{field.name: getattr(self, field.name)[index_B] for field in fields(self)})


class Mixture:
    """Several sets as one: identities are numbered over all of them.

    Attributes:
        tables: by set name.
        alignment: of every set's crops: a network learns one, and is served crops of it.
        num_identities: how many distinct identities there are.
    """

    def __init__(self, tables: Sequence[FaceTable]) -> None:
        """Puts sets side by side.

        Raises:
            DataError: if their crops are not of one alignment and one side.
        """
        _require_one_form(tables)
        self.alignment = tables[0].alignment if tables else ALIGNMENT
        self.tables = {table.dataset: table for table in tables}
        first = np.cumsum([0, *(len(table.identity_names) for table in tables)])
        self._first_identity = dict(zip(self.tables, first.tolist(), strict=False))
        self.num_identities = int(first[-1])

    def counts(self, task: str, num_classes: int) -> NDArray[np.int64]:
        """Labelled rows of each class over all sets, int64 (num_classes,); `task` is an integer column's name."""
        labels = np.concatenate([getattr(table, task) for table in self.tables.values()])
        return np.bincount(labels[labels >= 0], minlength=num_classes)[:num_classes]

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each set."""
        return {name: len(table) for name, table in self.tables.items()}

    def batch(self, rows: Mapping[str, NDArray[np.int64]], *, images: bool = True) -> Batch:
        """Stacks the named rows, set after set; without their images (none, of side 0) where those lie elsewhere."""
        parts = [(self.tables[name], index) for name, index in rows.items()]

        def stack(column: str, dtype: torch.dtype) -> Tensor:
            return torch.from_numpy(np.concatenate([getattr(table, column)[index] for table, index in parts])).to(dtype)

        return Batch(
            images=stack("images", torch.uint8) if images else torch.empty((0, 0, 0, 3), dtype=torch.uint8),
            identity=torch.from_numpy(np.concatenate([self._identity(name, index) for name, index in rows.items()])),
            age=stack("age", torch.float32),
            gender=stack("gender", torch.int64),
            race=stack("race", torch.int64),
            expression=stack("expression", torch.int64),
            attributes=stack("attributes", torch.int64),
            teacher=stack("teacher", torch.float32),
        )

    def _identity(self, name: str, index: NDArray[np.int64]) -> NDArray[np.int64]:
        own = self.tables[name].identity[index]
        return np.where(own < 0, own, own + self._first_identity[name])


def _require_one_form(tables: Sequence[FaceTable]) -> None:
    forms = {table.dataset: f"{table.alignment} of {table.images.shape[1]} pixels" for table in tables}
    if len(set(forms.values())) > 1:
        stated = ", ".join(f"{name} {form}" for name, form in forms.items())
        raise DataError(f"sets that train together must have crops of one alignment and side: {stated}")
