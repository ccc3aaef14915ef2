"""Tests of model.training.prepare.readers.celeba."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from model.runtime.alignment import celeba_matrix, warp
from model.runtime.labels import ATTRIBUTES
from model.training.data_error import DataError
from tests.model.training.prepare.conftest import Photo, Prepared, decoded, jpeg

NAMES = ("000001.jpg", "000002.jpg", "000003.jpg", "000004.jpg", "000005.jpg")
HEADER = [  # CelebA's own spelling
    "_".join(word if word in ("o", "5") else word.capitalize() for word in name.split("_")) for name in ATTRIBUTES
]
VALUES = np.where(np.random.default_rng(3).integers(0, 2, (5, 40)), 1, -1)


def _official(photo: Photo) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """CelebA's official crop of a photograph, 178 x 218, and the landmarks on it."""
    square = celeba_matrix(photo.landmarks, 218)
    stretch = np.diag([178 / 218, 1.0])
    crop = warp(photo.pixels, square, 218, "replicate")
    from PIL import Image

    narrow = np.asarray(Image.fromarray(crop).resize((178, 218)))
    return narrow, (photo.landmarks @ square[:, :2].T + square[:, 2]) @ stretch


def _lists(root: Path, landmarks: NDArray[np.float64], stem: str) -> None:
    for folder in ("Anno", "Eval"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{name} {'  '.join(map(str, values))}\n" for name, values in zip(NAMES, VALUES, strict=True))
    (root / "Anno" / "list_attr_celeba.txt").write_text(f"{len(NAMES)}\n{' '.join(HEADER)} \n{rows}")
    (root / "Anno" / "identity_CelebA.txt").write_text("".join(f"{n} {i % 2 + 2880}\n" for i, n in enumerate(NAMES)))
    parts = (0, 0, 1, 2, 0)
    text = "".join(f"{name} {part}\n" for name, part in zip(NAMES, parts, strict=True))
    (root / "Eval" / "list_eval_partition.txt").write_text(text)
    header = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    rows = "".join(
        f"{name} {' '.join(str(round(value)) for value in points.reshape(-1))}\n"
        for name, points in zip(NAMES, landmarks, strict=False)
    )
    (root / "Anno" / f"{stem}.txt").write_text(f"{len(NAMES)}\n{header}\n{rows}")


@pytest.fixture
def aligned(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """The set with its official crops, the fifth image missing."""
    root, images, points = tmp_path / "CelebA", tmp_path / "CelebA" / "Img" / "img_align_celeba", []
    images.mkdir(parents=True)
    for name, photo in zip(NAMES[:4], photos, strict=False):
        crop, landmarks = _official(photo)
        (images / name).write_bytes(jpeg(crop))
        points.append(landmarks)
    _lists(root, np.array(points), "list_landmarks_align_celeba")
    return root


def test_official_parts_labels_and_landmarks(
    aligned: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]
) -> None:
    """Each part goes to its split with identity, gender and attributes, cropped by the official landmarks."""
    made = prepared("celeba", aligned)
    train = made.table()
    assert train.names == NAMES[:2]
    assert (made.table("val").names, made.table("test").names) == ((NAMES[2],), (NAMES[3],))
    assert train.identity_names == ("made:2880", "made:2881")
    assert train.attributes.tolist() == (VALUES[:2] > 0).astype(int).tolist()
    assert train.gender.tolist() == (VALUES[:2, ATTRIBUTES.index("male")] > 0).astype(int).tolist()
    assert made.left_out == {NAMES[4]: "no such image"}
    # The official crop is coarse, and its landmarks are whole pixels.
    difference = np.abs(train.images[0].astype(int) - decoded(photos[0].aligned())).mean()
    assert difference < 12


def test_landmarks_and_not_the_detector_decide(aligned: Path, prepared: Callable[..., Prepared]) -> None:
    """Moving an official landmark moves the crop."""
    before = prepared("celeba", aligned).table().images[0].astype(int)
    path = aligned / "Anno" / "list_landmarks_align_celeba.txt"
    count, header, first, *rest = path.read_text().splitlines()
    name, x, y, *others = first.split()
    path.write_text("\n".join([count, header, " ".join([name, str(int(x) - 20), y, *others]), *rest]))
    after = prepared("celeba", aligned, name="moved").table().images[0].astype(int)
    assert np.abs(before - after).mean() > 10


def test_official_crops_for_networks_trained_on_them(aligned: Path, prepared: Callable[..., Prepared]) -> None:
    """With `celeba` alignment the whole official crop is squeezed to the side asked for, and the file says so."""
    made = prepared("celeba", aligned, alignment="celeba", side_px=64)
    faces = made.table()
    assert (faces.images.shape, faces.alignment) == ((2, 64, 64, 3), "celeba")
    metadata = pq.read_schema(made.out / "made-train.parquet").metadata
    assert (metadata[b"mien.side_px"], metadata[b"mien.alignment"]) == (b"64", b"celeba")
    from PIL import Image

    with Image.open(aligned / "Img" / "img_align_celeba" / NAMES[0]) as image:
        expected = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(faces.images[0].astype(int) - expected).mean() < 4


def test_in_the_wild(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Images in the wild are cropped by their own landmarks, or found at their boxes where there are none."""
    root = tmp_path / "CelebA"
    for name, photo in zip(NAMES, photos, strict=False):
        photo.save(root / "Img" / "img_celeba" / name)
    _lists(root, np.array([photo.landmarks for photo in photos[:5]]), "list_landmarks_celeba")
    by_points = prepared("celeba", root).table()
    assert np.abs(by_points.images[0].astype(int) - decoded(photos[0].aligned())).mean() < 5
    (root / "Anno" / "list_landmarks_celeba.txt").unlink()
    boxes = [photo.landmarks.min(0).tolist() + np.ptp(photo.landmarks, 0).tolist() for photo in photos[:5]]
    boxes[1] = [0, 0, 4, 4]
    rows = "".join(f"{name} {' '.join(str(round(v)) for v in box)}\n" for name, box in zip(NAMES, boxes, strict=True))
    (root / "Anno" / "list_bbox_celeba.txt").write_text(f"5\nimage_id x_1 y_1 width height\n{rows}")
    found = prepared("celeba", root, name="found")
    assert np.abs(found.table().images[0].astype(int) - by_points.images[0]).mean() < 5
    assert found.left_out == {NAMES[1]: "no face where the set has one"}


def test_kaggles_tables(aligned: Path, tmp_path: Path, prepared: Callable[..., Prepared]) -> None:
    """Kaggle's copy, tables with commas and the images a folder deeper, gives the same rows."""
    flat = tmp_path / "kaggle"
    (flat / "img_align_celeba").mkdir(parents=True)
    (aligned / "Img" / "img_align_celeba").rename(flat / "img_align_celeba" / "img_align_celeba")
    rows = "".join(f"{name},{','.join(map(str, values))}\n" for name, values in zip(NAMES, VALUES, strict=True))
    (flat / "list_attr_celeba.csv").write_text(f"image_id,{','.join(HEADER)}\n{rows}")
    parts = "".join(f"{name},{part}\n" for name, part in zip(NAMES, (0, 0, 1, 2, 0), strict=True))
    (flat / "list_eval_partition.csv").write_text(f"image_id,partition\n{parts}")
    faces = prepared("celeba", flat).table()
    assert faces.names == NAMES[:2]
    assert faces.attributes.tolist() == (VALUES[:2] > 0).astype(int).tolist()
    assert faces.identity.tolist() == [-1, -1]


def test_bad_rows(aligned: Path, prepared: Callable[..., Prepared]) -> None:
    """A row of fewer than 40 values, or of others than 1 and -1, is named."""
    path = aligned / "Anno" / "list_attr_celeba.txt"
    lines = path.read_text().splitlines()
    lines[2] = " ".join(lines[2].split()[:-1])
    lines[3] = " ".join([*lines[3].split()[:-1], "7"])
    path.write_text("\n".join(lines))
    made = prepared("celeba", aligned)
    assert made.left_out[NAMES[0]] == "39 attributes, not 40"
    assert made.left_out[NAMES[1]] == "an attribute is neither 1 nor 0 nor -1"


def test_wrong_layout(aligned: Path, prepared: Callable[..., Prepared]) -> None:
    """A source without the attributes' list, or with another's names, is one clear line."""
    path = aligned / "Anno" / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("Young", "Old"))
    with pytest.raises(DataError, match="does not name CelebA's 40 attributes"):
        prepared("celeba", aligned)
    path.unlink()
    with pytest.raises(DataError, match="is not laid out as CelebA: there is no list_attr_celeba"):
        prepared("celeba", aligned)
