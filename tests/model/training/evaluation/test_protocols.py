import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from model.analyzer import Analyzer
from model.checkpoint import save
from model.detector.checkpoint import OperatingPoint, save_detector
from model.detector.config import DetectorConfig
from model.detector.network import DetectorNetwork
from model.network import MultiTaskNetwork
from model.training.cli import main
from model.training.evaluation.bins import measure_bin
from model.training.evaluation.report import read_report
from tests.model.networks import TINY
from tests.model.training.evaluation.ijb.lists import Face, loose_crops, write_lists
from tests.model.training.evaluation.photographs import crops, encoded, lit, write_bin
from tests.model.training.evaluation.sets import write_set
from tests.packs import build_pack


@pytest.fixture(scope="module")
def places(six_faces_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two `.bin` sets, an IJB-C folder, a parquet set and a checkpoint."""
    root = tmp_path_factory.mktemp("protocols")
    faces = crops(six_faces_path)
    pairs = [(faces[k % 6], lit(faces[(k if k % 2 else k + 1) % 6], 0.8), k % 2 == 1) for k in range(20)]
    (root / "bins").mkdir()
    for name in ("cfp_fp", "lfw"):
        images = [encoded(crop, "JPEG") for a, b, _ in pairs for crop in (a, b)]
        write_bin(root / "bins" / f"{name}.bin", images, [same for *_, same in pairs])
    templates = [Face(number, number, 0.9) for number in range(12)]
    listed = [(a, b, int(a % 6 == b % 6)) for a in range(12) for b in range(a)]
    write_lists(root / "IJBC", "ijbc", templates, listed, loose_crops(six_faces_path))
    (root / "data").mkdir()
    write_set(root / "data", "my", 8, {"age": [float(k) for k in range(8)]})
    torch.manual_seed(3)
    save(root / "ema", MultiTaskNetwork(TINY))
    return {"root": root, "bins": root / "bins", "ijbc": root / "IJBC", "data": root / "data", "ema": root / "ema"}


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_published_sets_are_measured_without_parquet_files(places: dict[str, Path], tmp_path: Path) -> None:
    """One command measures a folder of .bin sets and IJB-C; figures, curves and pictures are those of both."""
    options = ["--bin", places["bins"], "--ijb", places["ijbc"]]
    result = _run(places["ema"], *options, "--out", tmp_path, "--threads", 1)
    assert result.exit_code == 0, result.output
    report = read_report(tmp_path / "report.json")
    assert {row.dataset for row in report.measures} == {"cfp_fp.bin", "lfw.bin", "ijbc"}
    assert report.command == f"mien-train evaluate {places['ema']} --bin {places['bins']} --ijb {places['ijbc']}"
    assert [curve.dataset for curve in report.curves] == ["cfp_fp.bin", "lfw.bin", "ijbc"]
    assert {path.name for path in tmp_path.glob("*.png")} == {"roc.png", "det.png"}
    assert f"{100 * report.value('embedding', 'accuracy_10fold_grid', 'lfw.bin'):.2f} %" in result.output
    assert "note: ijbc: faces weighed by feature norms and scores" in result.output


def test_a_checkpoints_embeddings_are_summed_before_they_are_scaled(places: dict[str, Path], tmp_path: Path) -> None:
    """The figure is that of the network's own raw vectors, not of unit ones."""
    assert _run(places["ema"], "--bin", places["bins"] / "lfw.bin", "--out", tmp_path).exit_code == 0
    torch.manual_seed(3)
    network = MultiTaskNetwork(TINY).eval()
    lengths: list[float] = []

    def raw(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            vectors = np.asarray(network(pixels)["embedding"].numpy(), np.float32)
        lengths.extend(np.linalg.norm(vectors, axis=1).tolist())
        return vectors

    expected = measure_bin(places["bins"] / "lfw.bin", raw)
    assert max(lengths) > 1.001 * min(lengths)
    report = json.loads((tmp_path / "report.json").read_text())
    found = {row["metric"]: row["value"] for row in report["measures"]}
    for row in expected.measures:
        assert found[row.metric] == pytest.approx(row.value)
    thresholds = report["curves"][0]["threshold"]
    assert thresholds == pytest.approx(expected.curves[0].threshold, abs=1e-5)


def test_a_pack_is_measured_by_unit_vectors_and_says_so(places: dict[str, Path], tmp_path: Path) -> None:
    """Beside its parquet set, through onnxruntime; the note tells what a pack cannot weigh."""
    pack = build_pack(tmp_path / "tiny-pack")
    options = ["--data", places["data"], "--bin", places["bins"], "--ijb", places["ijbc"], "--no-detector-score"]
    result = _run(pack, *options, "--out", tmp_path / "report")
    assert result.exit_code == 0, result.output
    report = read_report(tmp_path / "report" / "report.json")
    assert {row.dataset for row in report.measures} == {"my", "cfp_fp.bin", "lfw.bin", "ijbc"}
    assert any("a pack's embeddings are of unit length" in note for note in report.notes)
    assert "ijbc: faces weighed by feature norms" in report.notes
    assert report.command.endswith("--no-detector-score")


def test_nothing_but_the_crop_is_asked_for_without_the_flip(places: dict[str, Path], tmp_path: Path) -> None:
    """The figure is another one, and the report says what was left out."""
    for name, option in (("with", "--flip"), ("without", "--no-flip")):
        result = _run(places["ema"], "--bin", places["bins"] / "lfw.bin", option, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
    found, plain = (read_report(tmp_path / name / "report.json") for name in ("with", "without"))
    assert found.curves != plain.curves
    assert any("mirror" in note for note in plain.notes)
    assert plain.command.endswith("--no-flip")


def test_a_model_without_embedding_has_nothing_to_verify_by(places: dict[str, Path], tmp_path: Path) -> None:
    """A network of tasks alone, and a detector's checkpoint, are one clear line each."""
    from dataclasses import replace

    torch.manual_seed(0)
    network = MultiTaskNetwork(replace(TINY, embedding_dim=None))
    assert "embedding" not in Analyzer(network).tasks
    save(tmp_path / "tasks", network)
    result = _run(tmp_path / "tasks", "--bin", places["bins"], "--out", tmp_path / "report")
    assert result.exit_code == 1
    assert "answers no embedding, so it has nothing to verify by" in result.output
    detector = DetectorNetwork(DetectorConfig(4, (4, 4, 4, 4), (1, 1, 1, 1), 4, 1))
    save_detector(tmp_path / "detector", detector, OperatingPoint(min_score=0.9))
    result = _run(tmp_path / "detector", "--bin", places["bins"], "--out", tmp_path / "report")
    assert result.exit_code == 1
    assert "is measured on --data alone" in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "say what to measure on: --data, --bin or --ijb"),
        (["--bin", "/nowhere/lfw.bin"], "no verification set at /nowhere/lfw.bin"),
        (["--ijb", "/nowhere"], "/nowhere holds no folder meta/"),
        (["--bin", "{data}/my-val.parquet"], "my-val.parquet is no verification set"),
    ],
)
def test_a_mistake_is_one_clear_line(places: dict[str, Path], tmp_path: Path, options: list[str], words: str) -> None:
    """No traceback, a non-zero exit, and words that say what to change."""
    given = [option.format(data=places["data"]) for option in options]
    result = _run(places["ema"], *given, "--out", tmp_path / "report")
    assert result.exit_code != 0
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert words in " ".join(result.output.split())
