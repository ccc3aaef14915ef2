"""Tests of `model.detector.checkpoint`."""

import json
from pathlib import Path

import pytest
import torch

from model.checkpoint import CheckpointError
from model.detector.checkpoint import OperatingPoint, load_detector, save_detector
from tests.model.detector.networks import tiny_detector


def test_round_trip(tmp_path: Path) -> None:
    """A checkpoint gives back the same answers and the operating point with its figures."""
    network, point = tiny_detector(), OperatingPoint(0.46, 0.35, {"recall_at_iou_0.5": 0.98})
    save_detector(tmp_path / "ema", network, point)
    loaded, stated = load_detector(tmp_path / "ema")
    assert stated == point
    assert not loaded.training
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(one, other) for one, other in zip(loaded(images), network(images), strict=True))


def test_before_towers(tmp_path: Path) -> None:
    """A checkpoint from before the landmarks had blocks of their own loads, and answers as it did."""
    network = tiny_detector()
    save_detector(tmp_path / "ema", network, OperatingPoint())
    stored = json.loads((tmp_path / "ema" / "config.json").read_text())
    for name in ("landmark_depth", "landmark_widths"):
        del stored["network"][name]
    (tmp_path / "ema" / "config.json").write_text(json.dumps(stored))
    loaded, _ = load_detector(tmp_path / "ema")
    assert loaded.config == network.config
    assert "head.landmarks.weight" in loaded.state_dict()


def test_half(tmp_path: Path) -> None:
    """A half-precision checkpoint is half the size and loads as float32."""
    network = tiny_detector()
    save_detector(tmp_path / "full", network, OperatingPoint())
    save_detector(tmp_path / "half", network, OperatingPoint(), half=True)
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.85 * sizes[0]  # the tiny network's header weighs as much as its weights
    loaded, _ = load_detector(tmp_path / "half")
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}


def test_no_extra_buffers(tmp_path: Path) -> None:
    """The anchors' sizes are the code's: a checkpoint holds weights and statistics alone."""
    save_detector(tmp_path / "ema", tiny_detector(), OperatingPoint())
    assert not any("half_side" in name for name in tiny_detector().state_dict())


@pytest.mark.parametrize("broken", ["missing", "config", "network", "point", "weights", "other"])
def test_refusals(broken: str, tmp_path: Path) -> None:
    """A checkpoint that is missing, cut short or another network's is refused in one line that names its path."""
    folder = tmp_path / "ema"
    if broken != "missing":
        save_detector(folder, tiny_detector(), OperatingPoint())
    stored = json.loads((folder / "config.json").read_text()) if broken != "missing" else {}
    if broken == "config":
        (folder / "config.json").write_text("{")
    elif broken in ("network", "point"):
        del stored["network" if broken == "network" else "operating_point"]
        (folder / "config.json").write_text(json.dumps(stored))
    elif broken == "weights":
        weights = folder / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    elif broken == "other":
        stored["network"]["neck_width"] = 24
        (folder / "config.json").write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match=str(folder)) as refusal:
        load_detector(folder)
    assert "\n" not in str(refusal.value)
