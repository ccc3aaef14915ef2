"""How the pack that ships was made: the trainings in a row, each with what it starts and learns from.

Holds the stages and their sizes. Never trains and never reads a file.
"""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Stage:
    """One training.

    Attributes:
        name: of its folder.
        recipe: as `mien-train train` names it.
        total_steps: how many steps the shipped weights had.
        changes: of the recipe, dotted key to text, as `--set` takes them.
        init: the stage whose averaged weights it starts from.
        distil: the stage whose averaged weights' answers it distils.
    """

    name: str
    recipe: str
    total_steps: int
    changes: dict[str, str] = field(default_factory=dict)
    init: str | None = None
    distil: str | None = None

    def assignments(self, share: float) -> dict[str, str]:
        """The changes with the schedule at a share of its length, its warm-up a tenth of that at most."""
        steps = max(round(share * self.total_steps), 1)
        warmup = int(self.changes.get("warmup_steps", "300"))
        return {**self.changes, "total_steps": str(steps), "warmup_steps": str(min(warmup, max(steps // 10, 1)))}


# Steps as they were done: on the GPU each training was given a time, and its cosine fitted into it.
NANO_STAGES: Final = (
    Stage("detector", "detector", 20958),
    Stage("wide", "wide", 1473),
    Stage("first", "nano", 3799, distil="wide"),
    Stage("nano", "nano-continued", 10774, {"compile": "true"}, init="first", distil="first"),
)
