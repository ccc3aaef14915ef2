"""Tests of model.training.prepare.readers.agedb."""

from collections.abc import Callable
from pathlib import Path

from tests.model.training.prepare.conftest import Photo, Prepared


def test_labels_by_name(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Person, age and gender come from the name; other files are named."""
    names = ("0_MariaCallas_35_f.jpg", "10000_GlennClose_62_f.jpg", "7_JamesStewart_9_m.jpg", "cover.jpg")
    for name, photo in zip(names, photos, strict=False):
        photo.save(tmp_path / "AgeDB" / name)
    made = prepared("agedb", tmp_path / "AgeDB")
    faces = made.table()
    assert faces.names == names[:3]
    assert [faces.identity_names[number] for number in faces.identity] == [
        "made:MariaCallas",
        "made:GlennClose",
        "made:JamesStewart",
    ]
    assert (faces.age.tolist(), faces.gender.tolist()) == ([35, 62, 9], [0, 0, 1])
    assert made.left_out == {"cover.jpg": "malformed name"}


def test_people_are_held_out_whole(
    tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]
) -> None:
    """A held-out share never cuts a person's images into training and validation."""
    for person in range(12):
        for number in range(2):
            photos[0].save(tmp_path / "AgeDB" / f"{2 * person + number}_Person{person}_30_m.jpg")
    made = prepared("agedb", tmp_path / "AgeDB", val_share=0.4)
    train, val = made.table(), made.table("val")
    assert len(train) + len(val) == 24
    assert not set(train.identity_names) & set(val.identity_names)
    assert 2 <= len(val) <= 20
