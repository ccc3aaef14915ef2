"""Tests of model.training.dataset."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.training.dataset import DataError, read_faces
from tests.model.training.faces import SIDE_PX, webp, write_rows, write_sets


def _pixels(value: int) -> np.ndarray:
    return np.full((SIDE_PX, SIDE_PX, 3), value, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of one set: three labelled rows, then one without any label."""
    known = {"age": 4.5, "gender": 1, "race": 2, "expression": 6, "attributes": [1, 0] * 20, "teacher": [0.5] * 128}
    rows = [
        {"name": f"{n}.jpg", "image": webp(_pixels(10 * n)), "identity": f"celeba:{9 - n}", **known} for n in range(3)
    ]
    write_rows(tmp_path / "celeba-train-00.parquet", rows)
    write_rows(tmp_path / "celeba-train-01.parquet", [{"name": "3.jpg", "image": webp(_pixels(30))}])
    return tmp_path


def test_files_are_read_in_order(folder: Path) -> None:
    """The rows of NN files follow each other, and each image decodes to its own row, RGB."""
    faces = read_faces(folder, "celeba", "train")
    assert faces.names == ("0.jpg", "1.jpg", "2.jpg", "3.jpg")
    assert len(faces) == 4
    assert faces.images.shape == (4, SIDE_PX, SIDE_PX, 3)
    assert faces.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30]


def test_labels(folder: Path) -> None:
    """A labelled row keeps its labels; identities are numbered in the order of their sorted names."""
    faces = read_faces(folder, "celeba", "train")
    assert faces.identity_names == ("celeba:7", "celeba:8", "celeba:9")
    assert faces.identity.tolist() == [2, 1, 0, -1]
    assert faces.age[0] == 4.5
    assert (faces.gender[0], faces.race[0], faces.expression[0]) == (1, 2, 6)
    assert faces.attributes[0].tolist() == [1, 0] * 20
    assert faces.teacher[0].tolist() == [0.5] * 128


def test_unknown_labels_are_marked(folder: Path) -> None:
    """What a row does not know is NaN where it is a float and -1 where it is an integer."""
    faces = read_faces(folder, "celeba", "train")
    assert np.isnan(faces.age[3])
    assert np.isnan(faces.teacher[3]).all()
    assert (faces.gender[3], faces.race[3], faces.expression[3]) == (-1, -1, -1)
    assert (faces.attributes[3] == -1).all()


def test_cache_gives_the_same_pixels(folder: Path, tmp_path: Path) -> None:
    """With a cache the second reading takes the pixels from it, and they are those of the first."""
    cache = tmp_path / "cache"
    first = read_faces(folder, "celeba", "train", cache)
    (file,) = cache.iterdir()
    stamp = file.stat().st_mtime_ns
    second = read_faces(folder, "celeba", "train", cache)
    assert np.array_equal(first.images, second.images)
    assert isinstance(second.images, np.memmap)
    assert file.stat().st_mtime_ns == stamp


def test_cache_follows_the_data(folder: Path, tmp_path: Path) -> None:
    """When a data file changes, its pixels are decoded anew."""
    cache = tmp_path / "cache"
    read_faces(folder, "celeba", "train", cache)
    write_rows(folder / "celeba-train-01.parquet", [{"name": "new.jpg", "image": webp(_pixels(200))}])
    assert read_faces(folder, "celeba", "train", cache).images[3, 0, 0, 0] == 200


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        ("no folder", "no data folder at"),
        ("no set", "holds no lfw-val.parquet"),
        ("torn file", "cannot read .*celeba-train-00.parquet"),
        ("no column", "celeba-train-00.parquet lacks the column 'age'"),
        ("torn image", "the image of row 0"),
        ("small image", "the image of row 0"),
        ("no rows", "holds no rows"),
    ],
)
def test_unusable_data(folder: Path, breakage: str, message: str) -> None:
    """Data that cannot be used is refused in one line that names the folder, the file or the row."""
    first, data, dataset, split = folder / "celeba-train-00.parquet", folder, "celeba", "train"
    if breakage == "no folder":
        data = folder / "absent"
    elif breakage == "no set":
        dataset, split = "lfw", "val"
    elif breakage == "torn file":
        first.write_bytes(b"PAR1 torn")
    elif breakage == "no column":
        pq.write_table(pq.read_table(first).drop_columns(["age"]), first)
    elif breakage == "torn image":
        write_rows(first, [{"name": "a", "image": b"RIFF"}])
    elif breakage == "small image":
        write_rows(first, [{"name": "a", "image": webp(np.zeros((10, 10, 3), np.uint8))}])
    else:
        (folder / "celeba-train-01.parquet").unlink()
        write_rows(first, [])
    with pytest.raises(DataError, match=message) as error:
        read_faces(data, dataset, split)
    assert "\n" not in str(error.value)


def test_made_up_sets_are_read(tmp_path: Path) -> None:
    """Each training set is read with the labels that the real one has, and no other."""
    write_sets(tmp_path)
    known = {
        name: {
            label
            for label in ("identity", "age", "gender", "race", "expression", "attributes", "teacher")
            if _is_known(getattr(read_faces(tmp_path, name, "train"), label))
        }
        for name in ("celeba", "utkface", "fer2013")
    }
    assert known == {
        "celeba": {"identity", "gender", "attributes", "teacher"},
        "utkface": {"age", "gender", "race", "teacher"},
        "fer2013": {"expression", "teacher"},
    }


def _is_known(labels: np.ndarray) -> bool:
    return bool((~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0).all())


def test_real_sets_are_whole(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The real CelebA validation split has its documented rows, people and labels, and no teacher."""
    faces = read_faces(shared_data, "celeba", "val", tmp_path_factory.mktemp("cache"))
    assert len(faces) == 1098
    assert len(faces.identity_names) == 60
    assert (faces.attributes >= 0).all()
    assert (faces.identity >= 0).all()
    assert np.isnan(faces.teacher).all()
    assert np.asarray(faces.images).std() > 30


def test_a_column_without_values_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of which every row is null, over which a release of pyarrow stumbles, are never asked for."""
    asked: list[list[str]] = []
    read = pq.ParquetFile.read

    def reading(self: pq.ParquetFile, columns: list[str]) -> object:
        asked.append(columns)
        return read(self, columns)

    monkeypatch.setattr(pq.ParquetFile, "read", reading)
    write_rows(folder / "bare-train.parquet", [{"name": "a.jpg", "image": webp(np.zeros((112, 112, 3), np.uint8))}] * 2)
    table = read_faces(folder, "bare", "train")
    assert asked == [["name"]]
    assert len(table) == 2
    assert (table.attributes == -1).all()
    assert np.isnan(table.teacher).all()
    assert (table.identity == -1).all()
