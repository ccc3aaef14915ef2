"""Tests of model.training.prepare.preparation and of the files that it leaves."""

import hashlib
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier, Semaphore

import pyarrow.parquet as pq
import pytest

from model.runtime.detection import Detector
from model.training.data_error import DataError
from model.training.dataset import read_faces
from model.training.prepare.crops import Cutter
from model.training.prepare.layout import KINDS, find_layout
from model.training.prepare.preparation import Job, ordered, prepare, set_name, split_of
from model.training.prepare.rows import BytesImage, FaceRow, Labels
from model.training.prepare.shards import GROUP_ROWS, Staging
from tests.model.training.prepare.conftest import Photo, save_wall

WHOLE = Cutter(48, "none", None)


@dataclass
class Stopping:
    """Cuts as another cutter does, and stops everything at its nth row."""

    inner: Cutter
    at: int
    seen: int = 0

    def cut(self, row: FaceRow) -> bytes:
        """Cuts, or stops."""
        self.seen += 1
        if self.seen == self.at:
            raise KeyboardInterrupt
        return self.inner.cut(row)


@pytest.fixture
def people(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """Sixteen images of four people, one of them no picture."""
    for number in range(16):
        photos[number % 7].save(tmp_path / "people" / f"person{number % 4}" / f"{number:02d}.jpg")
    (tmp_path / "people" / "person1" / "05.jpg").write_bytes(b"no picture")
    return tmp_path / "people"


def _job(source: Path, out: Path, **changes: object) -> Job:
    return replace(Job("folder", (source,), out, name="set", side_px=48, alignment="none", shard_rows=5), **changes)  # type: ignore[arg-type]


def _hashes(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}


def test_threads_change_nothing(tmp_path: Path, people: Path, detector: Detector, photos: tuple[Photo, ...]) -> None:
    """One thread and four, with real detection, leave the same bytes in every file."""
    save_wall(people / "person2" / "wall.jpg")
    results = []
    for workers in (1, 4):
        job = _job(people, tmp_path / f"out{workers}", workers=workers, alignment="arcface-5pt", val_share=0.4)
        prepare(job, Cutter(48, "arcface-5pt", detector))
        results.append(_hashes(job.out))
    assert results[0] == results[1]
    assert {name.split("-")[1] for name in results[0]} == {"train", "val", "prepare"}


def test_shards_and_report(tmp_path: Path, people: Path) -> None:
    """Files hold the rows of so many source rows each, numbered; what was left out is in the report and the summary."""
    done: list[tuple[int, int | None]] = []
    summary = prepare(_job(people, tmp_path / "out"), WHOLE, lambda *place: done.append(place))
    assert [path.name for path in summary.files["train"]] == [f"set-train-0{number}.parquet" for number in range(4)]
    assert [pq.read_metadata(path).num_rows for path in summary.files["train"]] == [5, 4, 5, 1]
    assert summary.rows == {"train": 15}
    assert summary.left_out == Counter({"image cannot be decoded": 1})
    (line,) = [json.loads(line) for line in summary.report.read_text().splitlines()]
    assert (line["name"], line["reason"]) == ("person1/05.jpg", "image cannot be decoded")
    assert done == [(number, 16) for number in range(1, 17)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "set-prepare-report.jsonl",
        *(f"set-train-0{number}.parquet" for number in range(4)),
    ]


@pytest.mark.parametrize("at", [2, 7, 11, 16])
def test_goes_on_where_it_stopped(tmp_path: Path, people: Path, at: int) -> None:
    """A run that is stopped leaves whole files or none behind; started again, it ends as one that never was stopped."""
    prepare(_job(people, tmp_path / "straight"), WHOLE)
    job = _job(people, tmp_path / "stopped", workers=1)
    with pytest.raises(KeyboardInterrupt):
        prepare(job, Stopping(WHOLE, at))  # type: ignore[arg-type]
    staging = Staging(job.out, "set")
    assert not list(job.out.glob("*.parquet"))
    assert not list(staging.folder.glob("*.part"))
    kept = staging.num_done("train")
    assert kept == (at - 1) // 5
    counting = Stopping(WHOLE, at=1000)
    prepare(job, counting)  # type: ignore[arg-type]
    assert counting.seen == 16 - 5 * kept
    assert _hashes(job.out) == _hashes(tmp_path / "straight")


def test_a_killed_run_goes_on(tmp_path: Path, people: Path) -> None:
    """SIGKILL in the middle of a file loses that file alone, and the next run ends with the same bytes."""
    prepare(_job(people, tmp_path / "straight"), WHOLE)
    script = f"""
import os, signal
from pathlib import Path
from tests.model.training.prepare.test_preparation import WHOLE, _job
from model.training.prepare.preparation import prepare
def progress(done, total):
    if done == 12:
        os.kill(os.getpid(), signal.SIGKILL)
prepare(_job(Path({str(people)!r}), Path({str(tmp_path / "killed")!r})), WHOLE, progress)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    job = _job(people, tmp_path / "killed")
    staging = Staging(job.out, "set")
    assert (staging.num_done("train"), len(list(staging.folder.glob("*.part")))) == (2, 1)
    prepare(job, WHOLE)
    assert _hashes(job.out) == _hashes(tmp_path / "straight")


def test_a_run_killed_while_files_are_put_in_their_places(
    tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies between two moves ends, started again, with every file and without preparing anything anew."""
    prepare(_job(people, tmp_path / "straight"), WHOLE)
    job, moves = _job(people, tmp_path / "out"), iter(range(100))
    real = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".parquet" and next(moves) == 2:
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(DataError, match=r"cannot write in .*out: Input/output error; the same command goes on"):
        prepare(job, WHOLE)
    monkeypatch.undo()
    assert len(list(job.out.glob("*.parquet"))) == 2
    counting = Stopping(WHOLE, at=1000)
    assert prepare(job, counting).rows == {"train": 15}  # type: ignore[arg-type]
    assert counting.seen == 0
    assert _hashes(job.out) == _hashes(tmp_path / "straight")


def test_other_options_do_not_go_on(tmp_path: Path, people: Path) -> None:
    """What was begun one way is not finished another: one clear line names the option; nothing done binds nobody."""
    job = _job(people, tmp_path / "out", workers=1)
    with pytest.raises(KeyboardInterrupt):
        prepare(job, Stopping(WHOLE, at=16))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="was begun with side_px 48, not 64: finish it as it was begun, or remove"):
        prepare(replace(job, side_px=64), WHOLE)
    other = _job(people, tmp_path / "other", workers=1)
    with pytest.raises(KeyboardInterrupt):
        prepare(other, Stopping(WHOLE, at=1))  # type: ignore[arg-type]
    assert prepare(replace(other, shard_rows=50), WHOLE).files["train"][0].name == "set-train.parquet"


def test_two_runs_at_once(tmp_path: Path, people: Path) -> None:
    """While one run is at a set, another is turned away in one line."""
    job = _job(people, tmp_path / "out")
    with Staging(job.out, "set").opened({}), pytest.raises(DataError, match="another preparation of 'set' is at work"):
        prepare(job, WHOLE)


def test_a_set_that_is_there_stays(tmp_path: Path, people: Path) -> None:
    """A finished set is replaced only if asked, and then whole: no file of the old one remains."""
    prepare(_job(people, tmp_path / "out"), WHOLE)
    before = _hashes(tmp_path / "out")
    with pytest.raises(DataError, match=r"set-train-00.parquet is there already: give another --name, or --overwrite"):
        prepare(_job(people, tmp_path / "out"), WHOLE)
    assert _hashes(tmp_path / "out") == before
    prepare(_job(people, tmp_path / "out", overwrite=True, shard_rows=9), WHOLE)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.parquet"))
    assert names == ["set-train-00.parquet", "set-train-01.parquet"]
    assert len(read_faces(tmp_path / "out", "set", "train")) == 15


def test_another_split_may_follow(tmp_path: Path, people: Path) -> None:
    """A split that is not there yet is added beside the others."""
    prepare(_job(people, tmp_path / "out", split="train"), WHOLE)
    prepare(_job(people, tmp_path / "out", split="val", limit=3), WHOLE)
    assert len(read_faces(tmp_path / "out", "set", "val")) == 3


def test_nothing_usable(tmp_path: Path) -> None:
    """A source without one usable row leaves its report and no set, in one clear line."""
    save_wall(tmp_path / "people" / "a" / "1.jpg").write_bytes(b"none")
    with pytest.raises(DataError, match=r"no row of the source could be used; .*set-prepare-report.jsonl says why"):
        prepare(_job(tmp_path / "people", tmp_path / "out"), WHOLE)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["set-prepare-report.jsonl"]


def test_a_missing_source_leaves_nothing(tmp_path: Path) -> None:
    """A source that is not there is one clear line, and not even a folder is made."""
    with pytest.raises(DataError, match=r"no file or folder at .*absent"):
        prepare(_job(tmp_path / "absent", tmp_path / "out"), WHOLE)
    assert not (tmp_path / "out").exists()


def test_a_full_disk(tmp_path: Path, people: Path) -> None:
    """When the disk takes no more, it is one clear line, no half of a file is left, and the next run goes on."""
    script = f"""
import resource
from pathlib import Path
from tests.model.training.prepare.test_preparation import WHOLE, _job
from model.training.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, resource.RLIM_INFINITY))
main(["prepare", "folder", {str(people)!r}, "--out", {str(tmp_path / "out")!r}, "--name", "set", "--side", "48",
      "--alignment", "none", "--shard-rows", "5", "--workers", "1"])
"""
    full = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert full.returncode == 1
    assert full.stderr.count("\n") == 1
    assert "cannot write in" in full.stderr
    assert "the same command goes on from here" in full.stderr
    assert not list((tmp_path / "out").rglob("*.part"))
    assert not list((tmp_path / "out").glob("*.parquet"))
    prepare(_job(people, tmp_path / "straight"), WHOLE)
    prepare(_job(people, tmp_path / "out"), WHOLE)
    assert _hashes(tmp_path / "out") == _hashes(tmp_path / "straight")


def test_rows_are_let_go_group_by_group(tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is written a row group at a time, so that what is in memory is bounded whatever the set's length."""
    monkeypatch.setattr("model.training.prepare.shards.GROUP_ROWS", 3)
    summary = prepare(_job(people, tmp_path / "out", shard_rows=100), WHOLE)
    metadata = pq.read_metadata(summary.files["train"][0])
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [3, 3, 3, 3, 3]
    assert GROUP_ROWS == 512


def test_order_and_how_far_ahead() -> None:
    """Answers come in the order of their questions, and no more are taken than may be ahead."""
    taken: list[int] = []
    gates = [Semaphore(0) for _ in range(30)]

    def questions() -> Iterator[int]:
        for number in range(30):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        # Every even one waits until the odd one behind it is through.
        if number % 2 == 0:
            gates[number].acquire()
        else:
            gates[number - 1].release()
        return 10 * number

    with ThreadPoolExecutor(4) as threads:
        answered = []
        for question, answer in ordered(threads, work, questions(), 6):
            answered.append((question, answer))
            assert len(taken) - len(answered) <= 6
    assert answered == [(number, 10 * number) for number in range(30)]


def test_rows_are_really_cut_side_by_side(tmp_path: Path, people: Path) -> None:
    """Two threads are at work at the same time."""
    barrier = Barrier(2, timeout=60)

    class Meeting:
        def cut(self, row: FaceRow) -> bytes:
            barrier.wait()
            return WHOLE.cut(row)

    (people / "person1" / "05.jpg").unlink()
    (people / "person1" / "09.jpg").unlink()
    summary = prepare(_job(people, tmp_path / "out", workers=2), Meeting())  # type: ignore[arg-type]
    assert summary.rows == {"train": 14}


def _row(name: str, part: str = "", group: str | None = None, identity: str | None = None) -> FaceRow:
    return FaceRow(name, BytesImage(b""), Labels(identity=identity), part, group=group)


def test_splits() -> None:
    """An official part decides, then the share held out by group, identity or name; a stated split beats all."""
    celeba, rafdb, lfw = find_layout("celeba"), find_layout("rafdb"), find_layout("lfw")
    job = Job("folder", (Path("a"),), Path("b"))
    assert [split_of(_row("a", part), celeba, job) for part in ("train", "val", "test")] == ["train", "val", "test"]
    assert [split_of(_row("a", part), rafdb, job) for part in ("train", "test")] == ["train", "val"]
    assert split_of(_row("a"), celeba, job) == "train"
    assert split_of(_row("a"), lfw, job) == "val"
    assert split_of(_row("a", "test"), celeba, replace(job, split="train")) == "train"
    half = replace(job, val_share=0.5)
    splits = [split_of(_row(f"{number}.jpg"), celeba, half) for number in range(400)]
    assert 160 < splits.count("val") < 240
    for key in ("group", "identity"):
        one = {split_of(_row(f"{number}.jpg", **{key: "Anna"}), celeba, half) for number in range(50)}
        assert len(one) == 1
    assert {split_of(_row(f"{n}", "val"), celeba, replace(job, val_share=0.9)) for n in range(9)} == {"val"}


@pytest.mark.parametrize(("name", "own"), [(None, "my_faces_2"), ("given-1", "given-1")])
def test_names(tmp_path: Path, name: str | None, own: str) -> None:
    """A set is named by the person, by its layout, or by its source, in letters that a file name may hold."""
    assert set_name(Job("folder", (tmp_path / "My Faces (2)",), tmp_path, name=name), find_layout("folder")) == own
    assert set_name(Job("celeba", (tmp_path,), tmp_path), find_layout("celeba")) == "celeba"


@pytest.mark.parametrize("name", ["Upper", "a b", "a/b", "", "set-train", "a-val-b", "-a"])
def test_no_names(tmp_path: Path, name: str) -> None:
    """A name that no file may have, or that a split would be mistaken in, is one clear line."""
    with pytest.raises(DataError, match="is no name of a set"):
        set_name(Job("folder", (tmp_path / "%",), tmp_path, name=name), find_layout("folder"))


def test_every_reader_is_listed() -> None:
    """Each file in readers/ is a kind, each kind has its reader, and each reader its layout."""
    import model.training.prepare.readers as readers

    files = {path.stem.replace("_", "-") for path in Path(readers.__path__[0]).glob("*.py")} - {"--init--"}
    assert files == set(KINDS)
    assert all(find_layout(kind).title for kind in KINDS)


def test_no_lock_is_left(tmp_path: Path, people: Path) -> None:
    """A finished preparation leaves no folder of its own behind."""
    prepare(_job(people, tmp_path / "out"), WHOLE)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
