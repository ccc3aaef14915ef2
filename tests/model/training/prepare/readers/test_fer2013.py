"""Tests of model.training.prepare.readers.fer2013 and of readers.ferplus, which reads the same images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError
from model.training.prepare.readers.ferplus import majority
from tests.model.training.prepare.conftest import Photo, Prepared

USAGES = ("Training", "Training", "PublicTest", "PrivateTest", "Training", "Training")
EMOTIONS = (0, 3, 5, 6, 9, 1)
VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
VOTES = (
    "fer0000000.png,0,8,2,0,0,0,0,0,0,0",
    ",0,0,0,0,0,0,0,0,0,10",
    "fer0000002.png,1,0,9,0,0,0,0,0,0,0",
    "fer0000003.png,1,1,1,1,1,1,2,1,1,0",
    "fer0000004.png,0,0,0,0,0,0,0,9,1,0",
    "fer0000005.png,5,5,0,0,0,0,0,0,0,0",
)


def _numbers(photo: Photo) -> str:
    x, y = photo.landmarks.mean(0)
    reach = 1.6 * float(np.ptp(photo.landmarks, 0).max())
    face = Image.fromarray(photo.pixels).crop((int(x - reach), int(y - reach), int(x + reach), int(y + reach)))
    return " ".join(map(str, np.asarray(face.convert("L").resize((48, 48))).reshape(-1)))


@pytest.fixture
def root(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """Six grey faces of 48 pixels; the fifth has no emotion, the last one number too few."""
    pixels = [_numbers(photo) for photo in photos[:6]]
    pixels[5] = pixels[5].rsplit(" ", 1)[0]
    rows = "".join(f'{e},"{p}",{u}\n' for e, p, u in zip(EMOTIONS, pixels, USAGES, strict=True))
    (tmp_path / "fer").mkdir()
    (tmp_path / "fer" / "fer2013.csv").write_text(f"emotion,pixels,Usage\n{rows}")
    return tmp_path / "fer"


def test_numbers_become_faces(root: Path, prepared: Callable[..., Prepared]) -> None:
    """Each usage is a split, emotions turn into RAF-DB's order, faces are found at 48 pixels, bad rows are named."""
    made = prepared("fer2013", root)
    train = made.table()
    assert (train.names, train.expression.tolist()) == (("fer0000000.png", "fer0000001.png"), [5, 3])
    assert made.table("val").expression.tolist() == [0]
    assert made.table("test").expression.tolist() == [6]
    assert made.left_out == {"fer0000004.png": "expression is out of range", "fer0000005.png": "image cannot be read"}


def test_headers_with_blanks(root: Path, prepared: Callable[..., Prepared]) -> None:
    """Kaggle's later copy, whose header has blanks, gives the same rows."""
    text = (root / "fer2013.csv").read_text().replace("emotion,pixels,Usage", "emotion, Usage, pixels", 1)
    lines = text.splitlines()
    turned = [f"{e},{u},{p}" for e, p, u in (line.replace('"', "").split(",") for line in lines[1:])]
    (root / "icml_face_data.csv").write_text("\n".join([lines[0], *turned]))
    (root / "fer2013.csv").unlink()
    assert prepared("fer2013", root).table().expression.tolist() == [5, 3]


def test_votes(root: Path, prepared: Callable[..., Prepared]) -> None:
    """FERPlus's majority is the label; rows that it took out, or on which nobody agrees, are named."""
    rows = "".join(f"{usage},{votes}\n" for usage, votes in zip(USAGES, VOTES, strict=True))
    (root / "fer2013new.csv").write_text(VOTES_HEADER + rows)
    made = prepared("ferplus", root)
    assert (made.table().names, made.table().expression.tolist()) == (("fer0000000.png",), [3])
    assert (made.table("val").names, made.table("val").expression.tolist()) == (("fer0000002.png",), [0])
    assert (made.table("test").names, made.table("test").expression.tolist()) == (("fer0000003.png",), [1])
    assert made.left_out == {
        "fer0000001.png": "taken out by FERPlus",
        "fer0000004.png": "expression is none of the seven (contempt)",
        "fer0000005.png": "no majority",
    }


def test_majority() -> None:
    """A single vote is dropped; what remains must be more than half for one class."""
    assert majority({"neutral": 4, "fear": 1, "anger": 3, "sadness": 0}) == 6
    assert majority({"fear": 2, "anger": 1, "neutral": 1, "disgust": 1}) == 1
    for votes in (
        {"neutral": 5, "fear": 5},
        {"neutral": 1, "fear": 1},
        {},
        {"unknown": 9},
        {"neutral": 2, "fear": 3, "anger": 3},
    ):
        with pytest.raises(LabelError):
            majority(votes)


def test_wrong_layout(root: Path, prepared: Callable[..., Prepared]) -> None:
    """A source without the table, or without the votes, is one clear line."""
    with pytest.raises(DataError, match=r"is not laid out as FERPlus: there is no fer2013new.csv"):
        prepared("ferplus", root)
    (root / "fer2013.csv").unlink()
    with pytest.raises(DataError, match=r"is not laid out as FER2013: there is no fer2013.csv"):
        prepared("fer2013", root)
