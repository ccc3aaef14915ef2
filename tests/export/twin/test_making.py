"""`mien-export quantise` on a real pack and real faces: what is written, what is stated, and when nothing is."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from export.card import render
from export.cli import main
from export.pack_check import check_pack
from export.pack_writer import write_manifest
from export.tempering import temper_files
from export.twin import verdict
from model.runtime.known_answer import known_crops
from model.runtime.pack import Precision, read_pack, sha256_of
from model.runtime.session import Session
from model.runtime.twin_part import TwinPart, TwinSpeed
from model.runtime.twins import with_twins
from service.onnx_engine import open_engine


def quantised(pack: Path, data: Path, *options: str) -> Result:
    arguments = ["quantise", str(pack), "--data", str(data), "--crops", "8", "--rounds", "1", *options]
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def plain(quantisable_pack: Path, tmp_path: Path) -> Path:
    """A pack without a twin, to put one into."""
    return Path(shutil.copytree(quantisable_pack, tmp_path / "plain"))


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a tiny untrained network keeps, whose gain and whose losses are chance; the rules are as ever."""
    monkeypatch.setattr(verdict, "MIN_SPEED", 1e-6)
    monkeypatch.setattr(verdict, "MAX_LOST_POINTS", 101.0)
    monkeypatch.setattr(verdict, "MAX_LOST_YEARS", 101.0)


def twin_of(folder: Path) -> TwinPart:
    (part,) = read_pack(folder).analyzers
    assert part.int8 is not None
    return part.int8


@pytest.mark.usefixtures("lenient")
def test_a_twin_is_written_stated_checked_and_served(plain: Path, few_faces: Path, tmp_path: Path) -> None:
    """The preferred candidate lies beside the graph, with hash, figures, and an answer that the service meets."""
    done = quantised(plain, few_faces, "--method", "static", "--out", str(tmp_path / "new"))
    assert done.exit_code == 0, done.output
    assert read_pack(plain).analyzers[0].int8 is None
    pack, twin = read_pack(tmp_path / "new"), twin_of(tmp_path / "new")
    assert (pack.name, twin.file, twin.preferred) == ("new", "analyzer.int8.onnx", True)
    assert twin.sha256 == sha256_of(tmp_path / "new" / twin.file)
    assert {row.task for row in twin.compared} == set(pack.tasks)
    assert [row.batch_size for row in twin.speed] == [1, 8]
    assert twin.cosine_mean is not None
    assert (twin.cosine_mean >= 0.995, twin.embedding_space) == (True, None)
    findings = [finding.what for finding in check_pack(tmp_path / "new")]
    assert "analyzer.int8.onnx: known answer" in findings
    engine = open_engine(str(tmp_path / "new"), precision="int8")
    engine.warm_up()
    assert (engine.pack.precision, engine.pack.embedding_space) == ("int8", pack.embedding_space)
    crops = known_crops(1, 112, 2)
    before = open_engine(str(tmp_path / "new"), precision="float32").analyze(0, crops)["embedding"]
    assert 0 < abs(engine.analyze(0, crops)["embedding"] - before).max() < 0.2
    card = (tmp_path / "new" / "CARD.md").read_text()
    assert card == render(pack)
    assert "## In int8: analyzer.int8.onnx" in card


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize(
    ("fastest", "least_cosine", "num_rounds"), [("all", 0.9, 1), ("all", 1.1, 2), ("products", 0.9, 2)]
)
def test_no_matrix_is_spared_where_none_needs_to_be(
    plain: Path, few_faces: Path, monkeypatch: pytest.MonkeyPatch, fastest: str, least_cosine: float, num_rounds: int
) -> None:
    """What each matrix does alone is measured unless the fastest that keeps all limits has every matrix in int8."""

    def speeds(_: Session, twins: Mapping[str, Session], *__: object) -> dict[str, tuple[TwinSpeed, ...]]:
        """The clock of a machine on which one kind is twice as fast as the others."""
        ratios = {name: 4.0 if name.endswith(fastest) else 2.0 for name in twins}
        return {
            name: tuple(
                TwinSpeed(batch_size=size, ratio_min=ratio, ratio_median=ratio, ratio_max=ratio) for size in (1, 8)
            )
            for name, ratio in ratios.items()
        }

    monkeypatch.setattr("export.twin.trials.measure_speeds", speeds)
    monkeypatch.setattr(verdict, "MIN_COSINE", least_cosine)
    done = quantised(plain, few_faces, "--method", "static", "--limit", "20")
    assert done.output.count("making candidates") == num_rounds


def test_where_nothing_is_gained_nothing_is_written(plain: Path, few_faces: Path) -> None:
    """A twin that is not fast or close enough leaves the pack byte for byte, a table, one line, and exit code 1."""
    before = {path.name: sha256_of(path) for path in plain.glob("*.*")}
    done = quantised(plain, few_faces, "--method", "dynamic")
    assert done.exit_code == 1
    assert "depends on the other crops of its batch" in re.sub(r"[\s│]+", " ", done.output)
    assert done.output.strip().splitlines()[-1].startswith("Error: no twin was written")
    assert {path.name: sha256_of(path) for path in plain.glob("*.*")} == before


def test_a_twin_kept_anyway_is_not_preferred(plain: Path, few_faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--keep-anyway` writes the best sound twin into the pack itself; `auto` goes on with the float graph."""
    monkeypatch.setattr(verdict, "MIN_SPEED", 1e6)
    done = quantised(plain, few_faces, "--method", "static", "--keep-anyway")
    assert done.exit_code == 0, done.output
    twin = twin_of(plain)
    assert not twin.preferred
    assert twin.compared
    assert open_engine(str(plain)).pack.precision == "float32"
    assert open_engine(str(plain), precision="int8").pack.precision == "int8"
    assert "only with `MIEN_PRECISION=int8`" in (plain / "CARD.md").read_text()


def test_embeddings_that_moved_too_far_have_a_space_of_their_own(
    plain: Path, few_faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the least cosine a twin that is kept anyway names its own space, and brings no thresholds along."""
    monkeypatch.setattr(verdict, "MIN_COSINE", 0.9999999)
    monkeypatch.setattr("export.twin.making.MIN_COSINE", 0.9999999)
    done = quantised(plain, few_faces, "--method", "static", "--keep-anyway", "--limit", "20")
    assert done.exit_code == 0, done.output
    pack, twin = read_pack(plain), twin_of(plain)
    assert twin.embedding_space is not None
    assert twin.embedding_space != pack.embedding_space
    assert with_twins(pack).embedding_space == twin.embedding_space
    check_pack(plain)


@pytest.mark.usefixtures("lenient")
def test_a_second_run_replaces_the_twin(plain: Path, few_faces: Path) -> None:
    """Quantising a pack that has a twin makes it anew from the float graph; the same order gives the same file."""
    digests = []
    for _ in range(2):
        assert quantised(plain, few_faces, "--method", "static", "--limit", "20").exit_code == 0
        digests.append(twin_of(plain).method.split(",")[0])
        check_pack(plain)
    assert digests == ["static", "static"]
    assert sorted(path.name for path in plain.glob("*.onnx")) == [
        "analyzer.int8.onnx", "analyzer.onnx", "detector.onnx",
    ]  # fmt: skip


@pytest.mark.usefixtures("lenient")
def test_a_broken_twin_is_found(plain: Path, few_faces: Path) -> None:
    """A twin that answers otherwise than the manifest states does not pass the check, under its own name."""
    assert quantised(plain, few_faces, "--method", "static", "--limit", "20").exit_code == 0
    stated = json.loads((plain / "pack.json").read_text())
    stated["analyzers"][0]["int8"]["known_answer"]["outputs"]["gender"][0] = 7.0
    (plain / "pack.json").write_text(json.dumps(stated))
    with pytest.raises(ValueError, match=r"analyzer\.int8\.onnx: gender differs from the known answer"):
        check_pack(plain)


@pytest.mark.parametrize(
    ("pack", "data", "complaint"),
    [
        ("nosuch", "{few}", "no pack named 'nosuch'"),
        ("{plain}", "{plain}", "holds no NAME-train.parquet of arcface-5pt crops"),
        ("{plain}", "nowhere", "no data folder at nowhere"),
    ],
)
def test_mistakes_are_one_line(plain: Path, few_faces: Path, pack: str, data: str, complaint: str) -> None:
    """No such pack, no training set, no folder: one line and exit code 1."""
    done = quantised(Path(pack.format(plain=plain)), Path(data.format(few=few_faces, plain=plain)))
    assert done.exit_code == 1
    assert complaint in done.output
    assert done.output.count("Error:") == 1


@pytest.mark.usefixtures("lenient")
def test_temperatures_are_written_into_the_twin_too(plain: Path, few_faces: Path) -> None:
    """A pack with a twin that gets temperatures answers with them from either graph, and passes its check."""
    done = quantised(plain, few_faces, "--method", "static")
    assert done.exit_code == 0, done.output
    (part,), before = read_pack(plain).analyzers, open_engine(str(plain), precision="int8")
    crops = known_crops(1, 112, 2)
    surest = before.analyze(0, crops)["expression"].max(1)
    write_manifest(plain, temper_files(plain, read_pack(plain), part, {"expression": (4.0,)}))
    check_pack(plain)
    graphs: tuple[Precision, ...] = ("float32", "int8")
    for precision in graphs:
        engine = open_engine(str(plain), precision=precision)
        engine.warm_up()
        assert (engine.analyze(0, crops)["expression"].max(1) < surest).all()
