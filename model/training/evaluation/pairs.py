"""Pairs: the `NAME-val-pairs.csv` beside a set, matched to the rows of its images.

Holds the reading of the file and the choice of a balanced few. Never compares embeddings. Shape suffix: P pairs.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.dataset import DataError

COLUMNS: Final = ("fold", "name_a", "name_b", "same")


@dataclass(frozen=True, slots=True)
class PairList:
    """Pairs of a set: rows of their images in it (P,), whether each is one person (P,), and its fold (P,)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.fold)

    def where(self, chosen: NDArray[np.bool_]) -> "PairList":
        """The chosen pairs (P,)."""
        return PairList(self.first[chosen], self.second[chosen], self.same[chosen], self.fold[chosen])


def read_pairs(data: Path, dataset: str, names: tuple[str, ...], split: str = "val") -> PairList | None:
    """Reads a set's pairs; None where it has no such file.

    Args:
        data: the folder that holds `{dataset}-{split}-pairs.csv`: a header `fold,name_a,name_b,same`, folds any whole
            numbers, `same` 0 or 1.
        dataset: the set's name.
        names: names of the set's images, in the order of its rows.
        split: of the set.

    Raises:
        DataError: if the file breaks that form or names an image that the set does not hold; the line is named.
    """
    path = data / f"{dataset}-{split}-pairs.csv"
    if not path.is_file():
        return None
    row_of = {name: row for row, name in enumerate(names)}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path} lacks the column {missing[0]!r}")
        parsed = [_parse(line, row_of, f"{path}, line {reader.line_num}") for line in reader]
    if not parsed:
        raise DataError(f"{path} holds no pairs")
    columns = np.array(parsed, np.int64).T
    return PairList(columns[0], columns[1], columns[2] == 1, columns[3])


def few_pairs(pairs: PairList, num_images: int) -> PairList:
    """As many pairs of each fold and kind alike as touch no more than `num_images` images; one of each at least."""
    seen: Counter[tuple[int, bool]] = Counter()
    rank = np.empty(len(pairs), np.int64)
    for number, kind in enumerate(zip(pairs.fold.tolist(), pairs.same.tolist(), strict=True)):
        rank[number] = seen[kind]
        seen[kind] += 1
    kept, images = 1, set[int]()
    for candidate in range(min(seen.values())):
        at = rank == candidate
        images |= {*pairs.first[at].tolist(), *pairs.second[at].tolist()}
        if len(images) > num_images:
            break
        kept = candidate + 1
    return pairs.where(rank < kept)


def _parse(line: dict[str, str], row_of: dict[str, int], where: str) -> tuple[int, int, int, int]:
    for column in ("name_a", "name_b"):
        if line[column] not in row_of:
            raise DataError(f"{where}: the set holds no image named {line[column]!r}")
    if line["same"] not in ("0", "1"):
        raise DataError(f"{where}: same is 0 or 1, not {line['same']!r}")
    try:
        fold = int(line["fold"])
    except (TypeError, ValueError):
        raise DataError(f"{where}: fold is a whole number, not {line['fold']!r}") from None
    return row_of[line["name_a"]], row_of[line["name_b"]], int(line["same"]), fold
