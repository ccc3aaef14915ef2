"""`mien match`: what it takes, what it prints, and one clear line for what cannot be matched."""

import json
import shutil
from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.packs import Square, photo
from tests.service.extract.conftest import Extract, extract, one_line
from tests.service.match.conftest import DIM, Match, People, make_people

__all__ = ["extract"]  # a fixture


def test_it_prints_the_figures_and_where_the_report_is(match: Match, people: People, tmp_path: Path) -> None:
    """A line of counts, EER and AUC, a row for each FMR with what it rests on, and the report's path."""
    result = match("--probe", people.listed, "--out", tmp_path / "out")
    lines = result.stdout.splitlines()
    report = json.loads((tmp_path / "out" / "some_report.json").read_text())
    assert lines[0].startswith("35 probes with each other: 70 authentic pairs, 525 impostor pairs; EER ")
    assert f"EER {100 * report['eer']:.3f} %" in lines[0]
    rows = [line.split() for line in lines if line.startswith("1e-") or " 1e-" in line]
    assert [row[0] for row in rows] == ["1e-01", "1e-02", "1e-03", "1e-04", "1e-05", "1e-06"]
    assert f"{100 * report['tar_at_fmr'][0]['tar']:.3f} %" in " ".join(rows[0])
    assert "rests on fewer than 10" in " ".join(rows[1])
    assert "needs 1,000,000 impostor pairs" in " ".join(rows[5])
    assert lines[-1] == f"report: {tmp_path}/out/some_report.json"


def test_a_folder_stands_for_the_files_under_it(match: Match, people: People, tmp_path: Path) -> None:
    """A folder and the list of its files give the same files; what is hidden there is no embedding."""
    (people.files[0].parent / ".p9_9.npy").write_bytes(b"half a file")
    assert match("--probe", people.listed, "--out", tmp_path / "a", "--group", "g").exit_code == 0
    assert match("--probe", people.files[0].parent, "--out", tmp_path / "b", "--group", "g").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    expected = ("authentic.npy", "impostor.npy", "labels.txt", "report.json", "roc.csv", "roc.svg")
    assert names == [f"g_{name}" for name in expected]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Photographs of four people, three each, and one with two faces on it."""
    for person in range(4):
        for number in range(3):
            path = tmp_path / "crowd" / f"p{person}_{number}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(photo(Square(16, 16, 32, (255, 40 + 60 * person, 200 + 5 * number))))
    two = photo(Square(16, 16, 64, (255, 200, 240)), Square(112, 112, 32, (200, 240, 255)))
    (tmp_path / "crowd" / "p0_9.png").write_bytes(two)
    return tmp_path / "crowd"


def test_what_extract_writes_is_matched_in_every_form(
    extract: Extract, match: Match, crowd: Path, tmp_path: Path
) -> None:
    """A folder, a .csv, a .jsonl and a .parquet of the same photographs give the same scores of the largest faces."""
    pytest.importorskip("pyarrow")
    assert extract(crowd, "--out", tmp_path / "features").exit_code == 0
    forms = ["features"]
    for form in ("csv", "jsonl", "parquet"):
        assert extract(crowd, "--out", tmp_path / f"faces.{form}", "--tasks", "embedding").exit_code == 0
        forms.append(f"faces.{form}")
    for form in forms:
        result = match("--probe", tmp_path / form, "--out", tmp_path / "scores", "--group", form)
        assert result.exit_code == 0, result.stderr
        for name in ("authentic.npy", "impostor.npy"):
            first, this = (np.load(tmp_path / "scores" / f"{group}_{name}") for group in ("features", form))
            assert (first.shape, first.dtype) == (this.shape, this.dtype)
            np.testing.assert_array_equal(first, this)
        labels = (tmp_path / "scores" / f"{form}_labels.txt").read_text().splitlines()
        assert labels[:2] == ["0 crowd/p0_0", "1 crowd/p0_1"]
        assert len(labels) == 13
    report = json.loads((tmp_path / "scores" / "faces.csv_report.json").read_text())
    assert report["embedding_space"] == "tiny-space"


def test_a_subject_column_says_whose_each_face_is(extract: Extract, match: Match, crowd: Path, tmp_path: Path) -> None:
    """With a column `subject` every face of an image counts, under its own label, as whose it is said to be."""
    assert extract(crowd, "--out", tmp_path / "faces.jsonl", "--tasks", "embedding").exit_code == 0
    rows = [orjson.loads(line) for line in (tmp_path / "faces.jsonl").read_bytes().splitlines()]
    for row in rows:
        row["subject"] = "other" if row["face"] == 2 else Path(row["path"]).name[:2]
    (tmp_path / "told.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    result = match("--probe", tmp_path / "told.jsonl", "--out", tmp_path / "s")
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "s" / "told_report.json").read_text())
    assert (report["num_probe"], report["num_subjects"]) == (14, 5)
    assert report["num_authentic"] == 4 * 3 // 2 + 3 * 3
    assert (tmp_path / "s" / "told_labels.txt").read_text().splitlines()[3:5] == ["3 crowd/p0_9", "4 crowd/p0_9_2"]


def test_without_a_pair_of_one_kind_the_files_are_written_and_one_line_says_so(match: Match, tmp_path: Path) -> None:
    """One person has no impostor pair, one embedding each no authentic one: empty files, no figures, no old curve."""
    lone = make_people(tmp_path, "lone", num_people=1, num_each=4, seed=3)
    out = tmp_path / "out"
    out.mkdir()
    (out / "lone_roc.svg").write_text("an earlier run's")
    result = match("--probe", lone.listed, "--out", out)
    assert result.exit_code == 0
    assert result.stderr == "no impostor pairs: TAR at FMR, EER and AUC cannot be computed\n"
    assert np.load(out / "lone_impostor.npy").shape == (0, 3)
    assert np.load(out / "lone_authentic.npy").shape == (6, 3)
    report = json.loads((out / "lone_report.json").read_text())
    assert (report["eer"], report["auc"], report["num_impostor"]) == (None, None, 0)
    assert not (out / "lone_roc.svg").exists()
    strangers = make_people(tmp_path, "each", num_people=4, num_each=1, seed=4)
    assert match("--probe", strangers.listed, "--out", out).stderr.startswith("no authentic pairs")


def _list(folder: Path, *names: str) -> Path:
    listed = folder / "list.txt"
    listed.write_text("".join(f"{folder}/{name}\n" for name in names))
    return listed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full(DIM, np.nan, np.float32), "bad_1.npy holds a number that is not finite"),
        (np.zeros(DIM, np.float32), "bad_1.npy is all zeros, which has no direction"),
        (np.ones(DIM - 1, np.float32), f"ok_1.npy has {DIM - 1} numbers and"),
        (np.ones((2, DIM), np.float32), "this is no embedding: float32 of shape (2, 8)"),
        (np.array(["text"]), "this is no embedding: <U4 of shape (1,)"),
        (np.array([{"a": 1}], object), "bad_1.npy is no .npy that can be read"),
        (None, "bad_1.npy is no .npy that can be read"),
    ],
    ids=["nan", "zeros", "length", "matrix", "text", "pickle", "garbage"],
)
def test_what_is_no_embedding_is_named(match: Match, tmp_path: Path, values: object, message: str) -> None:
    """Not finite, all zeros, another length, no vector, or nothing that numpy reads safely: the file is named."""
    np.save(tmp_path / "ok_1.npy", np.ones(DIM, np.float32))
    if values is None:
        (tmp_path / "bad_1.npy").write_bytes(b"garbage")
    else:
        np.save(tmp_path / "bad_1.npy", values, allow_pickle=True)  # type: ignore[arg-type]
    line = one_line(match("--probe", _list(tmp_path, "ok_1.npy", "bad_1.npy"), "--out", tmp_path / "out"))
    if "has 7 numbers" in message:
        assert f"bad_1.npy has {DIM - 1} numbers and {tmp_path}/ok_1.npy {DIM}" in line
    else:
        assert message in line
    assert not (tmp_path / "out").exists()


def test_lists_that_cannot_be_matched_are_named(match: Match, people: People, tmp_path: Path) -> None:
    """A missing list or file, an empty list, a name twice, another kind of file, two lengths, one label."""
    out = ("--out", tmp_path / "out")
    some = people.files[0]
    assert one_line(match("--probe", tmp_path / "none.txt", *out)) == f"Error: there is no {tmp_path}/none.txt"
    assert "names no embedding" in one_line(match("--probe", _list(tmp_path), *out))
    twice = _list(tmp_path, "some/p0_0.npy", "some/p0_1.npy", "some/p0_0.npy")
    assert f"names {some} twice" in one_line(match("--probe", twice, *out))
    gone = one_line(match("--probe", _list(tmp_path, "some/p0_0.npy", "gone.npy"), *out))
    assert f"list.txt names {tmp_path}/gone.npy, which is not there" in gone
    assert "which is no .npy" in one_line(match("--probe", _list(tmp_path, "some.txt"), *out))
    np.save(tmp_path / "long_1.npy", np.ones(DIM + 1, np.float32))
    lengths = one_line(match("--probe", people.listed, "--gallery", _list(tmp_path, "long_1.npy"), *out))
    assert lengths == f"Error: the probe's embeddings have {DIM} numbers, the gallery's {DIM + 1}"
    same = one_line(match("--probe", _list(tmp_path, "some/p0_0.npy"), *out))
    assert same == "Error: there is no pair to match: all have one label"
    assert "without /" in one_line(match("--probe", people.listed, *out, "--group", "a/b"))
    assert list((tmp_path / "out").glob("*")) == []


def test_tables_that_cannot_be_matched_are_named(match: Match, tmp_path: Path) -> None:
    """A table without embeddings, with other text in their place, of two spaces, or with no JSON in it."""
    out = ("--out", tmp_path / "out")
    table = tmp_path / "t.csv"
    table.write_text("path,face,age\na/b_1.png,1,30\n")
    assert "t.csv has no column embedding" in one_line(match("--probe", table, *out))
    table.write_text("path,face,embedding\na/b_1.png,1,no base64!\n")
    assert "t.csv, row 1: face or embedding is not" in one_line(match("--probe", table, *out))
    rows = [{"path": f"a/b_{n}.png", "face": 1, "embedding": [1.0, n], "embedding_space": f"s{n}"} for n in (1, 2)]
    listed = tmp_path / "t.jsonl"
    listed.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    assert "of 2 spaces, which cannot be compared" in one_line(match("--probe", listed, *out))
    (tmp_path / "u.jsonl").write_bytes(orjson.dumps(rows[0]))
    (tmp_path / "v.jsonl").write_bytes(orjson.dumps(rows[1]))
    two = one_line(match("--probe", tmp_path / "u.jsonl", "--gallery", tmp_path / "v.jsonl", *out))
    assert two == "Error: the probe's embeddings are of the space s1, the gallery's of s2"
    listed.write_text("[1]\n")
    assert "t.jsonl, row 1: this is no JSON object" in one_line(match("--probe", listed, *out))


def test_too_little_room_is_said_before_anything_is_scored(
    match: Match, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that would not fit on the disk are refused with what they take."""
    left = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: left)
    line = one_line(match("--probe", people.listed, "--out", tmp_path / "out"))
    assert line == f"Error: the score files take 0.0 GB, and {tmp_path}/out has 0.0 GB left"
