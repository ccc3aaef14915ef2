"""A tiny pack made by the export itself: real networks, real graphs, a real detector with untrained weights."""

from pathlib import Path
from typing import Final

import torch

from export.assembly import Order, export_checkpoint
from export.progress import Stages
from model.checkpoint import save
from model.detector.checkpoint import OperatingPoint, save_detector
from model.detector.config import DetectorConfig
from model.detector.network import DetectorNetwork
from tests.export.conftest import tiny_network

TINY_DETECTOR: Final = DetectorConfig(
    stem_width=4, widths=(4, 8, 8, 8), depths=(1, 1, 1, 1), neck_width=8, head_depth=1
)


def save_analyzer(folder: Path, seed: int = 0) -> Path:
    """A tiny analyzer's checkpoint; its folder."""
    save(folder, tiny_network(seed))
    return folder


def save_tiny_detector(folder: Path) -> Path:
    """A tiny detector's checkpoint, untrained: its scores stay under the operating point's. Its folder."""
    torch.manual_seed(3)
    save_detector(folder, DetectorNetwork(TINY_DETECTOR).eval(), OperatingPoint(min_score=0.75, nms_iou=0.35))
    return folder


def order(folder: Path, name: str = "tiny") -> Order:
    """What exports the tiny networks in a folder, which holds them already or gets them, into `folder/packs`."""
    analyzer, detector = folder / "analyzer-ema", folder / "detector-ema"
    if not analyzer.is_dir():
        save_analyzer(analyzer)
        save_tiny_detector(detector)
    return Order(analyzer, str(detector), name, "1.2.3", folder / "packs", license="MIT")


def make_pack(folder: Path) -> Path:
    """Exports the tiny pack; its folder."""
    return export_checkpoint(order(folder), Stages())
