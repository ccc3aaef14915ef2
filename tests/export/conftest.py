"""Fixtures of the export's tests: a real network of the real classes, small enough to be traced in seconds."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.graph import trace
from export.precision import rounded
from model.analyzer import Analyzer
from model.config import NANO, FusionConfig, NetworkConfig, SwinConfig
from model.network import MultiTaskNetwork

TINY = NetworkConfig(
    # Shifted windows (a second block, on a grid over the window) and a window as large as the grid: timm's both kinds.
    backbone=SwinConfig(side_px=112, patch_px=8, embed_dim=16, depths=(2, 1), num_heads=(1, 2)),
    fusion=FusionConfig(widths=(4, 4), reduction=2),
    groups=NANO.groups,
    embedding_dim=32,
    fc_dim=8,
    age_offset_years=33.0,
    age_scale_years=20.0,
)


def tiny_network(seed: int = 0) -> MultiTaskNetwork:
    """A network with statistics and weights of a trained one's size, so that no answer is a constant."""
    torch.manual_seed(seed)
    network = MultiTaskNetwork(TINY).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network


@pytest.fixture(scope="session")
def network() -> MultiTaskNetwork:
    """A tiny multi-task network, float32."""
    return tiny_network()


@pytest.fixture(scope="session")
def analyzer(network: MultiTaskNetwork) -> Analyzer:
    """Its torch twin, weights rounded as a pack stores them."""
    return Analyzer(rounded(network)).eval()


@pytest.fixture(scope="session")
def graph_bytes(analyzer: Analyzer) -> bytes:
    """The twin's ONNX graph."""
    return trace(analyzer)


@pytest.fixture(scope="session")
def crops() -> NDArray[np.uint8]:
    """Seven crops of noise, each of another contrast and brightness."""
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (7, 112, 112, 3))
    return (noise // np.arange(1, 8)[:, None, None, None] + 5 * np.arange(7)[:, None, None, None]).astype(np.uint8)


@pytest.fixture(scope="session")
def made_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pack, exported once; a test that changes it copies it first (see `own_pack`)."""
    from tests.export.packs import make_pack

    return make_pack(tmp_path_factory.mktemp("made"))


@pytest.fixture
def own_pack(made_pack: Path, tmp_path: Path) -> Path:
    """A copy of the tiny pack that a test may spoil."""
    return Path(shutil.copytree(made_pack, tmp_path / "own" / "tiny"))
