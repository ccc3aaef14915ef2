"""Calibration against brute force."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.progress import Progress

from export.calibrate import FMRS, recalibrate, thresholds
from export.errors import ExportError
from model.runtime.pack import read_pack, verify_pack
from model.training.dataset import DataError


def people(
    num_people: int, num_each: int, noise: float, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit embeddings scattered around a centre for each person."""
    rng = np.random.default_rng(seed)
    identity = np.repeat(np.arange(num_people), num_each)
    rows = rng.normal(size=(num_people, 16))[identity] + noise * rng.normal(size=(len(identity), 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), identity


def test_thresholds_are_those_of_brute_force() -> None:
    """At each threshold the stated share of all impostor pairs is accepted and not one more; TAR is what is counted."""
    embeddings, identity = people(80, 4, 0.7)
    order = np.random.default_rng(1).permutation(len(identity))
    embeddings, identity = embeddings[order], identity[order]
    genuine: list[np.float32] = []
    impostor: list[np.float32] = []
    for a, b in itertools.combinations(range(len(identity)), 2):
        (genuine if identity[a] == identity[b] else impostor).append(np.float32(embeddings[a] @ embeddings[b]))
    found = thresholds(embeddings, identity, "synthetic people")
    assert (found.num_images, found.num_impostor_pairs, found.num_genuine_pairs) == (320, len(impostor), len(genuine))
    assert [row.fmr for row in found.thresholds] == [1e-2, 1e-3]  # 1e-4 would rest on five false matches
    for row in found.thresholds:
        ranked = np.sort(np.array(impostor))[::-1]
        allowed = int(row.fmr * len(impostor))
        # A matrix product adds in another order than a dot product: compare up to that.
        assert ranked[allowed] - 1e-6 <= row.threshold <= ranked[allowed - 1] + 1e-6
        accepted = int((np.array(impostor) >= row.threshold - 1e-6).sum())
        assert abs(accepted - allowed) <= 1
        assert row.tar == pytest.approx((np.array(genuine) >= row.threshold).mean(), abs=2 / len(genuine))
    assert found.thresholds[0].threshold < found.thresholds[1].threshold


def test_too_few_pairs_are_refused() -> None:
    """A set on which no stated rate can be measured is refused, with the number of its pairs."""
    embeddings, identity = people(4, 2, 0.5)
    with pytest.raises(ExportError, match="24 impostor and 4 genuine pairs are too few"):
        thresholds(embeddings, identity, "synthetic people")


def test_a_set_of_single_photographs_is_refused() -> None:
    """Without two photographs of anyone there is no genuine pair to accept."""
    embeddings, identity = people(100, 1, 0.5)
    with pytest.raises(ExportError, match="0 genuine pairs"):
        thresholds(embeddings, identity, "synthetic people")


def test_embeddings_that_tell_nobody_apart_are_refused() -> None:
    """Embeddings that are all alike have no threshold, and no pack gets one."""
    embeddings, identity = people(50, 2, 0.5)
    with pytest.raises(ExportError, match="cannot be kept: too many impostor pairs have similarity 1"):
        thresholds(np.tile(np.eye(16, dtype=np.float32)[:1], (len(embeddings), 1)), identity, "one face")


def test_recalibration_rewrites_manifest_and_card_alone(own_pack: Path, shared_data: Path) -> None:
    """Calibrating on a real set stores its pairs and thresholds, rewrites the card, and keeps files and hashes."""
    before = read_pack(own_pack)
    files = {path: path.read_bytes() for path in own_pack.rglob("*") if path.suffix in (".onnx", ".safetensors")}
    found = recalibrate(own_pack, shared_data, Progress(disable=True), "celeba")
    after = read_pack(own_pack)
    assert after.verification == found
    assert found.num_images == 1098
    assert found.num_impostor_pairs + found.num_genuine_pairs == 1098 * 1097 // 2
    assert [row.fmr for row in found.thresholds] == list(FMRS)
    assert after.model_copy(update={"verification": None}) == before
    verify_pack(own_pack, after, checkpoints=True)
    assert {path: path.read_bytes() for path in files} == files
    assert f"{found.num_impostor_pairs:,} impostor" in (own_pack / "CARD.md").read_text()


def test_a_missing_set_leaves_the_pack_as_it_is(own_pack: Path, tmp_path: Path) -> None:
    """Calibrating on a folder without the set fails in one line and changes no file."""
    before = {path: path.read_bytes() for path in own_pack.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=r"lfw-val\.parquet"):
        recalibrate(own_pack, tmp_path, Progress(disable=True))
    assert {path: path.read_bytes() for path in own_pack.rglob("*") if path.is_file()} == before
