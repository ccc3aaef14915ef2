"""FAER's files: which network a file holds, and in which order its expressions stand."""

from pathlib import Path

import pytest
import torch

from export.importers.faer import read_faer
from model.analyzer import normalise
from model.network import MultiTaskNetwork
from model.runtime.labels import EXPRESSIONS
from tests.imported import faer_checkpoint, filled, save
from tests.model.networks import SMALL_FAER_ATTRIBUTES, SMALL_FAER_EXPRESSION

AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")


@pytest.mark.parametrize("saved_whole", [True, False])
def test_the_state_dict_may_be_the_file_itself(tmp_path: Path, saved_whole: bool) -> None:
    """Under `state_dict`, as FAER saves it, or as the file: either gives the same network, on CelebA's crops."""
    network = filled(SMALL_FAER_ATTRIBUTES)
    content = faer_checkpoint(network)
    path = save(tmp_path / "x.pth", content if saved_whole else content["state_dict"])
    (found,) = read_faer([path], [SMALL_FAER_ATTRIBUTES])
    assert (found.file_stem, found.alignment) == ("faer-attributes", "celeba")
    assert all(torch.equal(found.state[name], value) for name, value in network.state_dict().items())


def test_affectnets_order_is_put_into_raf_dbs(tmp_path: Path) -> None:
    """A network that was trained on AffectNet's labels answers, once imported, in the order of every pack."""
    network = filled(SMALL_FAER_EXPRESSION)
    path = save(tmp_path / "affectnet.pth", faer_checkpoint(network))
    (found,) = read_faer([path], [SMALL_FAER_EXPRESSION], "affectnet")
    imported = MultiTaskNetwork(found.config).eval()
    imported.load_state_dict(found.state)
    images = normalise(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8), "imagenet")
    with torch.no_grad():
        before, after = network(images)["expression"], imported(images)["expression"]
    assert sorted(AFFECTNET) == sorted(EXPRESSIONS)
    for column, name in enumerate(EXPRESSIONS):
        torch.testing.assert_close(after[:, column], before[:, AFFECTNET.index(name)])


def test_attributes_have_no_expressions_to_order(tmp_path: Path) -> None:
    """The order of expressions changes nothing in an attributes' network."""
    network = filled(SMALL_FAER_ATTRIBUTES)
    path = save(tmp_path / "celeba.pth", faer_checkpoint(network))
    (found,) = read_faer([path], [SMALL_FAER_ATTRIBUTES], "affectnet")
    assert all(torch.equal(found.state[name], value) for name, value in network.state_dict().items())
