"""Tests of model.published.layout: strict reading and writing, alike for every published system."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from model.config import NetworkConfig
from model.network import MultiTaskNetwork
from model.published import face_analysis, faer, swinface
from model.published.errors import PublishedError
from model.published.layout import Parts
from tests.model.networks import SMALL

Checkpoint = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class _System:
    name: str
    read: Callable[[Parts, NetworkConfig], tuple[NetworkConfig, dict[str, Tensor]]]
    write: Callable[[Mapping[str, Tensor], NetworkConfig], Checkpoint]
    # A part, a matrix of floats in it, and how it stands in a message.
    part: str
    key: str

    @property
    def config(self) -> NetworkConfig:
        return SMALL[self.name]

    def state(self) -> dict[str, Tensor]:
        torch.manual_seed(0)
        return {
            key: torch.randn_like(value) if value.is_floating_point() else value + 3
            for key, value in MultiTaskNetwork(self.config).state_dict().items()
        }

    def checkpoint(self) -> Checkpoint:
        return self.write(self.state(), self.config)


SYSTEMS = [
    _System("swinface", swinface.from_published, swinface.to_published, "state_dict_tss", "nets.0.feature.3.weight"),
    _System("faer attributes", faer.from_published, faer.to_published, "state_dict", "stages.2.1.pwconv1.weight"),
    _System("faer expression", faer.from_published, faer.to_published, "state_dict", "attention.mlp.2.weight"),
    _System("ir", face_analysis.from_published, face_analysis.to_published, "model", "output_layer.3.weight"),
    _System("ir age", face_analysis.from_published, face_analysis.to_published, "head", "fc1.weight"),
    _System("ir-se gender", face_analysis.from_published, face_analysis.to_published, "head", "fc1.weight"),
    _System("ir race", face_analysis.from_published, face_analysis.to_published, "head", "fc1.weight"),
]
every_system = pytest.mark.parametrize("system", SYSTEMS, ids=[system.name for system in SYSTEMS])


def _message(system: _System, parts: Parts) -> str:
    with pytest.raises(PublishedError) as error:
        system.read(parts, system.config)
    return str(error.value)


@every_system
def test_round_trip(system: _System) -> None:
    """What is written as published is read as the same state, bit for bit, and fits the network strictly."""
    state = system.state()
    config, back = system.read(system.write(state, system.config), system.config)
    assert config == system.config
    assert set(back) == set(state)
    assert all(torch.equal(back[key], value) for key, value in state.items())
    MultiTaskNetwork(config).load_state_dict(back)


@every_system
def test_reading_and_writing_again_gives_the_checkpoint(system: _System) -> None:
    """A checkpoint that was read is written as it was, key for key and number for number."""
    parts = system.checkpoint()
    again = system.write(system.read(parts, system.config)[1], system.config)
    assert {part: set(tensors) for part, tensors in again.items()} == {part: set(parts[part]) for part in parts}
    assert all(torch.equal(again[part][key], parts[part][key]) for part in parts for key in parts[part])


@every_system
def test_keys_of_a_parallel_model(system: _System) -> None:
    """Keys that begin with `module.` are read like those that do not."""
    parts = system.checkpoint()
    parallel = {part: {f"module.{key}": value for key, value in tensors.items()} for part, tensors in parts.items()}
    state = system.read(parts, system.config)[1]
    assert all(torch.equal(value, state[key]) for key, value in system.read(parallel, system.config)[1].items())


@every_system
def test_a_missing_key_is_named(system: _System) -> None:
    """A checkpoint without one of its tensors is refused by part and published key; of several the first is named."""
    parts = system.checkpoint()
    del parts[system.part][system.key]
    assert _message(system, parts) == f"{system.part}: {system.key!r} is missing"
    other = next(key for key in parts[system.part] if not key.startswith("head."))
    del parts[system.part][other]
    assert re.fullmatch(rf"{system.part}: '[\w.]+' is missing, and 1 more", _message(system, parts))


@every_system
def test_an_extra_key_is_named(system: _System) -> None:
    """A checkpoint with a tensor that the network has not is refused by part and published key."""
    parts = system.checkpoint()
    parts[system.part]["nets.99.extra"] = torch.zeros(1)
    assert _message(system, parts) == f"{system.part}: 'nets.99.extra' is not expected"


@every_system
def test_a_misshapen_key_is_named(system: _System) -> None:
    """A tensor of another shape is refused by part, published key and both shapes."""
    parts = system.checkpoint()
    shape = tuple(parts[system.part][system.key].shape)
    wrong = (shape[0], shape[1] + 1)
    parts[system.part][system.key] = torch.zeros(wrong)
    assert _message(system, parts) == f"{system.part}: {system.key!r} has the shape {wrong}, not {shape}"


@every_system
def test_another_kind_of_number_is_refused(system: _System) -> None:
    """Whole numbers where floats belong, and what is no tensor at all, are refused by key."""
    parts = system.checkpoint()
    key = parts[system.part][system.key]
    parts[system.part][system.key] = key.to(torch.int64)
    assert _message(system, parts) == f"{system.part}: {system.key!r} holds torch.int64, not floats"
    parts[system.part][system.key] = "weights"  # type: ignore[assignment]
    assert _message(system, parts) == f"{system.part}: {system.key!r} is no tensor but a str"


@every_system
def test_a_key_twice_is_refused(system: _System) -> None:
    """A key with and without `module.` leaves open which one counts, and is refused."""
    parts = system.checkpoint()
    parts[system.part][f"module.{system.key}"] = parts[system.part][system.key]
    assert _message(system, parts) == f"{system.part}: {system.key!r} is there twice, with and without 'module.'"


@every_system
def test_parts_are_checked(system: _System) -> None:
    """A part too few and a part too many are refused by name."""
    parts = system.checkpoint()
    extra = {**parts, "state_optimizer": {}}
    assert _message(system, extra).startswith("'state_optimizer' is no part of this checkpoint; its parts are ")
    del parts[system.part]
    assert _message(system, parts) == f"the part {system.part!r} is missing"


@every_system
def test_floats_of_any_precision(system: _System) -> None:
    """A checkpoint in half precision is read as float32; what counts batches stays a whole number."""
    parts = system.checkpoint()
    half = {part: {k: v.half() if v.is_floating_point() else v for k, v in ts.items()} for part, ts in parts.items()}
    state = system.read(half, system.config)[1]
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}
    assert all(value.dtype == torch.int64 for key, value in state.items() if key.endswith("num_batches_tracked"))


@every_system
def test_a_state_of_another_network_is_not_written(system: _System) -> None:
    """A state that lacks a tensor of its configuration, or has one more, is refused by name."""
    state = system.state()
    with pytest.raises(PublishedError, match=r"holds 'extra', which its configuration does not"):
        system.write({**state, "extra": torch.zeros(1)}, system.config)
    name = next(iter(state))
    del state[name]
    with pytest.raises(PublishedError, match=f"lacks {name!r}"):
        system.write(state, system.config)


@pytest.mark.parametrize("read", [swinface.from_published, faer.from_published, face_analysis.from_published])
@pytest.mark.parametrize("name", SMALL)
def test_a_system_refuses_the_others_networks(
    read: Callable[[Parts, NetworkConfig], tuple[NetworkConfig, dict[str, Tensor]]], name: str
) -> None:
    """A configuration that a system's published code cannot hold is refused before a key is looked at."""
    own = {"swinface": swinface, "faer attributes": faer, "faer expression": faer}.get(name, face_analysis)
    message = "missing" if own.from_published is read else "publishes no network|trunk is|networks are"
    with pytest.raises(PublishedError, match=message):
        read({}, SMALL[name])
