"""Groups: the people a figure is also stated for, by gender, race and age decade, where labels say who belongs.

Holds the groups' names and who is in each. Never measures anything. Shape suffix: N faces.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.labels import GENDERS, RACES
from model.training.dataset import FaceTable

ALL: Final = "all"
LAST_DECADE: Final = 8  # 80 and older are one group: there are few of them
DECADES: Final = (*(f"{10 * n}-{10 * n + 9}" for n in range(LAST_DECADE)), f"{10 * LAST_DECADE}+")


def decade_of(age_N: NDArray[np.floating]) -> NDArray[np.int64]:
    """Index (N,) into `DECADES` of ages in years; -1 where the age is NaN."""
    known = np.isfinite(age_N)
    decades = np.clip(np.where(known, age_N, 0) // 10, 0, LAST_DECADE).astype(np.int64)
    return np.where(known, decades, -1)


def groups_of(table: FaceTable) -> dict[str, NDArray[np.bool_]]:
    """Who (N,) is in each group that has faces: `gender=female`, `race=asian`, `age=20-29` and so on, without `ALL`."""
    kinds: Mapping[str, tuple[NDArray[np.int64], tuple[str, ...]]] = {
        "gender": (table.gender, GENDERS),
        "race": (table.race, RACES),
        "age": (decade_of(table.age), DECADES),
    }
    return {
        f"{kind}={label}": index == number
        for kind, (index, labels) in kinds.items()
        for number, label in enumerate(labels)
        if (index == number).any()
    }
