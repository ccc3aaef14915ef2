from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.progress import Progress

from model.runtime.pack import find_pack, read_pack
from model.runtime.quality_curve import QualityCurve
from model.runtime.session import open_session
from model.training.dataset import FaceTable
from model.training.detection.scenes import read_scenes
from model.training.evaluation.quality.correlation import Errors, curve
from model.training.evaluation.quality.drawing import draw_quality
from model.training.evaluation.quality.errors import genuine_pairs
from model.training.evaluation.quality.inspection import Inspection, sharpness
from model.training.evaluation.quality.scenes import scene_curves
from tests.model.training.evaluation.test_curves import _is_drawn
from tests.model.training.evaluation.test_matching import _table

NUM = 240


def _textured() -> NDArray[np.uint8]:
    """Crops of noise, the later ones the finer."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (NUM, 112, 112, 3)).astype(np.float64)
    strength = np.linspace(0.02, 0.5, NUM)[:, None, None, None]
    return (128 + (noise - 128) * strength).astype(np.uint8)


def _faces() -> FaceTable:
    identity = np.tile(np.arange(NUM // 4), 4)
    table = replace(_table(identity, np.zeros(NUM, np.int64)), images=_textured())
    return replace(table, age=np.full(NUM, 30, np.float32))


def _blind(images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """An analyzer that needs detail: the less sharp a crop, the more years it is off and the farther its embedding."""
    sharp = np.array([sharpness(image[None])[0] for image in images])
    gender = np.stack([np.where(sharp > 0.4, 0.9, 0.2), np.where(sharp > 0.4, 0.1, 0.8)], 1)
    embedding = np.stack([np.ones(len(sharp)), 3 * (1 - sharp)], 1)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    return {
        "age": (30 + 20 * (1 - sharp)).astype(np.float32),
        "gender": gender.astype(np.float32),
        "embedding": embedding.astype(np.float32),
    }


@pytest.fixture(scope="module")
def curves() -> list[QualityCurve]:
    """What an inspection draws of an analyzer that needs detail."""
    table = _faces()
    with Progress(disable=True) as progress:
        return Inspection("c", threshold=0.98).curves(_blind, table, _blind(_textured()), None, progress)


def _of(curves: list[QualityCurve], task: str, quality: str, how: str) -> QualityCurve:
    return next(each for each in curves if (each.task, each.quality, each.how) == (task, quality, how))


def test_an_error_that_goes_with_sharpness_is_found_so(curves: list[QualityCurve]) -> None:
    """Ages that are off by how blurred a crop is correlate with sharpness at -1, as they are and degraded."""
    assert _of(curves, "age", "sharpness", "measured").spearman == pytest.approx(-1, abs=0.01)
    assert _of(curves, "age", "sharpness", "degraded").spearman == pytest.approx(-1, abs=0.01)
    assert _of(curves, "gender", "sharpness", "measured").spearman_high < 0


def test_smaller_and_blurred_faces_are_worse_step_by_step(curves: list[QualityCurve]) -> None:
    """Errors rise with the blur and fall with the size, and the face as it was is among the steps."""
    by_size = [part.error for part in _of(curves, "age", "size_px", "degraded").bins]
    by_blur = [part.error for part in _of(curves, "age", "blur_sigma_px", "degraded").bins]
    assert by_size == sorted(by_size, reverse=True)
    assert by_blur == sorted(by_blur)
    assert _of(curves, "age", "blur_sigma_px", "degraded").bins[0].low == 0.0


def test_pairs_go_by_the_poorer_picture(curves: list[QualityCurve]) -> None:
    """Pairs of one person are judged at the threshold that was given, every one of them."""
    found = _of(curves, "embedding", "sharpness", "measured")
    assert (found.error, found.num_samples) == ("false_non_match", NUM // 4 * 6)
    assert _of(curves, "embedding", "size_px", "degraded").spearman < 0


def test_genuine_pairs_are_every_pair_of_one_persons_faces() -> None:
    """Strangers and faces of nobody known make no pair."""
    first, second = genuine_pairs(np.array([3, -1, 5, 3, -1, 3, 5]))
    pairs = {frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)}
    assert pairs == {frozenset(pair) for pair in ((0, 3), (0, 5), (3, 5), (2, 6))}


def test_crops_of_another_alignment_have_no_curves() -> None:
    """Quality is measured in the five-point alignment, so CelebA's own crops are passed over."""
    table = replace(_faces(), alignment="celeba")
    with Progress(disable=True) as progress:
        assert Inspection("c").curves(_blind, table, _blind(_textured()), None, progress) == []


def test_curves_are_drawn(curves: list[QualityCurve], tmp_path: Path) -> None:
    """Faces as they are, degraded ones and detection have a picture each, and none is drawn of nothing."""
    assert draw_quality([], tmp_path) == ()
    errors = Errors("detection", "missed", (np.arange(200) % 2).astype(np.float64))
    missed = curve(errors, "size_px", np.linspace(12, 300, 200), "detection-val", "measured", "c")
    assert missed is not None
    drawn = draw_quality([*curves, missed], tmp_path)
    assert [path.name for path in drawn] == ["quality-faces.png", "quality-degraded.png", "quality-detection.png"]
    assert all(_is_drawn(path) for path in drawn)


def test_small_faces_on_real_photographs_are_missed_more_often(shared_data: Path) -> None:
    """The shipped detector misses more of the faces that photographs were shrunk to, and places them worse."""
    from model.runtime.detection import Detector

    folder = find_pack("nano")
    part = read_pack(folder).detector
    scenes = [scene for scene in read_scenes(shared_data, "val") if scene.kind == "photo"][:60]
    found = scene_curves(Detector(open_session(folder / part.file), part), scenes, "c")
    shrunk = _of(found, "detection", "size_px", "degraded")
    assert shrunk.spearman_high < 0
    assert shrunk.bins[0].error > shrunk.bins[-1].error
