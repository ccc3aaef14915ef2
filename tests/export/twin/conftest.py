"""Fixtures of the twins' tests: a real network with matrices that are worth quantising, and a few real faces."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from export.assembly import Order, export_checkpoint
from export.progress import Stages
from export.twin.crops import training_crops
from export.twin.quantisation import Quantiser
from model.checkpoint import save
from model.config import NANO, FusionConfig, NetworkConfig, SwinConfig
from model.network import MultiTaskNetwork
from tests.export.packs import save_tiny_detector

_CONFIG = NetworkConfig(
    backbone=SwinConfig(side_px=112, patch_px=8, embed_dim=32, depths=(2, 1), num_heads=(1, 2)),
    fusion=FusionConfig(widths=(16, 16), reduction=2),
    groups=NANO.groups,
    embedding_dim=32,
    fc_dim=8,
    age_offset_years=33.0,
    age_scale_years=20.0,
)
_NUM_ROWS = 40


@pytest.fixture(scope="session")
def quantisable_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of an untrained network whose convolutions and matrix products are large enough to be quantised."""
    folder = tmp_path_factory.mktemp("quantisable")
    torch.manual_seed(1)
    save(folder / "analyzer", MultiTaskNetwork(_CONFIG).eval())
    save_tiny_detector(folder / "detector")
    made = Order(folder / "analyzer", str(folder / "detector"), "plain", "1.0.0", folder / "packs", license="MIT")
    return export_checkpoint(made, Stages())


@pytest.fixture(scope="session")
def few_faces(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with some forty real faces of every set and split, and the pairs that are among them."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("celeba", "utkface", "fer2013"):
        _write(
            folder / f"{name}-train.parquet", pq.read_table(shared_data / f"{name}-train-00.parquet"), range(_NUM_ROWS)
        )
    for name in ("utkface", "fer2013"):
        _write(folder / f"{name}-val.parquet", pq.read_table(shared_data / f"{name}-val.parquet"), range(_NUM_ROWS))
    for name in ("celeba", "lfw"):
        _write_with_pairs(shared_data, folder, name)
    return folder


@pytest.fixture(scope="session")
def real_crops(few_faces: Path) -> NDArray[np.uint8]:
    """Twelve training crops."""
    return training_crops(few_faces, 112, "arcface-5pt", 12)


@pytest.fixture(scope="session")
def quantiser(quantisable_pack: Path) -> Quantiser:
    """Of the pack's analyzer."""
    return Quantiser((quantisable_pack / "analyzer.onnx").read_bytes())


def _write(path: Path, table: pa.Table, rows: Sequence[int]) -> None:
    pq.write_table(table.take(list(rows)), path)


def _write_with_pairs(source: Path, folder: Path, name: str) -> None:
    """One pair of each kind a fold, and the images that they name."""
    with (source / f"{name}-val-pairs.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    first = {(line["fold"], line["same"]): line for line in reversed(lines)}
    table = pq.read_table(source / f"{name}-val.parquet")
    row_of = {image: row for row, image in enumerate(table["name"].to_pylist())}
    _write(
        folder / f"{name}-val.parquet",
        table,
        sorted({row_of[line[key]] for line in first.values() for key in ("name_a", "name_b")}),
    )
    with (folder / f"{name}-val-pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(first.values())
