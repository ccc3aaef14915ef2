"""Tests of model.checkpoint."""

import json
from pathlib import Path

import pytest
import torch

from model.checkpoint import (
    CheckpointError,
    load_network,
    load_tensors,
    recover,
    save,
    save_tensors,
    whole,
    written_whole,
)
from model.network import MultiTaskNetwork
from tests.model.networks import TINY


@pytest.fixture
def network() -> MultiTaskNetwork:
    """An untrained network whose batch norms have seen some crops."""
    torch.manual_seed(3)
    network = MultiTaskNetwork(TINY)
    network(torch.randn(4, 3, 112, 112))
    return network


def test_round_trip(network: MultiTaskNetwork, tmp_path: Path) -> None:
    """What was saved is loaded again bit for bit, buffers included, in evaluation mode, with its configuration."""
    save(tmp_path / "a" / "ema", network)
    back = load_network(tmp_path / "a" / "ema")
    assert back.config == network.config
    assert not back.training
    for name, value in network.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


def test_half_precision_is_cast_back(network: MultiTaskNetwork, tmp_path: Path) -> None:
    """Weights stored in half precision load as float32, rounded, from a file half the size."""
    save(tmp_path / "whole", network)
    save(tmp_path / "half", network, half=True)
    back = load_network(tmp_path / "half")
    name = "recognition.feature.0.weight"
    assert back.state_dict()[name].dtype == torch.float32
    assert torch.equal(back.state_dict()[name], network.state_dict()[name].half().float())
    sizes = [(tmp_path / folder / "weights.safetensors").stat().st_size for folder in ("half", "whole")]
    assert sizes[0] < 0.75 * sizes[1]


def test_saving_again_replaces(network: MultiTaskNetwork, tmp_path: Path) -> None:
    """A second save takes the first one's place and leaves nothing beside it."""
    save(tmp_path / "ema", network)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    save(tmp_path / "ema", network)
    back = load_network(tmp_path / "ema")
    assert torch.equal(next(back.parameters()), next(network.parameters()))
    assert [path.name for path in tmp_path.iterdir()] == ["ema"]


def test_files_are_readable_as_the_umask_says(network: MultiTaskNetwork, tmp_path: Path) -> None:
    """Weights are as readable as any other new file, so that another user's service may load them."""
    save(tmp_path / "ema", network)
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "ema" / "weights.safetensors").stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        ("absent", "no checkpoint at"),
        ("config", "config.json"),
        ("weights", "cannot read"),
        ("other", "does not fit"),
        ("no weights", "cannot read"),
    ],
)
def test_unusable_checkpoints(network: MultiTaskNetwork, tmp_path: Path, breakage: str, message: str) -> None:
    """A checkpoint that is absent, torn or of another network is refused in one line that names the file."""
    folder = tmp_path / "ema"
    if breakage != "absent":
        save(folder, network)
    if breakage == "config":
        (folder / "config.json").write_text("{")
    if breakage == "weights":
        (folder / "weights.safetensors").write_bytes(b"torn")
    if breakage == "no weights":
        (folder / "weights.safetensors").unlink()
    if breakage == "other":
        stored = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**stored, "fc_dim": 16}))
    with pytest.raises(CheckpointError, match=message) as error:
        load_network(folder)
    assert "\n" not in str(error.value)


def test_tensors_keep_their_kind(tmp_path: Path) -> None:
    """Integer tensors stay integers even where floats are stored in half precision."""
    tensors = {"steps": torch.tensor(70_000), "weight": torch.tensor([1.5, 2.5])}
    save_tensors(tmp_path / "x.safetensors", tensors, half=True)
    back = load_tensors(tmp_path / "x.safetensors")
    assert back["steps"].item() == 70_000
    assert back["steps"].dtype == torch.int64
    assert back["weight"].tolist() == [1.5, 2.5]


def _write(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "file").write_text(text)


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    """An error while the new folder is written leaves the old one and nothing beside it."""
    _write(tmp_path / "last", "old")

    def fail() -> None:
        with written_whole(tmp_path / "last") as beside:
            (beside / "file").write_text("new")
            raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        fail()
    assert (tmp_path / "last" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ({"last": "old", ".last.new": "half"}, "old"),  # killed while writing
        ({".last.old": "old", ".last.new": "new"}, "new"),  # killed between the two renames
        ({"last": "new", ".last.old": "old"}, "new"),  # killed before the old one was removed
        ({".last.old": "old"}, "old"),
        ({".last.new": "half"}, None),  # killed in the first write of all
    ],
)
def test_a_kill_at_any_point_leaves_one_whole_folder(tmp_path: Path, left: dict[str, str], kept: str | None) -> None:
    """Whatever a kill left behind, recovery puts the newest whole folder in place and clears the rest."""
    for name, text in left.items():
        _write(tmp_path / name, text)
    recover(tmp_path / "last")
    assert {path.name: (path / "file").read_text() for path in tmp_path.iterdir()} == ({"last": kept} if kept else {})


def test_a_reader_leaves_a_living_writers_folders_alone(tmp_path: Path) -> None:
    """A network can be read while the next one is written beside it, and the write still ends well."""
    network = MultiTaskNetwork(TINY)
    save(tmp_path / "ema", network)
    with written_whole(tmp_path / "ema") as beside:
        (beside / "file").write_text("new")
        load_network(tmp_path / "ema")
    assert (tmp_path / "ema" / "file").read_text() == "new"


@pytest.mark.parametrize(("left", "read"), [(("old", "new"), "new"), (("old",), "old")])
def test_a_reader_finds_the_whole_folder_that_a_kill_left(tmp_path: Path, left: tuple[str, ...], read: str) -> None:
    """Between a writer's two renames the complete new folder is read, else the old one, and neither is moved."""
    for name in left:
        _write(tmp_path / f".ema.{name}", name)
    assert (whole(tmp_path / "ema") / "file").read_text() == read
    assert not (tmp_path / "ema").exists()
