"""Tests of model.published.face_analysis."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from model.config import GroupConfig, iresnet
from model.network import MultiTaskNetwork
from model.published.errors import PublishedError
from model.published.face_analysis import from_published, to_published
from tests.model.networks import small_iresnet


def _checkpoint(
    depth: Literal[50, 100, 152], squeeze_excitation: bool, task: Literal["embedding", "age", "gender", "race"]
) -> dict[str, dict[str, Tensor]]:
    """A checkpoint's keys and shapes, without numbers."""
    config = iresnet(depth, squeeze_excitation, task)
    with torch.device("meta"):
        return to_published(MultiTaskNetwork(config).state_dict(), config)


@pytest.mark.parametrize("depth", [50, 100, 152])
@pytest.mark.parametrize("squeeze_excitation", [False, True])
def test_depth_and_mode_are_found(depth: Literal[50, 100, 152], squeeze_excitation: bool) -> None:
    """How deep a trunk is, and whether it squeezes and excites, follow from its keys; without a head it recognises."""
    parts = _checkpoint(depth, squeeze_excitation, "embedding")
    assert set(parts) == {"model"}
    assert from_published(parts)[0] == iresnet(depth, squeeze_excitation)


@pytest.mark.parametrize("task", ["age", "gender", "race"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_head_is_found(task: Literal["age", "gender", "race"], prefix: str) -> None:
    """What a head answers follows from its rows."""
    parts = _checkpoint(50, True, task)
    named = {part: {f"{prefix}{key}": value for key, value in tensors.items()} for part, tensors in parts.items()}
    assert from_published(named)[0] == iresnet(50, True, task)


def test_a_margin_head_is_let_go_of() -> None:
    """A head that only holds class centres leaves a network that recognises faces."""
    config = small_iresnet()
    state = MultiTaskNetwork(config).state_dict()
    parts = {**to_published(state, config), "head": {"kernel": torch.zeros(12, 1000)}}
    assert from_published(parts, config)[1].keys() == state.keys()
    assert from_published({**_checkpoint(50, False, "embedding"), "head": parts["head"]})[0] == iresnet(50)


def _without_last_unit(parts: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    return {"model": {key: value for key, value in parts["model"].items() if not key.startswith("body.23.")}}


def test_what_was_never_published_is_refused() -> None:
    """A trunk of another depth, a head of another width, and a file of neither are refused by what is wrong."""
    parts = _checkpoint(50, False, "embedding")
    body = "model: 'body' has {} units; published are 24 (depth 50), 49 (depth 100), 50 (depth 152)"
    cases: list[tuple[dict[str, dict[str, Tensor]], str]] = [
        ({}, "the part 'model' is missing"),
        ({"model": {"a.weight": torch.zeros(1)}}, body.format(0)),
        (_without_last_unit(parts), body.format(23)),
        ({**parts, "head": {"fc1.bias": torch.zeros(2)}}, "head: 'fc1.weight' is missing"),
        (
            {**parts, "head": {"fc1.weight": torch.zeros(3, 512)}},
            "head: 'fc1.weight' has 3 rows; published are 100 (age), 2 (gender), 5 (race)",
        ),
        ({**parts, "head": {"fc1.weight": torch.zeros(2, 512)}}, "head: 'fc1.bias' is missing"),
        ({**parts, "head": {"fc1.weight": torch.zeros(2, 256), "fc1.bias": torch.zeros(2)}}, "shape (2, 256)"),
    ]
    for broken, message in cases:
        with pytest.raises(PublishedError) as error:
            from_published(broken)
        assert message in str(error.value)


def test_a_lost_unit_in_the_middle_is_named() -> None:
    """A trunk whose last unit is there is as deep as it says, and what is missing before it is named."""
    parts = _checkpoint(100, True, "embedding")
    model = {key: value for key, value in parts["model"].items() if not key.startswith("body.30.")}
    with pytest.raises(PublishedError, match=r"model: 'body\.30\.res_layer\.\d\.\w+' is missing, and \d+ more"):
        from_published({"model": model})


def test_names_are_the_published_ones() -> None:
    """Units count on through the stages, a gate is the unit's seventh layer, and the shortcut has its own name."""
    config = small_iresnet(squeeze_excitation=True, task="gender")
    state = MultiTaskNetwork(config).state_dict()
    published = to_published(state, config)
    for key, own in {
        "input_layer.2.weight": "backbone.stem.2.weight",
        "body.2.res_layer.4.weight": "backbone.stages.1.1.body.4.weight",
        "body.1.res_layer.6.fc2.weight": "backbone.stages.1.0.gate.fc2.weight",
        "body.1.shortcut_layer.1.running_mean": "backbone.stages.1.0.shortcut.1.running_mean",
        "output_layer.0.weight": "recognition.norm.weight",
        "output_layer.3.bias": "recognition.linear.bias",
        "output_layer.4.running_var": "recognition.feature_norm.running_var",
    }.items():
        assert torch.equal(published["model"][key], state[own])
    assert torch.equal(published["head"]["fc1.weight"], state["groups.gender.gender.weight"])


def test_more_than_one_task_has_no_layout() -> None:
    """A network here may answer several tasks from one embedding; the published heads answer one."""
    config = replace(small_iresnet(task="age"), groups=(GroupConfig("both", ("age", "gender")),))
    with pytest.raises(PublishedError, match="more than one task"):
        to_published(MultiTaskNetwork(config).state_dict(), config)
