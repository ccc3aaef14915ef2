"""Groups: the people a figure is also stated for, by gender, race and age, where labels say who belongs.

Holds the groups' names and who is in each. Never measures anything. Shape suffix: N faces.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.labels import ATTRIBUTES, GENDERS, RACES
from model.training.dataset import FaceTable

ALL: Final = "all"
MIN_FACES: Final = 50  # of an intersection: fewer say little
YOUTH: Final = ("older", "young")  # CelebA's attribute of that name, 0 and 1: its labellers' opinion of the age
LAST_DECADE: Final = 8  # 80 and older are one group: there are few of them
DECADES: Final = (*(f"{10 * n}-{10 * n + 9}" for n in range(LAST_DECADE)), f"{10 * LAST_DECADE}+")


def decade_of(age_N: NDArray[np.floating]) -> NDArray[np.int64]:
    """Index (N,) into `DECADES` of ages in years; -1 where the age is NaN."""
    known = np.isfinite(age_N)
    decades = np.clip(np.where(known, age_N, 0) // 10, 0, LAST_DECADE).astype(np.int64)
    return np.where(known, decades, -1)


def groups_of(table: FaceTable) -> dict[str, NDArray[np.bool_]]:
    """Who (N,) is in each group that has faces: `gender=female`, `race=asian`, `age=20-29` and so on, without `ALL`."""
    return {name: inside for groups in _kinds(table).values() for name, inside in groups.items()}


def intersections_of(table: FaceTable) -> dict[str, NDArray[np.bool_]]:
    """Who (N,) is in two groups at once: `gender=female,race=asian`; those of `MIN_FACES` faces or more."""
    both = {
        f"{one},{other}": inside & within
        for first, second in combinations(_kinds(table).values(), 2)
        for one, inside in first.items()
        for other, within in second.items()
    }
    return {name: inside for name, inside in both.items() if inside.sum() >= MIN_FACES}


def is_intersection(group: str) -> bool:
    """Whether a group's name is one of `intersections_of`."""
    return "," in group


def kind_of(group: str) -> str:
    """What a group's members share: `gender`, `gender and race`; a name without one stands for itself."""
    return " and ".join(part.split("=")[0] for part in group.split(","))


def label_of(group: str) -> str:
    """A group's name as a picture writes it: `female`, `20-29 years`, `female, asian`."""
    parts = (part.partition("=") for part in group.split(","))
    return ", ".join(f"{label} years" if kind == "age" else label or kind for kind, _, label in parts)


def _kinds(table: FaceTable) -> dict[str, dict[str, NDArray[np.bool_]]]:
    young = table.attributes[:, ATTRIBUTES.index("young")].astype(np.int64)
    kinds: Mapping[str, tuple[NDArray[np.int64], tuple[str, ...]]] = {
        "gender": (table.gender, GENDERS),
        "race": (table.race, RACES),
        "age": (decade_of(table.age), DECADES),
        "youth": (young, YOUTH),
    }
    return {
        kind: {f"{kind}={label}": index == number for number, label in enumerate(labels) if (index == number).any()}
        for kind, (index, labels) in kinds.items()
    }
