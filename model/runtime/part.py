"""Parts: what objects of `pack.json` have in common, and the two that several of them are made of.

Holds no analyzer, detector or twin (see `model.runtime.pack` and `model.runtime.twin_part`). Never opens a file.
"""

from pydantic import BaseModel, ConfigDict, Field

from model.runtime.labels import Task


class Part(BaseModel):
    """An object of the manifest: it never changes, and an unknown field in it is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class PackFile(Part):
    """A file of the pack, named relative to its folder (at most one folder down), with its SHA-256 in hexadecimal."""

    file: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)?$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class KnownAnswer(Part):
    """What the analyzer answers on `known_crops(seed, side)`: the leading numbers of each output's row 0."""

    seed: int
    outputs: dict[Task, tuple[float, ...]]
    tolerance: float = Field(gt=0)
    tolerance_years: float | None = Field(default=None, gt=0)  # of ages, where they move otherwise than probabilities

    def tolerance_of(self, task: Task) -> float:
        """By how much a task's numbers may differ, absolute."""
        return self.tolerance_years if task == "age" and self.tolerance_years is not None else self.tolerance
