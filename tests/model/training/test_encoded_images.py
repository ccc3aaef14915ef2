"""Tests of model.training.encoded_images, and of the large sets of model.training.dataset."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from model.training import dataset, encoded_images
from model.training.batches import Mixture
from model.training.dataset import DataError, default_cache, read_faces
from model.training.encoded_images import EncodedImages, image_batches, write_encoded
from tests.model.training.faces import SCHEMA, SIDE_PX, webp, write_rows, write_sets

NUM_ROWS = 14


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The made-up sets, 14 rows each; celeba in two files."""
    write_sets(tmp_path / "data", NUM_ROWS)
    return tmp_path / "data"


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every set counts as too large for memory, and is read five rows at a time."""
    monkeypatch.setattr(dataset, "MAX_DECODED_BYTES", 0)
    monkeypatch.setattr(encoded_images, "BATCH_ROWS", 5)


def test_both_ways_give_equal_batches(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch drawn from a set that stays encoded is that of the same set decoded in memory, labels and all."""
    names = ("celeba", "utkface", "fer2013")
    small = Mixture([read_faces(folder, name, "train") for name in names])
    monkeypatch.setattr(dataset, "MAX_DECODED_BYTES", 0)
    monkeypatch.setattr(encoded_images, "BATCH_ROWS", 5)
    encoded = Mixture([read_faces(folder, name, "train", tmp_path / "cache") for name in names])
    assert all(isinstance(table.images, EncodedImages) for table in encoded.tables.values())
    rng = np.random.default_rng(1)
    for _ in range(3):
        rows = {name: rng.integers(0, NUM_ROWS, 6) for name in names}
        one, other = small.batch(rows), encoded.batch(rows)
        for label in ("images", "identity", "age", "gender", "race", "expression", "attributes", "teacher"):
            assert torch.equal(torch.nan_to_num(getattr(one, label)), torch.nan_to_num(getattr(other, label))), label


@pytest.mark.usefixtures("large")
def test_indexing(folder: Path, tmp_path: Path) -> None:
    """Numbers, slices, arrays of numbers and of booleans, and further indices mean what they mean to NumPy."""
    images = read_faces(folder, "celeba", "train", tmp_path).images
    whole = np.asarray(images)
    assert images.shape == whole.shape == (NUM_ROWS, SIDE_PX, SIDE_PX, 3)
    assert len(images) == NUM_ROWS
    odd = np.arange(NUM_ROWS) % 2 == 1
    for rows in (3, -1, slice(2, 9, 3), slice(0, 0), np.array([5, 1, 5]), [0, 13], odd, np.array([[1, 2], [3, 4]])):
        assert np.array_equal(images[rows], whole[rows]), rows
    assert np.array_equal(images[:, 0, 0, 0], whole[:, 0, 0, 0])
    assert np.array_equal(images[2, 5], whole[2, 5])
    for wrong in (NUM_ROWS, -NUM_ROWS - 1, np.array([0, NUM_ROWS]), odd[:-1], np.array([0.5])):
        with pytest.raises(IndexError):
            images[wrong]


@pytest.mark.usefixtures("large")
def test_a_forked_process_decodes(folder: Path, tmp_path: Path) -> None:
    """After a fork, as a loader's workers are made, the child decodes with threads of its own."""
    images = read_faces(folder, "celeba", "train", tmp_path).images
    expected = images[:].sum()
    script = f"""
import os, sys
from pathlib import Path
from model.training.encoded_images import EncodedImages
images = EncodedImages(Path({str(next(tmp_path.glob("*.arrow")))!r}), 112, "set")
assert images[:].sum() == {expected}
child = os.fork()
if not child:
    os._exit(0 if images[:].sum() == {expected} else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


@pytest.mark.usefixtures("large")
def test_file_is_made_once(folder: Path, tmp_path: Path) -> None:
    """The second start opens the file that the first made; when the data change, another is made."""
    cache = tmp_path / "cache"
    read_faces(folder, "celeba", "train", cache)
    (file,) = cache.iterdir()
    stamp = file.stat().st_mtime_ns
    read_faces(folder, "celeba", "train", cache)
    assert file.stat().st_mtime_ns == stamp
    write_rows(
        folder / "celeba-train-01.parquet", [{"name": "new.jpg", "image": webp(np.full((112, 112, 3), 9, np.uint8))}]
    )
    changed = read_faces(folder, "celeba", "train", cache)
    assert changed.images[-1, 0, 0].tolist() == [9, 9, 9]


@pytest.mark.usefixtures("large")
def test_bad_image_is_named(folder: Path, tmp_path: Path) -> None:
    """An image that is no picture of the set's side is named by its row when it is drawn, and no other is harmed."""
    write_rows(
        folder / "lfw-val.parquet",
        [{"name": "a", "image": webp(np.zeros((112, 112, 3), np.uint8))}, {"name": "b", "image": b"RIFF"}],
    )
    images = read_faces(folder, "lfw", "val", tmp_path).images
    assert images[0].shape == (112, 112, 3)
    with pytest.raises(DataError, match="lfw-val: the image of row 1 is not a 112 x 112 picture"):
        images[[0, 1]]


@pytest.mark.usefixtures("large")
def test_cache_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    """A cache that takes no file is one clear line, and leaves none."""
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(DataError, match=r"cannot keep celeba-train in .*cache") as error:
        read_faces(folder, "celeba", "train", tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a cache folder, encoded images go where the person's caches go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "mien"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_cache() == Path("/home/somebody/.cache/mien")


def test_memory_does_not_grow_with_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gathering ten times the images takes no more memory: batches are let go as they are written."""
    monkeypatch.setattr(encoded_images, "BATCH_ROWS", 16)
    image = bytes(20_000)
    peaks = []
    for num_rows in (64, 640):
        file = tmp_path / f"{num_rows}.parquet"
        pq.write_table(
            pa.table({"image": pa.array([image] * num_rows, pa.binary())}),
            file,
            compression="NONE",
            use_dictionary=False,
        )
        held, peak = pa.total_allocated_bytes(), 0
        tracemalloc.start()

        def watch(_rows: int, held: int = held) -> None:
            nonlocal peak
            peak = max(peak, pa.total_allocated_bytes() - held)

        write_encoded([file], tmp_path / f"{num_rows}.arrow", watch)
        peaks.append((peak, tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
        assert len(EncodedImages(tmp_path / f"{num_rows}.arrow", 112, "set")) == num_rows
    assert max(peaks[1]) < 3_000_000 < 640 * len(image)
    assert max(peaks[1]) < max(peaks[0]) + 1_500_000


def test_batches_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images come no more than BATCH_ROWS at a time, in the order of the files, each once."""
    monkeypatch.setattr(encoded_images, "BATCH_ROWS", 3)
    files = sorted(folder.glob("celeba-train-*.parquet"))
    batches = list(image_batches(files))
    assert max(map(len, batches)) == 3
    read = [value for batch in batches for value in batch.to_pylist()]
    assert read == [value for file in files for value in pq.read_table(file)["image"].to_pylist()]


def _write(path: Path, side_px: int, metadata: dict[str, str] | None, num_rows: int = 2) -> None:
    rows = [{"name": f"{row}.jpg", "image": webp(np.zeros((side_px, side_px, 3), np.uint8))} for row in range(num_rows)]
    columns = {name: [row.get(name) for row in rows] for name in SCHEMA.names}
    pq.write_table(pa.table(columns, schema=SCHEMA.with_metadata(metadata)), path)


def test_side_and_alignment_are_the_files_own(tmp_path: Path) -> None:
    """A file's metadata say its crops' side and alignment; one without them holds 112 pixels by five points."""
    _write(tmp_path / "wide-val.parquet", 48, {"mien.side_px": "48", "mien.alignment": "celeba"})
    _write(tmp_path / "plain-val.parquet", 112, None)
    wide, plain = read_faces(tmp_path, "wide", "val"), read_faces(tmp_path, "plain", "val")
    assert (wide.images.shape, wide.alignment) == ((2, 48, 48, 3), "celeba")
    assert (plain.images.shape, plain.alignment) == ((2, 112, 112, 3), "arcface-5pt")


def test_files_that_differ_in_form_are_refused(tmp_path: Path) -> None:
    """Files of one set whose crops differ in side or alignment are refused in one line that names both."""
    _write(tmp_path / "set-val-00.parquet", 112, None)
    _write(tmp_path / "set-val-01.parquet", 48, {"mien.side_px": "48"})
    with pytest.raises(DataError, match=r"set-val-01.parquet holds crops of 48 pixels.*set-val-00.parquet of 112"):
        read_faces(tmp_path, "set", "val")


def test_numbers_of_any_length_are_read_in_order(tmp_path: Path) -> None:
    """Files are taken by their number, not by their text: 100 follows 99."""
    for number in ("98", "99", "100"):
        write_rows(
            tmp_path / f"set-train-{number}.parquet",
            [{"name": number, "image": webp(np.zeros((112, 112, 3), np.uint8))}],
        )
    assert read_faces(tmp_path, "set", "train").names == ("98", "99", "100")
    (tmp_path / "set-train-extra.parquet").write_bytes(b"another set's")
    assert len(read_faces(tmp_path, "set", "train")) == 3


def test_unfilled_columns_take_no_memory(folder: Path) -> None:
    """A list column that no row fills is one row that all share, and still reads like an array."""
    faces = read_faces(folder, "utkface", "train")
    assert faces.attributes.shape == (NUM_ROWS, 40)
    assert faces.attributes.strides == (0, 0)
    assert (faces.attributes[np.array([0, 5])] == -1).all()


def test_guesses_spread(tmp_path: Path) -> None:
    """The column age_sigma is read where a file has it; a set without it has none."""
    write_rows(
        tmp_path / "a-val.parquet", [{"name": "a", "image": webp(np.zeros((112, 112, 3), np.uint8)), "age": 20.0}]
    )
    table = pq.read_table(tmp_path / "a-val.parquet")
    pq.write_table(table.append_column("age_sigma", pa.array([3.5], pa.float32())), tmp_path / "b-val.parquet")
    assert read_faces(tmp_path, "a", "val").age_sigma is None
    sigma = read_faces(tmp_path, "b", "val").age_sigma
    assert sigma is not None
    assert sigma.tolist() == [3.5]
