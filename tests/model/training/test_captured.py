"""Tests of model.training.captured: what is recorded, and that a replayed training is the same training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from model.checkpoint import load_tensors
from model.training.batches import Batch
from model.training.captured import label_fields, two_labels, without_images
from model.training.loop import train_analyzer
from model.training.objective import Moment
from model.training.recipes.nano import in_parts, nano, wide
from model.training.recipes.recipe import AnalyzerRecipe
from model.training.state import TrainingState, new_state
from model.training.steps import LossPass, Training
from tests.model.training.faces import write_sets
from tests.model.training.runs import tiny_recipe

ROWS = 6
CPU = torch.device("cpu")


def _batch(device: torch.device = CPU) -> Batch:
    """Six rows: two of each set, labelled as the sets are."""
    unknown = torch.full((ROWS,), -1)
    teacher = torch.nn.functional.normalize(torch.randn(ROWS, 128), dim=1)
    made = Batch(
        images=torch.zeros(ROWS, 0, 0, 3, dtype=torch.uint8),
        identity=torch.tensor([0, 1, -1, -1, -1, -1]),
        age=torch.tensor([torch.nan, torch.nan, 20.0, 60.0, torch.nan, torch.nan]),
        gender=torch.tensor([0, 1, 1, 0, -1, -1]),
        race=torch.tensor([-1, -1, 2, 4, -1, -1]),
        expression=torch.tensor([-1, -1, -1, -1, 3, 6]),
        attributes=torch.stack([torch.ones(40, dtype=torch.int64), torch.zeros(40, dtype=torch.int64)] * 3)
        * torch.tensor([1, 1, 0, 0, 0, 0])[:, None]
        + unknown[:, None] * torch.tensor([0, 0, 1, 1, 1, 1])[:, None],
        teacher=teacher,
    )
    return made.to(device)


def _pass(state: TrainingState, recipe: AnalyzerRecipe) -> LossPass:
    return LossPass(state.network, state.objective, recipe.precision, compiled=False)


@pytest.mark.parametrize("recipe", [nano(), wide(), tiny_recipe()], ids=["nano", "wide", "tiny"])
def test_nothing_that_is_recorded_depends_on_a_value(recipe: AnalyzerRecipe) -> None:
    """Forward, distillation, losses and backward never ask a tensor what it holds, which a recording cannot answer."""
    state = new_state(recipe, 4, CPU)
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = torch.zeros(ROWS, 3, 112, 112)
        taught = {name: value.detach() for name, value in state.network(images).items()}
        labels = two_labels(_batch(), torch.arange(ROWS), torch.ones(()))
        losses = _pass(state, recipe)(images, labels, Moment(), taught)
        state.objective.total(losses).backward()
    assert {"teacher", "relation", "expression"} <= set(losses)


def test_a_loss_that_does_is_seen_by_that_test() -> None:
    """AdaCos asks whether a row is labelled; such recipes are not recorded."""
    recipe = replace(nano(), margin=replace(nano().margin, kind="adacos"))
    state = new_state(recipe, 4, CPU)
    with pytest.raises(DataDependentOutputException), FakeTensorMode(allow_non_fake_inputs=True):
        _pass(state, recipe)(
            torch.zeros(ROWS, 3, 112, 112), two_labels(_batch(), torch.arange(ROWS), torch.ones(())), Moment()
        )
    assert not replace(recipe, capture=True).captures


def test_what_changes_from_step_to_step_is_not_recorded() -> None:
    """A loss that knows the progress, sampled identities, gradients of several batches and a scaler rule it out."""
    recipe = replace(nano(), capture=True)
    assert recipe.captures
    assert not replace(recipe, capture=False).captures
    assert not replace(recipe, margin=replace(recipe.margin, sample_rate=0.5)).captures
    assert not replace(recipe, precision="float16").captures
    assert not replace(recipe, gradient_checkpointing=True).captures
    assert not in_parts(recipe).captures


@pytest.mark.parametrize("mixed", [False, True], ids=["own labels", "mixed"])
def test_two_labels_judge_as_one_form(mixed: bool) -> None:
    """Own labels beside a partner's of no share are the own ones alone, and a mixture is the sum of its shares."""
    recipe = tiny_recipe()
    torch.manual_seed(0)
    state, batch = new_state(recipe, 4, CPU), _batch()
    state.network.eval()
    images, partner = torch.randn(ROWS, 3, 112, 112), torch.arange(ROWS).roll(1) if mixed else torch.arange(ROWS)
    share = 0.3 if mixed else 1.0
    plain: list[tuple[float | Tensor, Batch]] = [(share, batch), (1 - share, batch.rows(partner))]
    losses = _pass(state, recipe)
    expected = losses(images, plain if mixed else [(1.0, batch)], Moment())
    found = losses(images, two_labels(batch, partner, torch.tensor(share)), Moment())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_labels_are_kept_apart_from_what_they_are_copied_of() -> None:
    """The labels that a recording reads are its own, whole, and without pixels."""
    batch = _batch()
    own = without_images(batch)
    batch.identity.fill_(3)
    assert own.identity.tolist() == [0, 1, -1, -1, -1, -1]
    assert own.images.shape == (ROWS, 0, 0, 3)
    assert set(label_fields()) == set(Batch.__slots__) - {"images"}


# Few and small steps: a GPU adds up in another order each time, and a training parts from itself in the long run. By
# this seed all steps but the second are mixed.
SHORT = {
    "total_steps": "4",
    "warmup_steps": "1",
    "learning_rate": "1e-4",
    "mixing.probability": "0.5",
    "seed": "5",
}


def _trained(tmp_path: Path, name: str, device: str, *, capture: bool) -> dict[str, Tensor]:
    """A network's weights and running statistics after four steps, each of which replays where it is recorded."""
    recipe = replace(tiny_recipe(device=device, precision="float32", **SHORT), capture=capture)
    if not (tmp_path / "data").is_dir():
        write_sets(tmp_path / "data")
    train_analyzer(recipe, tmp_path / "data", tmp_path / name)
    return load_tensors(tmp_path / name / "last" / "weights.safetensors")


def _apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> tuple[float, float]:
    """How far two trainings parted, as a share of the way that the first went: their weights, their statistics."""
    network = new_state(tiny_recipe(**SHORT), 4, CPU).network
    start, learnt = network.state_dict(), {name for name, _ in network.named_parameters()}
    shares = []
    for names in (learnt, {name for name in start if start[name].is_floating_point()} - learnt):
        apart = sum(float((other[name] - one[name]).square().sum()) for name in names)
        way = sum(float((one[name] - start[name]).square().sum()) for name in names)
        shares.append((apart / way) ** 0.5)
    return shares[0], shares[1]


MOST_APART = (0.2, 0.002)  # noise of 1e-4 in every gradient gives 0.08 and 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_replayed_training_is_the_same_training(tmp_path: Path) -> None:
    """Recorded or launched one by one, a training's weights and its network's running statistics go the same way."""
    plain, recorded = (_trained(tmp_path, str(capture), "cuda", capture=capture) for capture in (False, True))
    weights, statistics = _apart(plain, recorded)
    assert weights < MOST_APART[0], f"{weights}, statistics {statistics}"
    assert statistics < MOST_APART[1], f"{statistics}, weights {weights}"


@pytest.mark.parametrize("stale", ["images", "labels", "partners"])
def test_a_replay_of_what_was_recorded_is_seen_by_that_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stale: str
) -> None:
    """Were pixels, labels or partners of the first step replayed in the later ones, the trainings would part."""
    plain = _trained(tmp_path, "plain", "cpu", capture=False)
    passes: Any = Training._passes
    first: list[Any] = []

    def replayed(self: Training, images: Tensor, labels: list[Any], *rest: Any) -> Any:
        first.append((images.clone(), labels))
        if stale == "images":
            images = first[0][0]
        if stale == "labels":
            labels = first[0][1]
        if stale == "partners":
            labels = [(1.0, labels[0][1])]
        return passes(self, images, labels, *rest)

    monkeypatch.setattr(Training, "_passes", replayed)
    weights, statistics = _apart(plain, _trained(tmp_path, stale, "cpu", capture=False))
    assert weights > MOST_APART[0] or statistics > MOST_APART[1], f"{weights}, {statistics}"
