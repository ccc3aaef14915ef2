"""Tests of model.training.objective."""

import numpy as np
import pytest
import torch

from model.config import FAER_EXPRESSION, NANO, SWINFACE
from model.losses import attributes
from model.losses.age import annealed_age, ordinal_age
from model.network import MultiTaskNetwork
from model.runtime.labels import ATTRIBUTES
from model.training.batches import Batch, Mixture
from model.training.dataset import read_faces
from model.training.loop import class_weights
from model.training.objective import Judged, LossForms, LossWeights, MarginConfig, Moment, Objective, judged_by
from tests.model.networks import TINY
from tests.model.training.faces import write_sets
from tests.model.training.runs import tiny_recipe

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


def _batch(mixture: Mixture) -> Batch:
    return mixture.batch({name: np.arange(4) for name in OWN})


def test_a_loss_of_weight_nothing_is_left_out(mixture: Mixture) -> None:
    """A loss that counts nothing, or judges what the network does not answer, is not computed and has no weights."""
    weights = LossWeights(teacher=0.0, relation=0.0, margin=0.0, age=0.0)
    objective = Objective(weights, MarginConfig(), Judged(16, 6))
    assert list(objective.parameters()) == []
    losses = objective({"gender": torch.randn(12, 2), "age": torch.randn(12)}, _batch(mixture))
    assert list(losses) == ["gender"]


def test_the_age_forms(mixture: Mixture) -> None:
    """Each form is the loss of its name: annealed by the moment's progress, ordinal over the ranks, summed or mean."""
    batch = _batch(mixture)

    def loss(answer: torch.Tensor, moment: Moment = Moment(), **forms: object) -> torch.Tensor:  # noqa: B008
        objective = Objective(LossWeights(margin=0.0), MarginConfig(), Judged(), LossForms(**forms))  # type: ignore[arg-type]
        losses: dict[str, torch.Tensor] = objective({"age": answer}, batch, moment)
        return losses["age"]

    years, logits = torch.randn(12) * 9 + 30, torch.randn(12, 100)
    for progress in (0.0, 0.7):
        expected = annealed_age(years, batch.age, progress)
        assert torch.equal(loss(years, Moment(progress), age="annealed"), expected)
    assert torch.equal(loss(logits, age="ordinal"), ordinal_age(logits, batch.age, "sum"))
    assert torch.equal(loss(logits, age="ordinal", reduction="mean"), ordinal_age(logits, batch.age, "mean"))


@pytest.mark.parametrize("form", ["focal", "asymmetric", "masked_bce", "lse_sign"])
def test_the_attribute_forms(mixture: Mixture, form: str) -> None:
    """Each form is the loss of its name on single logits."""
    batch, logits = _batch(mixture), torch.randn(12, 40)
    objective = Objective(LossWeights(margin=0.0), MarginConfig(), Judged(), LossForms(attributes=form))  # type: ignore[arg-type]
    expected = getattr(attributes, form)(logits, batch.attributes)
    assert torch.equal(objective({"attributes": logits}, batch)["attributes"], expected)


def test_genders_output_is_judged_once(mixture: Mixture) -> None:
    """Where the column `male` is gender's own output, the attributes' loss leaves it to gender's, as SwinFace does."""
    batch, answer = _batch(mixture), torch.randn(12, 40, 2, requires_grad=True)
    male = ATTRIBUTES.index("male")
    for male_is_gender in (True, False):
        objective = Objective(LossWeights(margin=0.0), MarginConfig(), Judged(male_is_gender=male_is_gender))
        (gradient,) = torch.autograd.grad(objective({"attributes": answer}, batch)["attributes"], answer)
        assert bool((gradient[:, male] == 0).all()) == male_is_gender
        assert bool((gradient[:4, male - 1] != 0).any())
    judged = [judged_by(config, 6, {}) for config in (SWINFACE, NANO, FAER_EXPRESSION)]
    assert [each.male_is_gender for each in judged] == [True, False, False]
    assert [(each.embedding_dim, each.feature_dim) for each in judged] == [(512, 0), (512, 0), (0, 1024)]


def test_classes_are_weighted(mixture: Mixture) -> None:
    """Class weights make gender's and race's loss the weighted mean; expressions are smoothed as asked."""
    batch, logits = _batch(mixture), torch.randn(12, 7)
    weights = {"gender": torch.tensor([1.0, 3.0]), "race": torch.ones(5)}
    objective = Objective(
        LossWeights(margin=0.0), MarginConfig(), Judged(class_weights=weights), LossForms(label_smoothing=0.1)
    )
    losses = objective({"gender": logits[:, :2], "expression": logits}, batch)
    expected = torch.nn.functional.cross_entropy(logits[:, :2], batch.gender, weights["gender"], ignore_index=-1)
    torch.testing.assert_close(losses["gender"], expected)
    smoothed = torch.nn.functional.cross_entropy(logits, batch.expression, label_smoothing=0.1, ignore_index=-1)
    torch.testing.assert_close(losses["expression"], smoothed)


def test_expressions_are_balanced_as_far_as_asked(mixture: Mixture) -> None:
    """Rare expressions weigh by their inverse frequency to a power, beside smoothing; no power weighs none."""
    recipe = tiny_recipe(**{"forms.balance": "0.5"})
    weights = class_weights(recipe, mixture)
    counts = mixture.counts("expression", 7)
    torch.testing.assert_close(weights["expression"], torch.tensor((counts.max() / counts) ** 0.5, dtype=torch.float32))
    assert weights["expression"].unique().numel() > 1
    assert class_weights(tiny_recipe(), mixture) == {}
    batch, logits = _batch(mixture), torch.randn(12, 7)
    objective = Objective(LossWeights(margin=0.0), MarginConfig(), Judged(class_weights=weights), recipe.forms)
    expected = torch.nn.functional.cross_entropy(
        logits, batch.expression, weights["expression"], ignore_index=-1, label_smoothing=recipe.forms.label_smoothing
    )
    torch.testing.assert_close(objective({"expression": logits}, batch)["expression"], expected)
    assert "class_weight_expression" not in objective.state_dict()


def test_the_centre_loss(mixture: Mixture) -> None:
    """With a weight and a feature, the centre loss draws the expressions' features, and its centres are learnt."""
    objective = Objective(LossWeights(margin=0.0, centre=0.1), MarginConfig(), Judged(feature_dim=9))
    losses = objective({"feature": torch.randn(12, 9)}, _batch(mixture))
    assert list(losses) == ["centre"]
    assert [name for name, _ in objective.named_parameters()] == ["centre.centres"]
    assert losses["centre"].item() > 0
