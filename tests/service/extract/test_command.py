"""`mien extract`: every form of SOURCE and TARGET, bad images, and mistakes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from model.runtime.labels import TASKS
from service.analysis import Options
from service.app import open_analyzer
from service.extract.rows import columns, from_base64
from tests.packs import build_pack
from tests.service.extract.conftest import GREEN, RED, TWO, Extract, one_line
from tests.service.serving import settings_for


@pytest.fixture(scope="module")
def embeddings(tiny_pack: Path) -> dict[str, np.ndarray]:
    """Each photograph's largest face's embedding, asked for one by one."""
    with open_analyzer(settings_for(tiny_pack)) as analyzer:
        images = analyzer.analyze([RED, GREEN, TWO], Options(("embedding",))).images
    return {
        name: image.faces[0].outputs["embedding"]
        for name, image in zip(("anna_1", "anna_2", "ben_1"), images, strict=True)
    }


def test_a_folder_gets_an_embedding_an_image(
    extract: Extract, people: Path, tmp_path: Path, embeddings: dict[str, np.ndarray]
) -> None:
    """`FOLDER/<image's folder>/<stem>.npy` holds the largest face's float32 embedding; who has no face is named."""
    result = extract(people, "--out", tmp_path / "features")
    assert result.exit_code == 0, result.stderr
    found = {path.stem: path for path in (tmp_path / "features").rglob("*") if path.is_file()}
    assert sorted(str(path.relative_to(tmp_path)) for path in found.values()) == [
        "features/anna/anna_1.npy",
        "features/anna/anna_2.npy",
        "features/ben/ben_1.npy",
    ]
    for name, embedding in embeddings.items():
        stored = np.load(found[name])
        assert (stored.dtype, stored.shape) == (np.float32, (12,))
        np.testing.assert_array_equal(stored, embedding)
    assert f"{people}/none/none_1.png: no face" in result.stderr
    assert "4 images, 3 faces, 0 bad, 1 without a face" in result.stderr


def test_several_faces_are_numbered_by_size(extract: Extract, people: Path, tmp_path: Path) -> None:
    """With `--max-faces` over one, `_1` is the largest face, `_2` the next."""
    assert extract(people, "--out", tmp_path / "f", "--max-faces", 2).exit_code == 0
    names = sorted(path.name for path in (tmp_path / "f").rglob("*.npy"))
    assert names == ["anna_1_1.npy", "anna_2_1.npy", "ben_1_1.npy", "ben_1_2.npy"]
    largest, other = (np.load(tmp_path / "f" / "ben" / f"ben_1_{number}.npy") for number in (1, 2))
    assert not np.allclose(largest, other)


def test_csv_jsonl_and_parquet_hold_the_same_rows(extract: Extract, people: Path, tmp_path: Path) -> None:
    """A row a face in the source's order, in three forms with the same numbers, to the last bit of each float32."""
    pq = pytest.importorskip("pyarrow.parquet")
    for form in ("csv", "jsonl", "parquet"):
        result = extract(people, "--out", tmp_path / f"faces.{form}")
        assert result.exit_code == 0, result.stderr
    with (tmp_path / "faces.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    objects = [json.loads(line) for line in (tmp_path / "faces.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "faces.parquet")
    assert list(rows[0]) == table.column_names == [column.name for column in columns(TASKS)]
    faces = [("anna_1", 1), ("anna_2", 1), ("ben_1", 1), ("ben_1", 2)]
    for row, said, kept, (stem, number) in zip(rows, objects, table.to_pylist(), faces, strict=True):
        assert (Path(row["path"]).stem, row["face"]) == (stem, str(number))
        assert (row["path"], number) == (said["path"], said["face"]) == (kept["path"], kept["face"])
        for name in ("box_x1", "score", "nose_y", "quality_yaw", "age", "race_indian", "attribute_young"):
            assert np.float32(row[name]) == np.float32(kept[name])
        embedding = from_base64(row["embedding"])
        np.testing.assert_array_equal(embedding, np.float32(said["embedding"]))
        np.testing.assert_array_equal(embedding, np.float32(kept["embedding"]))
        assert row["gender"] == said["gender"]["label"] == kept["gender"]
    assert table.schema.metadata[b"mien.pack"] == b"tiny 1.0.0"
    assert list(tmp_path.glob("faces.*.*")) == []


def test_a_text_file_gets_the_published_prediction(extract: Extract, people: Path, tmp_path: Path) -> None:
    """`path race gender age` of each image's largest face, in the list's order, whatever the list says of them."""
    listed = tmp_path / "list.txt"
    listed.write_text("ben/ben_1.png 4 1 70\nanna/anna_1.png 0 0 2\nnone/none_1.png 0 0 2\n")
    result = extract(listed, "--root", people, "--out", tmp_path / "predicted.txt")
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in (tmp_path / "predicted.txt").read_text().splitlines()]
    assert [line[0] for line in lines] == [f"{people}/ben/ben_1.png", f"{people}/anna/anna_1.png"]
    for _, race, gender, age in lines:
        assert (race in "01234", gender in "01", age.isdigit()) == (True, True, True)
    some = extract(listed, "--root", people, "--out", tmp_path / "some.txt", "--tasks", "age,race")
    assert some.exit_code == 0
    assert [line.split() for line in (tmp_path / "some.txt").read_text().splitlines()] == [
        [path, race, age] for path, race, _, age in lines
    ]


def test_aligned_crops_are_not_searched_for_faces(extract: Extract, people: Path, tmp_path: Path) -> None:
    """With `--aligned` every image is one face, the empty one too, and its box is the image."""
    result = extract(people, "--out", tmp_path / "a.csv", "--aligned", "--tasks", "age", "--batch", 2)
    assert result.exit_code == 0, result.stderr
    with (tmp_path / "a.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["box_x2"], row["score"]) for row in rows] == [("160.0", "")] * 4


def test_bad_images_are_named_and_counted_and_the_others_are_answered(
    extract: Extract, people: Path, tmp_path: Path
) -> None:
    """A missing, impossible, empty or cut-off image gets a line, the others their rows; the exit code is 1."""
    (people / "cut.png").write_bytes(RED[:200])
    (people / "void.png").write_bytes(b"")
    listed = tmp_path / "list.txt"
    names = ("anna/anna_1.png", "gone.png", "null\0byte.png", "cut.png", "void.png", "ben/ben_1.png")
    listed.write_text("".join(f"{people}/{name}\n" for name in names))
    result = extract(listed, "--out", tmp_path / "faces.csv")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0] == f"{people}/gone.png: There is no such file."
    assert lines[1].endswith("byte.png: No file can have this name.")
    assert lines[2].startswith(f"{people}/cut.png: The PNG is cut off")
    assert lines[3].startswith(f"{people}/void.png: ")
    assert lines[4].startswith("6 images, 3 faces, 4 bad; 6 in ")
    assert len(lines) == 5
    with (tmp_path / "faces.csv").open(newline="") as rows:
        assert [Path(row["path"]).stem for row in csv.DictReader(rows)] == ["anna_1", "ben_1", "ben_1"]


def test_two_images_of_one_name_do_not_overwrite_each_other(extract: Extract, people: Path, tmp_path: Path) -> None:
    """Folders and stems are all that the published layout keeps: the second of two alike is named as bad."""
    twin = people / "other" / "anna" / "anna_1.png"
    twin.parent.mkdir(parents=True)
    twin.write_bytes(GREEN)
    result = extract(people, "--out", tmp_path / "f")
    assert result.exit_code == 1
    assert f"{twin}: {tmp_path}/f/anna/anna_1.npy was written before, for an image" in result.stderr
    again = extract(people, "--out", tmp_path / "f", "--overwrite")
    assert again.exit_code == 1
    assert "1 bad" in again.stderr


def test_what_is_there_is_kept_unless_told_otherwise(extract: Extract, people: Path, tmp_path: Path) -> None:
    """A target that is there is refused; `--overwrite` replaces it, and a finished one has nothing to resume."""
    for target in (tmp_path / "faces.csv", tmp_path / "f"):
        assert extract(people, "--out", target).exit_code == 0
        assert "--overwrite" in one_line(extract(people, "--out", target))
        assert extract(people / "ben", "--out", target, "--overwrite").exit_code == 0
    assert len((tmp_path / "faces.csv").read_text().splitlines()) == 3
    done = extract(people / "ben", "--out", tmp_path / "faces.csv", "--resume")
    assert (done.exit_code, "nothing is left to do" in done.stderr) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--out", "x.csv"], "there is no list, folder or image nowhere"),
        (["none", "--out", "x.csv"], "there is no image in none"),
        (["anna", "--out", "x.docx"], "ends in one of .csv, .jsonl, .parquet, .txt"),
        (["anna", "--out", "x.csv", "--tasks", "agee"], "unknown task 'agee'; did you mean 'age'?"),
        (["anna", "--out", "x.txt", "--tasks", "expression"], "a .txt file holds race, gender, age alone"),
        (["anna", "--out", "f/", "--tasks", "age"], "a folder holds embedding alone, not age"),
        (["anna", "--out", "x.txt", "--max-faces", "2"], "a .txt has one row an image"),
        (["anna", "--out", "x.csv", "--batch", "0"], "--batch"),
        (["anna", "--out", "x.csv", "--resume", "--overwrite"], "exclude each other"),
        (["anna", "--out", "anna/anna_1.png/x.csv"], "cannot write anna/anna_1.png/x.csv"),
        (["anna", "--out", "x.csv", "--pack", "nanno"], "no pack named 'nanno'"),
        (["anna"], "Missing option '--out'"),
    ],
)
def test_a_mistake_is_one_clear_line(
    extract: Extract, people: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """Sources, targets, tasks and bounds that cannot be are named, and nothing is written."""
    monkeypatch.chdir(people)
    (people / "none" / "none_1.png").write_text("not even this")
    assert message in one_line(extract(*arguments))
    assert [path.name for path in people.rglob("*x.*")] == []


def test_a_pack_without_embeddings_fills_no_folder(extract: Extract, people: Path, tmp_path: Path) -> None:
    """What a pack cannot answer is said before anything is opened."""
    ages = build_pack(tmp_path / "ages", name="ages", tasks=(("age",),))
    line = one_line(extract(people, "--out", tmp_path / "f", "--pack", ages))
    assert line == "Error: the pack ages has nothing that a folder holds: embedding"


def test_crops_of_one_alignment_are_not_for_analyzers_of_several(
    extract: Extract, people: Path, tmp_path: Path
) -> None:
    """A pack of two alignments takes `--aligned` for one's tasks alone, and says which there are."""
    two = build_pack(tmp_path / "two", name="two", tasks=(("embedding",), ("age", "gender")), sides_px=(32, 48))
    line = one_line(extract(people, "--out", tmp_path / "x.csv", "--aligned", "--pack", two))
    assert line.endswith("choose one's by --tasks (arcface-5pt: embedding; box at 1: age,gender)")
    some = extract(people, "--out", tmp_path / "x.csv", "--aligned", "--pack", two, "--tasks", "age,gender")
    assert some.exit_code == 0, some.stderr
    whole = extract(people, "--out", tmp_path / "y.csv", "--pack", two)
    assert whole.exit_code == 0, whole.stderr


def test_a_source_is_not_its_own_target(extract: Extract, people: Path, tmp_path: Path) -> None:
    """A list is not overwritten by what is made of it."""
    listed = tmp_path / "list.txt"
    listed.write_text(f"{people}/anna/anna_1.png\n")
    assert "--out is SOURCE itself" in one_line(extract(listed, "--out", listed, "--overwrite"))
    assert listed.read_text() == f"{people}/anna/anna_1.png\n"
