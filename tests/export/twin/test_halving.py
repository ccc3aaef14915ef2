"""`mien-export halve` on a real pack and real faces: what is written, what is stated, and when nothing is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from export.card import render
from export.cli import main
from export.pack_check import check_pack
from export.pack_writer import write_manifest
from export.tempering import temper_files
from export.twin import verdict
from export.twin.half import Halved
from model.runtime.known_answer import known_crops
from model.runtime.pack import read_pack, sha256_of
from model.runtime.session import open_session
from model.runtime.twin_part import HalfPart
from model.runtime.twins import with_twins


def halve(pack: Path | str, *options: str) -> Result:
    return CliRunner().invoke(main, ["halve", str(pack), *options])


def twin_of(folder: Path) -> HalfPart:
    (part,) = read_pack(folder).analyzers
    assert part.float16 is not None
    return part.float16


@pytest.fixture
def plain(quantisable_pack: Path, tmp_path: Path) -> Path:
    """A pack without a twin, to put one into."""
    return Path(shutil.copytree(quantisable_pack, tmp_path / "plain"))


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a tiny untrained network keeps on forty faces, where one face is points; the rules are as ever."""
    monkeypatch.setattr(verdict, "MAX_LOST_POINTS", 101.0)


@pytest.mark.usefixtures("lenient")
def test_a_twin_is_written_stated_and_checked(plain: Path, few_faces: Path, tmp_path: Path) -> None:
    """With real faces the twin lies beside the graph with hash, figures and known answer, and shares the space."""
    done = halve(plain, "--data", str(few_faces), "--out", str(tmp_path / "new"))
    assert done.exit_code == 0, done.output
    assert read_pack(plain).analyzers[0].float16 is None
    pack, twin = read_pack(tmp_path / "new"), twin_of(tmp_path / "new")
    assert (pack.name, twin.file) == ("new", "analyzer.float16.onnx")
    assert twin.sha256 == sha256_of(tmp_path / "new" / twin.file)
    assert {row.task for row in twin.compared} == set(pack.tasks)
    assert twin.cosine_min is not None
    assert (twin.cosine_min > 0.9999, twin.embedding_space) == (True, None)
    assert "analyzer.float16.onnx: known answer" in [finding.what for finding in check_pack(tmp_path / "new")]
    served = with_twins(pack, "float16")
    assert (served.precision, served.embedding_space) == ("float16", pack.embedding_space)
    card = (tmp_path / "new" / "CARD.md").read_text()
    assert card == render(pack)
    assert "## In float16: analyzer.float16.onnx" in card


def test_without_data_a_twin_has_a_space_of_its_own(plain: Path) -> None:
    """Where no real crop was looked at, the twin states no cosine and no figure, and its embeddings are its own."""
    done = halve(plain)
    assert done.exit_code == 0, done.output
    pack, twin = read_pack(plain), twin_of(plain)
    assert (twin.cosine_mean, twin.compared) == (None, ())
    assert twin.embedding_space not in (None, pack.embedding_space)
    assert with_twins(pack, "float16").verification is None
    check_pack(plain)


def test_a_twin_that_loses_too_much_is_not_written(
    plain: Path, few_faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it breaks a limit the pack stays byte for byte, with one line and exit code 1; or it is kept anyway."""
    monkeypatch.setattr("export.twin.verdict.MIN_COSINE", 1.1)
    monkeypatch.setattr("export.twin.halving.MIN_COSINE", 1.1)
    before = {path.name: sha256_of(path) for path in plain.glob("*.*")}
    done = halve(plain, "--data", str(few_faces), "--limit", "20")
    assert done.exit_code == 1
    assert done.output.strip().splitlines()[-1].startswith("Error: no twin was written")
    assert {path.name: sha256_of(path) for path in plain.glob("*.*")} == before
    assert halve(plain, "--data", str(few_faces), "--limit", "20", "--keep-anyway").exit_code == 0
    assert twin_of(plain).embedding_space is not None


def test_a_twin_that_answers_otherwise_is_not_written(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without data too: a graph whose answers are another network's moves them by more than is allowed."""
    other = (plain / "analyzer.onnx").read_bytes()

    def another(_: bytes) -> Halved:
        """A halving that goes wrong: every weight of the last layers is lost."""
        import onnx
        from onnx import numpy_helper

        model = onnx.load_from_string(other)
        for tensor in model.graph.initializer:
            if ".outputs." in tensor.name:
                tensor.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(tensor), tensor.name))
        return Halved(bytes(model.SerializeToString()), 1, 1)

    monkeypatch.setattr("export.twin.halving.halved", another)
    done = halve(plain)
    assert done.exit_code == 1
    assert "answers moved by" in " ".join(done.output.split())
    assert not (plain / "analyzer.float16.onnx").exists()


def test_a_second_run_replaces_the_twin(plain: Path) -> None:
    """Halving a pack that has a twin makes it anew from the float graph: the same file, and no other beside it."""
    digests = []
    for _ in range(2):
        assert halve(plain).exit_code == 0
        digests.append(twin_of(plain).sha256)
    assert digests[0] == digests[1]
    assert sorted(path.name for path in plain.glob("*.onnx")) == [
        "analyzer.float16.onnx", "analyzer.onnx", "detector.onnx",
    ]  # fmt: skip


def test_a_broken_twin_is_found(plain: Path) -> None:
    """A twin that answers otherwise than the manifest states does not pass the check, under its own name."""
    assert halve(plain).exit_code == 0
    stated = json.loads((plain / "pack.json").read_text())
    stated["analyzers"][0]["float16"]["known_answer"]["outputs"]["gender"][0] = 7.0
    (plain / "pack.json").write_text(json.dumps(stated))
    with pytest.raises(ValueError, match=r"analyzer\.float16\.onnx: gender differs from the known answer"):
        check_pack(plain)


def test_temperatures_are_written_into_the_twin_too(plain: Path) -> None:
    """A pack with a float16 twin that gets temperatures answers with them from either graph, and passes its check."""
    assert halve(plain).exit_code == 0
    (part,), crops = read_pack(plain).analyzers, known_crops(1, 112, 2)
    files = ("analyzer.onnx", "analyzer.float16.onnx")
    surest = [open_session(plain / file).run({"images": crops})["expression"].max(1) for file in files]
    write_manifest(plain, temper_files(plain, read_pack(plain), part, {"expression": (4.0,)}))
    check_pack(plain)
    found = [open_session(plain / file).run({"images": crops})["expression"].max(1) for file in files]
    assert all((after < before).all() for after, before in zip(found, surest, strict=True))
    np.testing.assert_allclose(found[0], found[1], atol=5e-3)


@pytest.mark.parametrize(
    ("pack", "options", "complaint"),
    [
        ("nosuch", (), "no pack named 'nosuch'"),
        ("{plain}", ("--data", "nowhere"), "no data folder at nowhere"),
        ("{plain}", ("--out", "a b"), "--out"),
    ],
)
def test_mistakes_are_one_line(plain: Path, pack: str, options: tuple[str, ...], complaint: str) -> None:
    """No such pack, no folder, a name that is none: one line, and no exit code of success."""
    done = halve(pack.format(plain=plain), *options)
    assert done.exit_code != 0
    assert complaint in done.output
    assert done.output.count("Error:") == 1
