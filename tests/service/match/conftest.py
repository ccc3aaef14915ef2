"""Fixtures of matching's tests: the command, and embeddings of a few people as files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from service.cli import main

Match = Callable[..., Result]
DIM = 8


@dataclass(frozen=True)
class People:
    """Embeddings as files, and the list that names them, in no order."""

    listed: Path
    files: Sequence[Path]
    rows: NDArray[np.float32]


@pytest.fixture
def match() -> Match:
    """Runs `mien match` in this process."""
    return lambda *arguments: CliRunner().invoke(main, ["match", *map(str, arguments)])


def make_people(folder: Path, name: str, *, num_people: int, num_each: int, seed: int, start: int = 0) -> People:
    """Files `folder/NAME/p<n>_<m>.npy` of people who are a little like themselves, listed in a shuffled order."""
    random = np.random.default_rng(seed)
    files, rows = [], []
    for person in range(start, start + num_people):
        own = np.random.default_rng(1000 + person).standard_normal(DIM)  # the same person in every folder
        for number in range(num_each):
            path = folder / name / f"p{person}_{number}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows.append((own + 0.6 * random.standard_normal(DIM)).astype(np.float32))
            np.save(path, rows[-1])
            files.append(path)
    listed = folder / f"{name}.txt"
    listed.write_text("".join(f"{files[index]}\n" for index in random.permutation(len(files))))
    return People(listed, files, np.stack(rows))


@pytest.fixture
def people(tmp_path: Path) -> People:
    """Seven people, five embeddings each."""
    return make_people(tmp_path, "some", num_people=7, num_each=5, seed=1)
