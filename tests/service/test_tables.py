"""Tables: Parquet where pyarrow is, and one clear line where it is not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from service.tables import TablesError, check, read_parquet, write_parquet
from tests.service.extract.conftest import Extract, extract, one_line, people

__all__ = ["extract", "people"]  # fixtures

KINDS = {"name": "text", "count": "whole", "share": "number", "vector": "vector"}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Texts, whole numbers, float32 and vectors come back, empty cells too, batch by batch."""
    pytest.importorskip("pyarrow")
    vectors = np.random.default_rng(5).standard_normal((3, 4)).astype(np.float32)
    batches = iter([(["a", None], [1, 2], [0.25, None], list(vectors[:2])), (["c"], [None], [0.1], [vectors[2]])])
    write_parquet(tmp_path / "x.parquet", KINDS, batches, {"mien.pack": "p"})  # type: ignore[arg-type]
    rows = [row for part in read_parquet(tmp_path / "x.parquet", ["name", "vector"], ["share", "absent"]) for row in
            zip(*part.values(), strict=True)]  # fmt: skip
    assert [row[0] for row in rows] == ["a", None, "c"]
    assert [row[2] for row in rows] == [0.25, None, float(np.float32(0.1))]
    np.testing.assert_array_equal(np.stack([row[1] for row in rows]), vectors)


def test_what_is_no_such_table_is_said_to_be(tmp_path: Path) -> None:
    """A file that is no Parquet, and one without the column, are named in one line."""
    pytest.importorskip("pyarrow")
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(TablesError, match=r"bad\.parquet is no Parquet file"):
        list(read_parquet(tmp_path / "bad.parquet", ["a"]))
    write_parquet(tmp_path / "x.parquet", {"a": "text"}, iter([(["v"],)]), {})
    with pytest.raises(TablesError, match=r"x\.parquet has no column b"):
        list(read_parquet(tmp_path / "x.parquet", ["b"]))


@pytest.fixture
def without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The serving install, as far as imports go: importing pyarrow fails."""
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)


@pytest.mark.usefixtures("without_pyarrow")
def test_without_pyarrow_parquet_is_refused_and_all_else_works(extract: Extract, people: Path, tmp_path: Path) -> None:
    """Without pyarrow a .parquet ends before anything is analysed, with what to install; a .csv does not need it."""
    with pytest.raises(TablesError, match=r'pip install "mien\[tables\]"'):
        check()
    assert 'pip install "mien[tables]"' in one_line(extract(people, "--out", tmp_path / "x.parquet"))
    assert list(tmp_path.glob("x.parquet*")) == []
    assert extract(people, "--out", tmp_path / "x.csv").exit_code == 0


def test_pyarrow_is_loaded_for_parquet_alone(people: Path, tmp_path: Path, tiny_pack: Path) -> None:
    """A run that writes a .csv has not loaded pyarrow at its end, where it is installed too."""
    code = (
        "import sys, service.cli\n"
        "try: service.cli.main(sys.argv[1:])\n"
        "finally: print(sorted(name for name in ('pyarrow', 'torch', 'matplotlib') if name in sys.modules))"
    )
    command = [sys.executable, "-c", code, "extract", people, "--out", tmp_path / "x.csv", "--pack", tiny_pack]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
