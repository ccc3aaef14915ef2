"""A run's folder: what lies where in it, and whether a state in it belongs to a recipe.

Holds names and the comparison, for every training here. Never holds a tensor.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from model.checkpoint import CheckpointError, recover

LAST: Final = "last"  # what resuming needs
EMA: Final = "ema"  # the checkpoint to evaluate, export and ship
BEST: Final = "best"  # the best one by validation, where a recipe keeps it
STATE: Final = "state.json"


def has_state(out: Path) -> bool:
    """Whether a run's folder holds a state to resume from."""
    recover(out / LAST)
    return (out / LAST / STATE).is_file()


def read_state(out: Path) -> dict[str, Any]:
    """What a run's `state.json` holds.

    Raises:
        CheckpointError: if there is none.
    """
    if not has_state(out):
        raise CheckpointError(f"nothing to resume: {out / LAST} holds no {STATE}")
    state: dict[str, Any] = json.loads((out / LAST / STATE).read_text())
    return state


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes `state.json` into a folder that exists."""
    (folder / STATE).write_text(json.dumps(state, indent=2) + "\n")


def check_same_recipe(stored: Mapping[str, Any], wanted: Mapping[str, Any], changeable: Collection[str]) -> None:
    """Holds a recipe to the one that a run was started with, both as JSON gives them.

    Raises:
        CheckpointError: if they differ in more than `changeable`; the first difference is named.
    """
    # Through JSON, so that tuples and lists compare alike.
    wanted = json.loads(json.dumps(wanted))
    for key in sorted(set(stored) | set(wanted)):
        if key not in changeable and stored.get(key) != wanted.get(key):
            may = ", ".join(sorted(changeable))
            raise CheckpointError(f"the run was started with another {key}; only {may} may change on resume")


def alignment_beside(checkpoint: Path) -> str | None:
    """The alignment of the crops that a checkpoint's run was trained on, as its sets' files call it.

    Args:
        checkpoint: a checkpoint's folder, e.g. `RUN/ema`; the run's state lies beside it.

    Returns:
        None where no run tells. Changes nothing on disk, so that a living training is not disturbed.
    """
    try:
        state = json.loads((checkpoint.parent / LAST / STATE).read_text())
    except (OSError, ValueError):
        return None
    told = state.get("alignment") if isinstance(state, dict) else None
    return told if isinstance(told, str) else None
