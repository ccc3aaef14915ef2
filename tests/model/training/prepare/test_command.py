"""Tests of model.training.prepare.command, and of a prepared set's training."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from model.training.cli import main
from model.training.dataset import read_faces
from model.training.prepare.layout import KINDS
from tests.model.training.prepare.conftest import Photo, save_wall
from tests.model.training.runs import CHANGES


@pytest.fixture
def people(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """Twelve images of three people, and a wall."""
    for number in range(12):
        photos[number % 7].save(tmp_path / "people" / f"person{number % 3}" / f"{number:02d}.jpg")
    save_wall(tmp_path / "people" / "person0" / "wall.jpg")
    return tmp_path / "people"


def test_a_set_and_what_is_said_of_it(tmp_path: Path, people: Path) -> None:
    """The command writes the set, and tells the files, the rows, and what was left out and where to read it."""
    result = CliRunner().invoke(
        main, ["prepare", "folder", str(people), "--out", str(tmp_path / "data"), "--name", "own"]
    )
    assert result.exit_code == 0, result.output
    for told in ("train", "12", "own-train.parquet", "no face found", "own-prepare-report.jsonl"):
        assert told in result.stdout
    assert len(read_faces(tmp_path / "data", "own", "train")) == 12
    assert "\n" not in result.stderr.strip()


def test_a_prepared_set_trains(tmp_path: Path, people: Path) -> None:
    """What was prepared trains: two steps of nano at reduced width, on people found and aligned a moment ago."""
    data = tmp_path / "data"
    run = CliRunner().invoke(main, ["prepare", "folder", str(people), "--out", str(data), "--name", "celeba"])
    assert run.exit_code == 0, run.output
    changes = {**CHANGES, "rows.utkface": "0", "rows.fer2013": "0", "rows.celeba": "4", "total_steps": "2"}
    changes |= {"warmup_steps": "1", "save_every": "2", "statistics_batches": "1"}
    sets = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    command = ["train", "nano", "--data", str(data), "--out", str(tmp_path / "run"), "--no-validate", *sets]
    trained = CliRunner().invoke(main, command)
    assert trained.exit_code == 0, trained.output
    rows = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert len(rows) >= 2
    assert (tmp_path / "run" / "ema").is_dir()


def test_lmdb(tmp_path: Path, people: Path) -> None:
    """--to lmdb writes the other form."""
    out = str(tmp_path / "data")
    result = CliRunner().invoke(main, ["prepare", "folder", str(people), "--to", "lmdb", "--out", out, "--limit", "5"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "data" / "people.lmdb").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folder", "/absent", "--out", "OUT"], "no file or folder at /absent"),
        (["celeba", "PEOPLE", "--out", "OUT"], "is not laid out as CelebA: there is no list_attr_celeba.txt"),
        (["folder", "PEOPLE", "--out", "OUT", "--detector", "nobody"], "no pack named 'nobody'"),
        (["folder", "PEOPLE", "--out", "OUT", "--name", "Some Name"], "is no name of a set"),
        (["lmdb", "PEOPLE", "--out", "OUT"], "an LMDB does not say what its labels are"),
        (["folder", "PEOPLE", "--out", "FILE"], "FILE"),
    ],
)
def test_mistakes(tmp_path: Path, people: Path, arguments: list[str], message: str) -> None:
    """A person's mistake is one clear line on standard error and an exit that says so; nothing is left behind."""
    (tmp_path / "FILE").write_text("a file")
    places = {"OUT": str(tmp_path / "OUT"), "PEOPLE": str(people), "FILE": str(tmp_path / "FILE")}
    result = CliRunner().invoke(main, ["prepare", *(places.get(word, word) for word in arguments)])
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "OUT").exists()


def test_stopped_by_a_person(tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends in one line that says how to go on."""

    def stop(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("model.training.prepare.crops.Cutter.cut", stop)
    result = CliRunner().invoke(main, ["prepare", "folder", str(people), "--out", str(tmp_path / "data")])
    assert result.exit_code == 1
    assert result.stderr == "Error: stopped; the same command goes on from here\n"


def test_help_needs_nothing_that_prepares(tmp_path: Path) -> None:
    """--help lists every kind and imports neither torch nor pyarrow nor onnxruntime."""
    script = """
import sys
from click.testing import CliRunner
from model.training.cli import main
print(CliRunner().invoke(main, ["prepare", "--help"]).output)
assert not {"torch", "onnxruntime", "cv2", "lmdb", "scipy"} & set(sys.modules), sorted(sys.modules)
assert "model.training.prepare.preparation" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"  {kind} " in done.stdout for kind in KINDS)
