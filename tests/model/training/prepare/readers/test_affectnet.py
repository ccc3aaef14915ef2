"""Tests of model.training.prepare.readers.affectnet."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError
from model.training.prepare.readers.affectnet import parse_expression
from tests.model.training.prepare.conftest import Photo, Prepared

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"


def _line(name: str, photo: Photo, expression: int) -> str:
    x1, y1 = photo.landmarks.min(0) - 20
    x2, y2 = photo.landmarks.max(0) + 20
    return f"{name},{x1:.0f},{y1:.0f},{x2 - x1:.0f},{y2 - y1:.0f},1;2;3;4,{expression},0.1,-0.2\n"


def test_first_release(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Both tables are parts; their order is turned into RAF-DB's; what is none of the seven is named."""
    root = tmp_path / "AffectNet"
    for number, photo in enumerate(photos[:5]):
        photo.save(root / "Manually_Annotated_Images" / "103" / f"{number}.jpg")
    lines = [_line(f"103/{number}.jpg", photos[number], expression) for number, expression in enumerate((0, 6, 7, 10))]
    (root / "training.csv").write_text(HEADER + "".join(lines) + _line("103/gone.jpg", photos[0], 2))
    wrong = "103/3.jpg,0,0,3,3,,3,0,0\n"
    (root / "validation.csv").write_text(HEADER + _line("103/4.jpg", photos[4], 3) + wrong)
    made = prepared("affectnet", root)
    train, val = made.table(), made.table("val")
    assert (train.names, train.expression.tolist()) == (("103/0.jpg", "103/1.jpg"), [6, 5])
    assert (val.names, val.expression.tolist()) == (("103/4.jpg",), [0])
    assert made.summary.left_out == {
        "expression is none of the seven (contempt)": 1,
        "expression is none of the seven (no face)": 1,
        "no such image": 1,
        "no face where the set has one": 1,
    }


def test_later_release(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Folders of images with an annotation each are read, whether it is a text or a number."""
    root = tmp_path / "AffectNet"
    values: tuple[object, ...] = ("1", 4, "7")
    for number, value in enumerate(values):
        photos[number].save(root / "train_set" / "images" / f"{number}.jpg")
        (root / "train_set" / "annotations").mkdir(exist_ok=True)
        np.save(root / "train_set" / "annotations" / f"{number}_exp.npy", np.array(value))
    photos[3].save(root / "val_set" / "images" / "9.jpg")
    made = prepared("affectnet", root)
    assert (made.table().names, made.table().expression.tolist()) == (("train_set/0.jpg", "train_set/1.jpg"), [3, 1])
    assert made.left_out == {
        "train_set/2.jpg": "expression is none of the seven (contempt)",
        "val_set/9.jpg": "no annotation",
    }


def test_a_pickled_annotation_is_no_annotation(
    tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]
) -> None:
    """An annotation that is a pickle is never opened: the row is named."""
    root = tmp_path / "AffectNet" / "val_set"
    for number in range(2):
        photos[number].save(root / "images" / f"{number}.jpg")
    (root / "annotations").mkdir()
    np.save(root / "annotations" / "0_exp.npy", np.array("0"))
    np.save(root / "annotations" / "1_exp.npy", np.array({"a": 1}, object), allow_pickle=True)
    assert prepared("affectnet", root.parent).left_out == {"val_set/1.jpg": "no annotation"}


def test_order() -> None:
    """AffectNet's seven numbers become neutral, happiness, sadness, surprise, fear, disgust, anger."""
    assert [parse_expression(str(number)) for number in range(7)] == [6, 3, 4, 0, 1, 2, 5]
    for text in ("7", "11", "-1", "happy", ""):
        with pytest.raises(LabelError):
            parse_expression(text)


def test_wrong_layout(tmp_path: Path, prepared: Callable[..., Prepared]) -> None:
    """A source of neither release is one clear line."""
    with pytest.raises(DataError, match=r"is not laid out as AffectNet: no training.csv and no train_set/images"):
        prepared("affectnet", tmp_path)
