"""Tests of model.training.optimizer."""

import pytest
import torch
from torch import nn

from model.network import MultiTaskNetwork
from model.training.objective import Judged, LossWeights, MarginConfig, Objective
from model.training.optimizer import (
    OptimizerConfig,
    OptimizerError,
    build_optimizer,
    chosen_parameters,
    clip_gradients,
    optimizer_tensors,
    restore_optimizer,
)
from model.training.world import World
from tests.model.networks import TINY
from tests.model.training.families import small


def _built(config: OptimizerConfig, name: str = "nano") -> tuple[MultiTaskNetwork, Objective, torch.optim.Optimizer]:
    network = MultiTaskNetwork(small(name).network if name != "nano" else TINY)
    objective = Objective(LossWeights(), MarginConfig(), Judged(16, 6))
    return network, objective, build_optimizer(config, network, objective, 0.05)


def _by_name(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, float]]:
    """Each parameter's group, by its name."""
    names = {id(value): name for name, value in network.named_parameters()}
    return {
        names.get(id(value), "objective"): {"decay": group["weight_decay"], "multiplier": group["multiplier"]}
        for group in optimizer.param_groups
        for value in group["params"]
    }


def test_multipliers_act_on_their_modules() -> None:
    """The longest beginning of a name decides a parameter's share of the rate; everything else has the whole."""
    config = OptimizerConfig(multipliers={"backbone": 0.1, "backbone.position": 0.5})
    network, _, optimizer = _built(config)
    groups = _by_name(network, optimizer)
    assert groups["backbone.position"]["multiplier"] == 0.5
    for name, group in groups.items():
        if name.startswith("backbone.") and name != "backbone.position":
            assert group["multiplier"] == 0.1
        elif not name.startswith("backbone."):
            assert group["multiplier"] == 1.0


def test_a_multiplier_of_nothing_leaves_untrained() -> None:
    """A module with 0 is in no group; FAER's published code does so to its final norm, by the switch."""
    config = small("faer-attributes", **{"optimizer.as_published": "true"}).optimizer
    network, _, optimizer = _built(config, "faer-attributes")
    groups = _by_name(network, optimizer)
    assert {"groups.norm.weight", "groups.norm.bias"}.isdisjoint(groups)
    assert all(group["multiplier"] == 1.0 for group in groups.values())
    meant = small("faer-attributes").optimizer
    network, _, optimizer = _built(meant, "faer-attributes")
    groups = _by_name(network, optimizer)
    assert groups["groups.norm.weight"]["multiplier"] == 1.0
    assert {groups[name]["multiplier"] for name in groups if name.startswith("backbone.")} == {0.01}


def test_a_typo_in_a_multiplier_is_refused() -> None:
    """A module that the network does not have is refused with the nearest one."""
    with pytest.raises(OptimizerError, match="no module 'bakbone' to multiply; did you mean 'backbone'"):
        _built(OptimizerConfig(multipliers={"bakbone": 0.1}))


def test_what_decays() -> None:
    """Matrices alone; or everything; or all but batch norm, as each recipe says; the position as asked."""
    network, _, optimizer = _built(OptimizerConfig())
    groups = _by_name(network, optimizer)
    assert all((group["decay"] > 0) <= (name != "objective") for name, group in groups.items())
    assert groups["backbone.position"]["decay"] > 0
    network, _, optimizer = _built(OptimizerConfig(position_decay=False))
    assert _by_name(network, optimizer)["backbone.position"]["decay"] == 0
    network, _, optimizer = _built(OptimizerConfig(decay="all"))
    assert {group["decay"] for group in _by_name(network, optimizer).values()} == {0.05}
    network, _, optimizer = _built(OptimizerConfig(decay="all_but_batch_norm"), "ir-age")
    norms = {
        f"{path}.{name}"
        for path, layer in network.named_modules()
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
        for name, _ in layer.named_parameters()
    }
    groups = _by_name(network, optimizer)
    assert {name for name, group in groups.items() if group["decay"] == 0} == norms


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_state_round_trip(kind: str) -> None:
    """What is kept of an optimizer makes the next step of another one the same, to the bit."""
    config = OptimizerConfig(kind=kind)  # type: ignore[arg-type]
    torch.manual_seed(0)
    network, objective, optimizer = _built(config)
    gradients = [torch.randn_like(value) for value in [*network.parameters(), *objective.parameters()]]

    def step(parameters: list[nn.Parameter], stepped: torch.optim.Optimizer) -> None:
        for value, gradient in zip(parameters, gradients, strict=True):
            value.grad = gradient.clone()
        for group in stepped.param_groups:
            group["lr"] = 0.1
        stepped.step()

    own = [*network.parameters(), *objective.parameters()]
    step(own, optimizer)
    other_network, other_objective, other = _built(config)
    other_network.load_state_dict(network.state_dict())
    other_objective.load_state_dict(objective.state_dict())
    kept = {name: value.clone() for name, value in optimizer_tensors(optimizer).items()}
    restore_optimizer(other, kept)
    theirs = [*other_network.parameters(), *other_objective.parameters()]
    step(own, optimizer)
    step(theirs, other)
    assert all(torch.equal(one, two) for one, two in zip(own, theirs, strict=True))


def test_clipping() -> None:
    """Gradients over the limit are scaled to it, those of the chosen modules alone; 0 measures and leaves them."""
    network = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    for value in network.parameters():
        value.grad = torch.ones_like(value)
    backbone = chosen_parameters(network, ("backbone",))
    assert len(backbone) == 2
    assert clip_gradients(network.parameters(), [], 0.0, World()).item() == pytest.approx(12**0.5)
    assert clip_gradients(backbone, [], 1.0, World()).item() == pytest.approx(6**0.5)
    assert torch.stack([value.grad.norm() for value in backbone]).norm().item() == pytest.approx(1.0, rel=1e-4)  # type: ignore[union-attr]
    assert all(value.grad is not None and bool((value.grad == 1).all()) for value in network["head"].parameters())
