"""Tests of model.training.objective."""

import numpy as np
import pytest
import torch

from model.network import MultiTaskNetwork
from model.training.batches import Batch, Mixture
from model.training.dataset import read_faces
from model.training.objective import Judged, LossWeights, MarginConfig, Objective
from tests.model.networks import TINY
from tests.model.training.faces import write_sets

OWN = {
    "celeba": {"teacher", "relation", "margin", "gender", "attributes"},
    "utkface": {"teacher", "relation", "age", "gender", "race"},
    "fer2013": {"teacher", "relation", "expression"},
}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    """The three made-up sets."""
    folder = tmp_path_factory.mktemp("data")
    write_sets(folder)
    return Mixture([read_faces(folder, name, "train") for name in OWN])


def _losses(batch: Batch) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = MultiTaskNetwork(TINY)
    objective = Objective(LossWeights(), MarginConfig(), Judged(16, 6))
    losses: dict[str, torch.Tensor] = objective(network(torch.randn(len(batch.images), 3, 112, 112)), batch)
    return losses


@pytest.mark.parametrize("name", list(OWN))
def test_each_set_trains_the_losses_that_it_has_labels_for(mixture: Mixture, name: str) -> None:
    """A batch of one set alone has a positive loss where it is labelled and exactly 0 elsewhere."""
    losses = _losses(mixture.batch({name: np.arange(6)}))
    assert {loss for loss, value in losses.items() if value.item() > 0} == OWN[name]
    assert all(value.item() == 0 for loss, value in losses.items() if loss not in OWN[name])


def test_total_is_the_weighed_sum(mixture: Mixture) -> None:
    """Each loss counts by its weight of the same name."""
    losses = _losses(mixture.batch({name: np.arange(4) for name in OWN}))
    objective = Objective(LossWeights(age=3.0, teacher=0.0), MarginConfig(), Judged(16, 6))
    weights = LossWeights(age=3.0, teacher=0.0)
    expected = sum(getattr(weights, name) * value.item() for name, value in losses.items())
    assert objective.total(losses).item() == pytest.approx(expected, rel=1e-5)


def test_a_mixed_batch_reaches_every_parameter(mixture: Mixture) -> None:
    """With rows of all sets, every parameter of network and objective gets a gradient."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(TINY)
    objective = Objective(LossWeights(), MarginConfig(), Judged(16, 6))
    batch = mixture.batch({name: np.arange(4) for name in OWN})
    objective.total(objective(network(torch.randn(12, 3, 112, 112)), batch)).backward()
    named = [*network.named_parameters(), *objective.named_parameters()]
    assert [name for name, value in named if value.grad is None] == []
