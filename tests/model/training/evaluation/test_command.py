import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from model.analyzer import Analyzer
from model.checkpoint import CheckpointError, save
from model.detector.checkpoint import OperatingPoint, save_detector
from model.detector.config import DetectorConfig
from model.detector.network import DetectorNetwork
from model.network import MultiTaskNetwork
from model.runtime.pack import read_pack
from model.training.cli import main
from model.training.evaluation.examination import kind_of
from model.training.evaluation.report import read_report
from model.training.evaluation.subjects import open_checkpoint, open_pack, resized
from tests.model.networks import SMALL, TINY
from tests.model.training.evaluation.sets import write_scenes, write_set
from tests.packs import build_pack

NUM = 24


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    labels: dict[str, list[object]] = {
        "identity": [f"my:{number // 4}" for number in range(NUM)],
        "age": [float(number) for number in range(NUM)],
        "gender": [number % 2 for number in range(NUM)],
        "attributes": [[number % 2] * 40 for number in range(NUM)],
    }
    write_set(folder, "my", NUM, labels)
    write_scenes(folder)
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training leaves behind: averaged weights and a log."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    torch.manual_seed(3)
    save(folder / "ema", MultiTaskNetwork(TINY))
    rows = [json.dumps({"step": step, "loss": 3 / step}) for step in range(1, 9)]
    (folder / "log.jsonl").write_text("\n".join(rows))
    return folder


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_a_training_run_is_evaluated_into_its_own_report(run_folder: Path, data: Path) -> None:
    """The averaged weights are measured; figures are printed, and report and pictures lie in the run's folder."""
    result = _run(run_folder, "--data", data)
    assert result.exit_code == 0, result.output
    report = read_report(run_folder / "report" / "report.json")
    assert report.model == str(run_folder / "ema")
    assert report.command == f"mien-train evaluate {run_folder} --data {data}"
    assert f"{report.value('age', 'mae_years', 'my'):.2f} years" in result.output
    assert {path.name for path in (run_folder / "report").glob("*.png")} >= {"roc.png", "training.png", "groups-my.png"}
    assert "note: lfw: not in" in result.output


def test_a_checkpoints_figures_are_those_of_its_own_network(run_folder: Path, data: Path, tmp_path: Path) -> None:
    """The age error is what the analyzer's own answers on the set's crops give."""
    assert _run(run_folder / "ema", "--data", data, "--out", tmp_path, "--batch-size", 5).exit_code == 0
    torch.manual_seed(3)
    analyzer = Analyzer(MultiTaskNetwork(TINY).eval())
    crops = np.zeros((NUM, 112, 112, 3), np.uint8)
    crops[..., 1], crops[..., 2] = np.arange(NUM)[:, None, None], 77
    with torch.inference_mode():
        years = analyzer(torch.from_numpy(crops))["age"].numpy()
    report = read_report(tmp_path / "report.json")
    assert report.value("age", "mae_years", "my") == pytest.approx(np.abs(years - np.arange(NUM)).mean(), rel=1e-4)
    assert report.value("age", "bias_years", "my") == pytest.approx((years - np.arange(NUM)).mean(), rel=1e-4)


def test_a_pack_is_evaluated_with_its_detector(data: Path, tmp_path: Path) -> None:
    """Through onnxruntime: the analyzer's tasks at its own crop side, and the detector on photographs and rooms."""
    pack = build_pack(tmp_path / "tiny-pack")
    result = _run(pack, "--data", data, "--out", tmp_path / "report", "--threads", 1)
    assert result.exit_code == 0, result.output
    report = read_report(tmp_path / "report" / "report.json")
    assert report.value("detection", "recall_at_iou_0.5", "detection-val") == pytest.approx(2 / 3)
    assert report.value("detection", "false_alarms_per_room", "detection-val") == 0
    assert {measure.task for measure in report.measures} == {"embedding", "age", "gender", "attributes", "detection"}
    assert "66.7 %" in result.output


def test_a_pack_without_detection_data_keeps_its_analyzers_figures(tmp_path: Path) -> None:
    """The missing set is a note."""
    write_set(tmp_path, "my", 3, {"age": [1.0, 2.0, 3.0]})
    result = _run(build_pack(tmp_path / "tiny-pack"), "--data", tmp_path, "--out", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert "note: detection: no detection-val*.parquet" in result.output
    assert read_report(tmp_path / "report" / "report.json").value("age", "mae_years", "my") > 0


def test_a_detectors_checkpoint_is_told_by_its_description(data: Path, tmp_path: Path) -> None:
    """Only detection is measured, at the checkpoint's own operating point."""
    torch.manual_seed(0)
    network = DetectorNetwork(DetectorConfig(4, (4, 4, 4, 4), (1, 1, 1, 1), 4, 1))
    save_detector(tmp_path / "ema", network, OperatingPoint(min_score=0.9))
    assert kind_of(tmp_path / "ema") == "detector"
    result = _run(tmp_path / "ema", "--data", data, "--out", tmp_path / "report", "--limit", 3)
    assert result.exit_code == 0, result.output
    report = read_report(tmp_path / "report" / "report.json")
    assert {measure.task for measure in report.measures} == {"detection"}
    assert report.value("detection", "min_score", "detection-val") == 0.9


def test_a_checkpoint_without_a_description_is_no_checkpoint(tmp_path: Path) -> None:
    """Weights beside no config.json, and beside one that is not JSON, are one clear line each."""
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"cannot read config\.json"):
        kind_of(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        kind_of(tmp_path)


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("absent", [], "no checkpoint at absent, and no pack named 'absent'"),
        ("{tmp}", [], "neither a checkpoint (weights.safetensors) nor a pack"),
        ("{run}", ["--data", "/nowhere"], "no data folder at /nowhere"),
        ("{run}", ["--data", "{tmp}"], "no NAME-val.parquet"),
        ("{run}", ["--limit", "0"], "0 is not in the range"),
        ("{run}", ["--out", "{data}/my-val.parquet"], "is a file"),
        ("{run}", ["--out", "/proc/report"], "cannot write /proc/report"),
    ],
)
def test_a_mistake_is_one_clear_line(
    run_folder: Path, data: Path, tmp_path: Path, target: str, options: list[str], words: str
) -> None:
    """No traceback, a non-zero exit, and words that say what to change."""
    places = {"run": run_folder, "tmp": tmp_path, "data": data}
    given = ["--data", str(data), "--out", str(tmp_path / "report")]
    given += [option.format(**places) for option in options]
    result = _run(target.format(**places), *given)
    assert result.exit_code != 0
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert words in " ".join(result.output.split())


def test_a_pack_whose_files_differ_is_refused(data: Path, tmp_path: Path) -> None:
    """A detector that is not the one whose hash the pack states ends the evaluation before it begins."""
    pack = build_pack(tmp_path / "tiny-pack")
    with (pack / "detector.onnx").open("ab") as file:
        file.write(b"x")
    result = _run(pack, "--data", data, "--out", tmp_path / "report")
    assert result.exit_code == 1
    assert "SHA-256" in result.output
    assert not (tmp_path / "report").exists()


def test_an_analyzer_of_another_alignment_is_not_asked(tmp_path: Path) -> None:
    """A pack whose analyzers all take other crops has no subject: its figures would mean nothing."""
    folder = build_pack(tmp_path / "tiny-pack")
    pack = read_pack(folder)
    celeba = tuple(part.model_copy(update={"alignment": "celeba"}) for part in pack.analyzers)
    assert open_pack(folder, pack) is not None
    assert open_pack(folder, pack.model_copy(update={"analyzers": celeba})) is None


def test_each_analyzer_of_a_pack_is_measured_on_its_own_crops(tmp_path: Path) -> None:
    """Two analyzers of one pack, one in CelebA's alignment: each answers the sets that hold its crops, no others."""
    folder = build_pack(tmp_path / "tiny-pack")
    pack = read_pack(folder)
    first = pack.analyzers[0].model_copy(update={"tasks": ("age",), "labels": {}, "embedding_dim": None})
    second = first.model_copy(update={"tasks": ("attributes",), "alignment": "celeba"})
    two = pack.model_copy(update={"analyzers": (first, second), "embedding_space": None, "verification": None})
    (folder / "pack.json").write_text(two.model_dump_json())
    labels: dict[str, list[object]] = {"age": [1.0] * 4, "attributes": [[1] * 40] * 4}
    write_set(tmp_path, "mine", 4, labels)
    result = _run(folder, "--data", tmp_path, "--out", tmp_path / "without")
    assert result.exit_code == 0, result.output
    report = read_report(tmp_path / "without" / "report.json")
    assert {(row.task, row.dataset) for row in report.measures} == {("age", "mine")}
    assert f"{second.file}: takes celeba crops and no set holds such, left out" in report.notes
    write_set(tmp_path, "celeba", 4, labels, form={"mien.side_px": "224", "mien.alignment": "celeba"})
    assert _run(folder, "--data", tmp_path, "--out", tmp_path / "with").exit_code == 0
    report = read_report(tmp_path / "with" / "report.json")
    assert {(row.task, row.dataset) for row in report.measures} == {("age", "mine"), ("attributes", "celeba")}
    assert not any("left out" in note and "takes" in note for note in report.notes)


@pytest.mark.parametrize("family", ["faer attributes", "ir age", "ir-se gender", "ir race", "ir", "swinface"])
def test_a_network_of_any_family_and_side_is_measured(family: str, tmp_path: Path) -> None:
    """Crops of 112 pixels are brought to the network's side, and every task that it answers has figures."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(SMALL[family])
    save(tmp_path / "ema", network)
    labels: dict[str, list[object]] = {
        "identity": [f"my:{number // 4}" for number in range(NUM)],
        "age": [float(number) for number in range(NUM)],
        "gender": [number % 2 for number in range(NUM)],
        "race": [number % 5 for number in range(NUM)],
        "expression": [number % 7 for number in range(NUM)],
        "attributes": [[number % 2] * 40 for number in range(NUM)],
    }
    write_set(tmp_path, "my", NUM, labels)
    result = _run(tmp_path / "ema", "--data", tmp_path, "--out", tmp_path / "report")
    assert result.exit_code == 0, result.output
    report = read_report(tmp_path / "report" / "report.json")
    assert {row.task for row in report.measures} == set(Analyzer(network).tasks)


def test_crops_are_brought_to_the_networks_side() -> None:
    """Smaller by area, larger by interpolation, and untouched where they fit."""
    crops = np.zeros((2, 112, 112, 3), np.uint8)
    crops[:, :, 56:] = 200
    small = resized(crops, 32)
    assert small.shape == (2, 32, 32, 3)
    assert (small[0, 0, 0, 0], small[0, 0, 31, 0]) == (0, 200)
    assert resized(crops, 160).shape == (2, 160, 160, 3)
    assert resized(crops, 112) is crops


def test_half_precision_weights_are_measured_in_full_precision(tmp_path: Path) -> None:
    """A checkpoint as a pack carries it answers within rounding of the one that it was made from."""
    torch.manual_seed(1)
    network = MultiTaskNetwork(TINY)
    save(tmp_path / "full", network)
    save(tmp_path / "half", network, half=True)
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    full = open_checkpoint(tmp_path / "full", "cpu").predict(crops)
    half = open_checkpoint(tmp_path / "half", "cpu").predict(crops)
    assert half["embedding"].dtype == np.float32
    assert (full["embedding"] * half["embedding"]).sum(1) == pytest.approx(np.ones(3), abs=1e-3)


def test_a_detector_is_tried_under_conditions(data: Path, tmp_path: Path) -> None:
    """`--robustness` adds every condition to the report and a table of them, at the scales that are asked for."""
    network = DetectorNetwork(DetectorConfig(4, (4, 4, 4, 4), (1, 1, 1, 1), 4, 1))
    save_detector(tmp_path / "ema", network, OperatingPoint(min_score=0.9))
    result = _run(
        tmp_path / "ema", "--data", data, "--out", tmp_path / "report", "--limit", 3, "--robustness", "--scales", "1"
    )
    assert result.exit_code == 0, result.output
    assert "the detector by condition" in result.output
    report = read_report(tmp_path / "report" / "report.json")
    assert report.command.endswith("--limit 3 --robustness --scales 1")
    groups = {measure.group for measure in report.measures}
    assert {"condition=clean", "condition=close-up, 100 %", "condition=JPEG quality 10"} <= groups
    assert report.value("detection", "views_per_photo", "detection-val", "condition=clean") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--scales", "0.5"], "scales are 1 and"), (["--robustness"], "--robustness is measured on the scenes")],
)
def test_conditions_that_cannot_be_tried(tmp_path: Path, options: list[str], words: str) -> None:
    """Scales without 1, and conditions without data, are one clear line."""
    data = ["--bin", "lfw.bin"] if "--robustness" in options else ["--data", tmp_path]
    result = _run("nano", *data, *options)
    assert result.exit_code == 2
    assert words in result.output
