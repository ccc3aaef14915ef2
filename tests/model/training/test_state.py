"""Tests of model.training.state."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.checkpoint import CheckpointError, load_network, save
from model.network import MultiTaskNetwork
from model.training.state import new_state, resume_state, save_state
from tests.model.training.runs import tiny_recipe

CPU = torch.device("cpu")


def test_the_seed_decides_the_start() -> None:
    """Two trainings of one seed start from the same weights; of two seeds, from others."""
    first, again, other = (new_state(tiny_recipe(seed=seed), 6, CPU).network for seed in ("1", "1", "2"))
    name = "recognition.feature.0.weight"
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_only_matrices_decay() -> None:
    """Norms, biases, position biases and the objective's own weights stand in the group without weight decay."""
    recipe = tiny_recipe()
    state = new_state(recipe, 6, CPU)
    decayed, plain = state.optimizer.param_groups
    named = dict(state.network.named_parameters())
    names = {id(value): name for name, value in named.items()}
    assert decayed["weight_decay"] == recipe.weight_decay
    assert plain["weight_decay"] == 0.0
    assert all(value.ndim >= 2 for value in decayed["params"])
    assert not any("relative_position_bias" in names[id(value)] for value in decayed["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(named) + len(list(state.objective.parameters()))


def test_round_trip(tmp_path: Path) -> None:
    """What `last/` holds comes back: network, average, objective, optimizer and step; `ema/` is a checkpoint."""
    recipe = tiny_recipe()
    state = new_state(recipe, 6, CPU)
    for parameter in [*state.network.parameters(), *state.objective.parameters()]:
        parameter.grad = torch.randn_like(parameter)
    state.optimizer.step()
    state.average.update(state.network, 0)
    state.step = 5
    save_state(tmp_path, recipe, state)
    back = resume_state(tmp_path, recipe, 6, CPU)
    assert back.step == 5
    for ours, theirs in ((state.network, back.network), (state.average.network, back.average.network)):
        assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    stored, restored = state.optimizer.state_dict()["state"], back.optimizer.state_dict()["state"]
    assert stored.keys() == restored.keys()
    assert all(torch.equal(value, restored[n][key]) for n, values in stored.items() for key, value in values.items())
    shipped = load_network(tmp_path / "ema").state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in state.average.network.state_dict().items())


@pytest.mark.parametrize("key", ["seed", "learning_rate", "rows.celeba", "network.dropout"])
def test_another_recipe_is_refused(tmp_path: Path, key: str) -> None:
    """A training goes on only as the training that it was: the first difference is named."""
    recipe = tiny_recipe()
    save_state(tmp_path, recipe, new_state(recipe, 6, CPU))
    with pytest.raises(CheckpointError, match=f"another {key.split('.')[0]}; only device, log_every"):
        resume_state(tmp_path, tiny_recipe(**{key: "0" if "dropout" in key else "9"}), 6, CPU)


def test_the_total_may_change(tmp_path: Path) -> None:
    """Total steps, threads and how often is saved may differ on resume."""
    recipe = tiny_recipe()
    save_state(tmp_path, recipe, new_state(recipe, 6, CPU))
    changed = replace(recipe, total_steps=99, num_threads=2, save_every=1, log_every=7)
    assert resume_state(tmp_path, changed, 6, CPU).step == 0


def test_nothing_to_resume(tmp_path: Path) -> None:
    """A folder without a state is refused in one line."""
    with pytest.raises(CheckpointError, match="nothing to resume"):
        resume_state(tmp_path, tiny_recipe(), 6, CPU)


def test_start_from_a_checkpoint(tmp_path: Path) -> None:
    """With `init` every tensor of the checkpoint is taken over, buffers included."""
    torch.manual_seed(8)
    start = MultiTaskNetwork(tiny_recipe().network)
    start(torch.randn(4, 3, 112, 112))
    save(tmp_path / "ema", start)
    state = new_state(tiny_recipe(), 6, CPU, tmp_path / "ema")
    for network in (state.network, state.average.network):
        assert all(torch.equal(value, start.state_dict()[name]) for name, value in network.state_dict().items())


def test_start_from_a_relative(tmp_path: Path) -> None:
    """A checkpoint whose head has another shape gives all that fits; the rest starts fresh; a stranger is refused."""
    start = MultiTaskNetwork(tiny_recipe(**{"network.recognition_maps": "0"}).network)
    save(tmp_path / "ema", start)
    own = new_state(tiny_recipe(), 6, CPU, tmp_path / "ema").network.state_dict()
    assert torch.equal(own["backbone.position"], start.state_dict()["backbone.position"])
    assert own["recognition.feature.0.weight"].shape != start.state_dict()["recognition.feature.0.weight"].shape
    with pytest.raises(CheckpointError, match=r"shares only [\d,]+ of [\d,]+ numbers"):
        new_state(tiny_recipe(**{"network.backbone.embed_dim": "16"}), 6, CPU, tmp_path / "ema")
