"""Tests of model.training.pretrained: a checkpoint's weights are tested with the state."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.checkpoint import CheckpointError
from model.network import MultiTaskNetwork
from model.published.faer import to_published
from model.training.pretrained import start_from
from tests.model.networks import SMALL_FAER_ATTRIBUTES


def _published(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state = MultiTaskNetwork(SMALL_FAER_ATTRIBUTES).state_dict()
    named = to_published(state, SMALL_FAER_ATTRIBUTES)["state_dict"]
    return {key: value.contiguous() for key, value in named.items() if not key.startswith("attention.")}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_a_trunk_starts_a_network(tmp_path: Path, suffix: str) -> None:
    """The trunk is the file's, and all behind it keeps its fresh start."""
    path, tensors = tmp_path / f"convnext{suffix}", _published(1)
    if suffix == ".pth":
        torch.save({"model": tensors}, path)
    else:
        save_file(tensors, path)
    torch.manual_seed(2)
    network = MultiTaskNetwork(SMALL_FAER_ATTRIBUTES)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    start_from(network, path)
    after = network.state_dict()
    assert torch.equal(after["backbone.stem.0.weight"], tensors["downsample_layers.0.0.weight"])
    for name, value in before.items():
        if not name.startswith("backbone."):
            assert torch.equal(after[name], value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "is no file of weights that torch reads"),
        ([1, 2], "holds no state dict"),
        ({"stem.0.weight": torch.zeros(1)}, "has the shape"),
        ({"downsample_layers.0.0.weight": torch.zeros(1)}, "has the shape"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, content: object, message: str) -> None:
    """A web page, a file without tensors, another network: the path and what is wrong, in one line."""
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        start_from(MultiTaskNetwork(SMALL_FAER_ATTRIBUTES), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
