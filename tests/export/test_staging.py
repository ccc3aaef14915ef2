"""Staging: packs whole in their place, or not at all."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from export.errors import ExportError
from export.staging import staged, write_whole
from model.runtime.pack import MANIFEST, list_packs

_PART = {"file": "a.onnx", "sha256": "0" * 64}
_KNOWN = {"seed": 1, "outputs": {}, "tolerance": 1}
_ANALYZER = {**_PART, "tasks": ["age"], "labels": {}, "opset": 20, "known_answer": _KNOWN}
_STATED = {"name": "p", "version": "1", "license": "MIT", "allowed_use": "any"}
MANIFEST_TEXT = json.dumps({**_STATED, "detector": _PART, "analyzers": [_ANALYZER]})


def test_a_staged_pack_appears_whole_at_the_end(tmp_path: Path) -> None:
    """A pack's folder is not there before its last file is written, and nothing else is there after."""
    with staged(tmp_path / "packs", "mine") as folder:
        (folder / MANIFEST).write_text(MANIFEST_TEXT)
        assert not (tmp_path / "packs" / "mine").exists()
        assert list_packs(tmp_path / "packs") == ()
    assert [path.name for path in (tmp_path / "packs").iterdir()] == ["mine"]
    assert (tmp_path / "packs" / "mine" / MANIFEST).read_text() == MANIFEST_TEXT


@pytest.mark.parametrize("error", [ExportError("wrong"), KeyboardInterrupt(), SystemExit(143)])
def test_a_block_that_raises_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    """An error, Ctrl-C or an exit midway leaves an empty folder of packs."""

    def interrupted() -> None:
        with staged(tmp_path, "mine") as folder:
            (folder / "analyzer.onnx").write_bytes(b"half a graph")
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_old_pack(tmp_path: Path) -> None:
    """An old pack of the name is untouched by an export that fails, and replaced by one that ends well."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / MANIFEST).write_text(MANIFEST_TEXT)
    (tmp_path / "mine" / "old.txt").write_text("old")
    with pytest.raises(ExportError), staged(tmp_path, "mine"):
        raise ExportError("wrong")
    assert (tmp_path / "mine" / "old.txt").read_text() == "old"
    with staged(tmp_path, "mine") as folder:
        (folder / "new.txt").write_text("new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "new.txt"]


def test_a_folder_that_is_no_pack_is_replaced_by_force_alone(tmp_path: Path) -> None:
    """A folder of the pack's name that holds something else is not touched, unless --force is given."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ExportError, match="is no readable pack; --force replaces it"), staged(tmp_path, "mine"):
        pytest.fail("the block must not run")
    assert (tmp_path / "mine" / "thesis.tex").is_file()
    with staged(tmp_path, "mine", force=True) as folder:
        (folder / "a.txt").write_text("a")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "mine"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from export.staging import staged
with staged(Path(sys.argv[1]), "mine") as folder:
    (folder / "half.onnx").write_bytes(b"half")
    if len(sys.argv) > 2:  # as if killed between the two renames
        (Path(sys.argv[1]) / "mine").rename(folder.parent / "old")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("between_renames", [False, True])
def test_what_a_killed_export_left_is_swept_by_the_next(tmp_path: Path, between_renames: bool) -> None:
    """A kill leaves a hidden folder that is taken for no pack; the next export removes it and the old pack survives."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / MANIFEST).write_text(MANIFEST_TEXT)
    arguments = [sys.executable, "-c", _KILLED, str(tmp_path), *(["between"] if between_renames else [])]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert list(tmp_path.glob(".mine.*"))
    assert list_packs(tmp_path) == (() if between_renames else ("mine",))
    with pytest.raises(ExportError), staged(tmp_path, "mine"):
        raise ExportError("this one fails as well")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / MANIFEST).read_text() == MANIFEST_TEXT


def test_a_running_exports_folder_is_not_swept(tmp_path: Path) -> None:
    """Two exports of one name at a time do not remove each other's work."""
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    beside = tmp_path / f".mine.{other.pid}.part"
    (beside / "mine").mkdir(parents=True)
    try:
        with staged(tmp_path, "mine") as folder:
            (folder / "a.txt").write_text("a")
        assert beside.is_dir()
    finally:
        other.communicate(b"\n")


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """A folder of packs that is a file is refused in words."""
    (tmp_path / "packs").write_text("a file")
    with pytest.raises(ExportError, match="cannot write into"), staged(tmp_path / "packs", "mine"):
        pytest.fail("the block must not run")


def test_a_text_file_is_the_old_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest whose writing fails stays the old one, and nothing lies beside it."""
    path = tmp_path / MANIFEST
    write_whole(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644
