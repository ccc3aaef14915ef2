"""Tests that SWINFACE computes what SwinFace as published computes, on weights that both are filled with.

The key mapping here is the smallest that this comparison needs: it never reads a published checkpoint.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import SWINFACE
from model.network import MultiTaskNetwork
from model.runtime.labels import ATTRIBUTES

# The published names that are not a CelebA column's in other letters.
_OTHER_NAMES = {"five_o'clock_shadow": "5_o_clock_shadow", "recognition": "embedding"}


def _fill(name: str, shape: list[int], dtype: str) -> NDArray[np.generic]:
    """A tensor's values from its name, as the reference outputs' README states them."""
    if dtype == "int64":
        return np.zeros(shape, np.int64)
    noise = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape).astype(np.float32)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        return (0.5 + np.abs(noise)).astype(np.float32)
    if leaf == "running_mean":
        return 0.1 * noise
    if len(shape) <= 1:
        return np.asarray(1 + 0.1 * noise if leaf == "weight" else 0.1 * noise, np.float32)
    return np.asarray(noise / np.sqrt(np.prod(shape[1:])), np.float32)


def _backbone_key(key: str) -> str | None:
    if key.startswith("head."):
        return None  # in the checkpoint, never used
    if key.startswith(("norm.", "feature.")):
        return f"recognition.{key}"
    if ".downsample." in key:  # published Swin merges at a stage's end, timm at the next one's start
        _, stage, rest = key.split(".", 2)
        return f"backbone.layers.{int(stage) + 1}.{rest}"
    return f"backbone.{key}"


def _group_key(part: str, key: str) -> str:
    _, number, rest = key.split(".", 2)
    group = f"groups.{SWINFACE.groups[int(number)].name}"
    if part == "state_dict_tss":
        return f"{group}.trunk.{rest.removeprefix('feature.')}"
    if rest.startswith("channel_attention."):  # the published MLP begins with a flatten
        _, _, layer, leaf = rest.split(".")
        return f"{group}.fusion.attention.mlp.{int(layer) - 1}.{leaf}"
    return f"{group}.fusion.{'norm' + rest[4:] if rest.startswith('norm') else rest.replace('conv.', 'fusion.', 1)}"


def _own_key(part: str, key: str) -> str | None:
    """The key of a published tensor here; None for one that no forward pass reads."""
    if part == "state_dict_backbone":
        return _backbone_key(key)
    if part != "state_dict_om":
        return _group_key(part, key)
    _, number, leaf = key.split(".")
    outputs = [(group.name, name) for group in SWINFACE.groups for name in group.outputs]
    group, name = outputs[int(number)]
    return f"groups.{group}.outputs.{name}.{leaf}"


@pytest.fixture(scope="module")
def parity(shared_data: Path) -> Path:
    """The folder of reference outputs."""
    return shared_data.parent / "parity"


def _filled(keys: Path) -> MultiTaskNetwork:
    network = MultiTaskNetwork(SWINFACE)
    state: dict[str, Tensor] = {}
    for part, rows in json.loads(keys.read_text()).items():
        for key, shape, dtype, kind in rows:
            own = _own_key(part, key)
            if kind == "filled" and own is not None:
                state[own] = torch.from_numpy(_fill(f"{part}/{key}", shape, dtype))
    network.load_state_dict(state)
    return network.eval()


def test_answers_are_the_published_networks(parity: Path) -> None:
    """Every one of the published network's 43 outputs is reproduced within 1e-4, and every tensor has its place."""
    network = _filled(parity / "swinface_keys.json")
    pixels = np.random.Generator(np.random.PCG64(7)).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)
    with torch.no_grad():
        answers = network(torch.from_numpy(pixels))
    with np.load(parity / "swinface.npz") as references:
        compared = {_compare(name, references[name], answers) for name in references.files}
    assert compared == {"age", "gender", "expression", "embedding", *ATTRIBUTES} - {"male"}


def _compare(name: str, reference: NDArray[np.float32], answers: dict[str, Tensor]) -> str:
    task = name.lower().replace(" ", "_")
    task = _OTHER_NAMES.get(task, task)
    own = answers["attributes"][:, ATTRIBUTES.index(task)] if task in ATTRIBUTES else answers[task]
    np.testing.assert_allclose(own.numpy().reshape(reference.shape), reference, atol=1e-4, rtol=1e-4, err_msg=name)
    return task
