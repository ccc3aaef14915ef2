"""Tests that the networks here compute what the published networks compute, on weights that both are filled with.

Each published key list is read through `from_published`. The outputs come from the reference files where they are, and
from this project's own copies of them everywhere.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.model.published.answers import REFERENCES, answers_of
from tests.model.published.copies import COPIES, NUM_NUMBERS, stored


@pytest.fixture(scope="module")
def parity(shared_data: Path) -> Path:
    """The folder of reference outputs."""
    folder = shared_data.parent / "parity"
    if not (folder / "swinface.npz").is_file():
        pytest.skip("needs the published networks' reference outputs in ../shared/parity, which are not here")
    return folder


def _of(file: str) -> list[str]:
    return [name for name, reference in REFERENCES.items() if reference.file == file]


@pytest.mark.parametrize("name", REFERENCES)
def test_keys_are_the_published_ones(parity: Path, name: str) -> None:
    """What is read, and written by `to_published`, has the published keys, shapes and kinds of number, every one."""
    reference = REFERENCES[name]
    listed = json.loads((parity / f"{reference.file}_keys.json").read_text())
    parts = reference.key_list()
    assert set(parts) == set(reference.lists)
    for part, tensors in parts.items():
        published = {key: (tuple(shape), kind) for key, shape, kind, _ in listed[reference.lists[part]]}
        assert {key: (tuple(v.shape), str(v.dtype)[len("torch.") :]) for key, v in tensors.items()} == published


@pytest.mark.parametrize("name", REFERENCES)
def test_answers_are_the_published_networks(parity: Path, name: str) -> None:
    """Every output of the published network is reproduced within 1e-4."""
    with np.load(parity / f"{REFERENCES[name].file}.npz") as references:
        expected = {key: references[key] for key in references.files}
    answers = answers_of(name)
    if REFERENCES[name].file != "face_analysis":
        assert set(answers) == set(expected)
    for key, answer in answers.items():
        np.testing.assert_allclose(answer, expected[key], atol=1e-4, rtol=0, err_msg=key)


def test_every_reference_is_compared(parity: Path) -> None:
    """No array of the references' files is left out."""
    with np.load(parity / "face_analysis.npz") as references:
        assert set(references.files) == set(_of("face_analysis"))
    files = {path.stem for path in parity.glob("*.npz")}
    assert files == {reference.file for reference in REFERENCES.values()}


@pytest.mark.parametrize("name", REFERENCES)
def test_answers_are_the_copies(name: str) -> None:
    """The first numbers of every output are those that agreed with the published network."""
    answers = answers_of(name)
    copies = stored()[name]
    assert set(answers) == set(copies)
    for key, answer in answers.items():
        np.testing.assert_allclose(answer[:, :NUM_NUMBERS], copies[key], atol=1e-4, rtol=0, err_msg=key)


def test_copies_are_of_every_reference() -> None:
    """The copies hold each network's outputs, two faces or one, in a few kilobytes."""
    copies = stored()
    assert set(copies) == set(REFERENCES)
    assert COPIES.stat().st_size < 16_000
    assert len(copies["swinface"]) == len(copies["tmlfa"]) == 43
    for name, arrays in copies.items():
        assert {len(array) for array in arrays.values()} == {REFERENCES[name].num_images}
        assert all(np.ptp(array) > 0 for key, array in arrays.items()), name


def test_copies_are_of_the_published_arrays(parity: Path) -> None:
    """Each copied number is the published network's own, within 1e-4."""
    for name, arrays in stored().items():
        with np.load(parity / f"{REFERENCES[name].file}.npz") as references:
            for key, array in arrays.items():
                np.testing.assert_allclose(array, references[key][:, :NUM_NUMBERS], atol=1e-4, rtol=0, err_msg=key)
