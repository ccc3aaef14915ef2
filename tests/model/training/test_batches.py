"""Tests of model.training.batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.training.batches import Mixture
from model.training.data_error import DataError
from model.training.dataset import read_faces
from tests.model.training.faces import write_sets


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    """The three made-up sets."""
    folder = tmp_path_factory.mktemp("data")
    write_sets(folder)
    return Mixture([read_faces(folder, name, "train") for name in ("celeba", "utkface", "fer2013")])


def test_rows_are_stacked_set_after_set(mixture: Mixture) -> None:
    """A batch holds the named rows' pixels and labels in order, unknown labels marked."""
    batch = mixture.batch({"utkface": np.array([3, 1]), "fer2013": np.array([5])})
    assert torch.equal(batch.images[1], torch.from_numpy(mixture.tables["utkface"].images[1]))
    assert batch.age[:2].tolist() == [3.0, 1.0]
    assert bool(torch.isnan(batch.age[2]))
    assert batch.expression.tolist() == [-1, -1, 5]
    assert batch.race.tolist() == [3, 1, -1]
    assert batch.attributes.shape == (3, 40)
    assert batch.teacher.dtype == torch.float32


def test_identities_are_numbered_over_all_sets(mixture: Mixture, tmp_path: Path) -> None:
    """Two sets with identities share one numbering without a clash; a row without one stays -1."""
    write_sets(tmp_path, seed=1)
    celeba = read_faces(tmp_path, "celeba", "train")
    both = Mixture([mixture.tables["utkface"], mixture.tables["celeba"], replace(celeba, dataset="other")])
    assert both.num_identities == 12
    batch = both.batch({"utkface": np.array([0]), "celeba": np.arange(6), "other": np.arange(6)})
    assert sorted(batch.identity.tolist()) == [-1, *range(12)]


def test_sizes(mixture: Mixture) -> None:
    """The mixture states each set's rows."""
    assert mixture.sizes == {"celeba": 20, "utkface": 20, "fer2013": 20}
    assert mixture.num_identities == 6


def test_rows_of_a_batch(mixture: Mixture) -> None:
    """The rows of an index are every label's and the images', in its order."""
    batch = mixture.batch({"utkface": np.array([3, 1, 4])})
    chosen = batch.rows(torch.tensor([2, 0, 0]))
    assert chosen.age.tolist() == [4.0, 3.0, 3.0]
    assert torch.equal(chosen.images[1], batch.images[0])


def test_counts_of_classes(mixture: Mixture) -> None:
    """Labelled rows of each class are counted over all sets; unlabelled ones are in none."""
    assert mixture.counts("gender", 2).tolist() == [20, 20]
    assert mixture.counts("race", 5).tolist() == [4, 4, 4, 4, 4]


def test_sets_of_two_forms_are_refused(mixture: Mixture) -> None:
    """Crops of two alignments, or of two sides, do not train together: the sets and their forms are named."""
    celeba, utkface = mixture.tables["celeba"], mixture.tables["utkface"]
    with pytest.raises(DataError, match="celeba celeba of 112 pixels, utkface arcface-5pt of 112 pixels"):
        Mixture([replace(celeba, alignment="celeba"), utkface])
    with pytest.raises(DataError, match="one alignment and side"):
        Mixture([celeba, replace(utkface, images=utkface.images[:][:, :64, :64])])
    assert Mixture([replace(celeba, alignment="celeba")]).alignment == "celeba"
