"""A pack that stands gets thresholds and temperatures: what changes of it, what stays, and that it stays whole."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.progress import Progress

import export.recalibrate
from export.calibrate import FMRS
from export.check import predict_by
from export.cli import main
from export.errors import ExportError
from export.pack_check import check_pack
from export.recalibrate import recalibrate
from export.tempering import replaced
from model.checkpoint import load_network
from model.runtime.known_answer import known_crops
from model.runtime.pack import Figure, Pack, read_pack, verify_pack
from model.runtime.session import open_session
from model.training.dataset import DataError
from tests.model.training.evaluation.sets import write_set

NUM = 250


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A set of coloured crops with made-up expressions and attributes, which no network can know."""
    folder, rng = tmp_path / "labelled", np.random.default_rng(2)
    folder.mkdir()
    labels = {
        "expression": rng.integers(0, 7, NUM).tolist(),
        "attributes": rng.integers(0, 2, (NUM, 40)).astype(np.int8).tolist(),
    }
    write_set(folder, "my", NUM, labels)
    return folder


def without_embedding(folder: Path) -> Path:
    """Takes the embedding out of a pack's manifest alone, so that nothing asks for pairs of people."""
    manifest = json.loads((folder / "pack.json").read_text())
    part = manifest["analyzers"][0]
    part["tasks"].remove("embedding")
    del part["known_answer"]["outputs"]["embedding"]
    part["embedding_dim"] = manifest["embedding_space"] = None
    (folder / "pack.json").write_text(json.dumps(manifest))
    return folder


def answers(folder: Path) -> dict[str, np.ndarray]:
    found = predict_by(open_session(folder / "analyzer.onnx"))(known_crops(5, 112, 6))
    return {str(task): answer for task, answer in found.items()}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def tempered(
    own_pack: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Pack, dict[str, np.ndarray], Path]:
    """A tiny pack with temperatures, the manifest and the answers that it had before, and its folder."""
    before, answered = read_pack(own_pack), answers(own_pack)
    monkeypatch.setattr(export.recalibrate, "calibrate", lambda *_: None)  # the set's people are no people
    found = recalibrate(str(own_pack), labelled, Progress(disable=True))
    assert set(found.temperatures) == {"expression", "attributes"}
    return before, answered, own_pack


def test_a_tempered_pack_passes_every_check(tempered: tuple[Pack, dict[str, np.ndarray], Path]) -> None:
    """Graph, stored network, hashes and known answer agree after temperatures were written into all of them."""
    before, _, folder = tempered
    findings = {finding.what: finding.result for finding in check_pack(folder)}
    assert "agree at batch sizes" in findings["graph and stored network"]
    after = read_pack(folder)
    assert after.analyzers[0].sha256 != before.analyzers[0].sha256
    assert after.analyzers[0].temperatures.keys() == {"expression", "attributes"}
    assert (
        load_network(folder / "analyzer").config.temperatures.expression
        == after.analyzers[0].temperatures["expression"]
    )
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_tempered_pack_answers_the_same_labels(tempered: tuple[Pack, dict[str, np.ndarray], Path]) -> None:
    """No likeliest class and no yes or no changes; embeddings, their space, and the weights stay bit for bit."""
    before, answered, folder = tempered
    now, after = answers(folder), read_pack(folder)
    for task in ("embedding", "age", "gender", "race"):
        np.testing.assert_array_equal(now[task], answered[task])
    np.testing.assert_array_equal(now["expression"].argmax(1), answered["expression"].argmax(1))
    np.testing.assert_array_equal(now["attributes"] > 0.5, answered["attributes"] > 0.5)
    assert np.abs(now["expression"] - answered["expression"]).max() > 1e-4
    assert after.embedding_space == before.embedding_space
    weights = [entry for entry in before.checkpoints if entry.file.endswith("weights.safetensors")]
    assert set(weights) <= set(after.checkpoints)


def test_figures_say_what_a_temperature_did(tempered: tuple[Pack, dict[str, np.ndarray], Path], labelled: Path) -> None:
    """Errors before and after stand in manifest and card with the command that gives them again; after is no more."""
    _, _, folder = tempered
    pack = read_pack(folder)
    values = {(figure.task, figure.metric): figure.value for figure in pack.measured if figure.dataset == "my"}
    for task in ("expression", "attributes"):
        assert values[task, "ece_after"] < values[task, "ece_before"]
        assert (task, "ece") in values
    assert {f.command for f in pack.measured if f.dataset == "my"} == {
        f"mien-train evaluate {folder} --data {labelled}"
    }
    card = (folder / "CARD.md").read_text()
    assert f"| expression | my | all answers | {values['expression', 'ece_before']:.4f} |" in card


def test_calibrating_twice_changes_nothing(tempered: tuple[Pack, dict[str, np.ndarray], Path], labelled: Path) -> None:
    """Temperatures are of the network and not of each other: fitted anew they are what they were."""
    _, _, folder = tempered
    first = read_pack(folder)
    recalibrate(str(folder), labelled, Progress(disable=True))
    second = read_pack(folder)
    for task, temperature in first.analyzers[0].temperatures.items():
        assert second.analyzers[0].temperatures[task] == pytest.approx(temperature, rel=1e-2)
    kept = [(figure.task, figure.metric, figure.dataset) for figure in second.measured]
    assert kept == [(figure.task, figure.metric, figure.dataset) for figure in first.measured]


def test_a_change_that_fails_its_check_leaves_the_old_pack(
    own_pack: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the changed copy is refused, or the work is interrupted, every file is the old one and nothing is left."""

    def refuse(_: Path) -> None:
        raise ExportError("refused")

    monkeypatch.setattr(export.recalibrate, "calibrate", lambda *_: None)
    monkeypatch.setattr(export.recalibrate, "check_pack", refuse)
    before = contents(own_pack)
    with pytest.raises(ExportError, match="refused"):
        recalibrate(str(own_pack), labelled, Progress(disable=True))
    assert contents(own_pack.parent) == before


def test_a_pack_that_nothing_can_be_told_of_is_refused(own_pack: Path, tmp_path: Path) -> None:
    """Without embeddings, and without a set that labels a task of probabilities, there is nothing to calibrate."""
    write_set(tmp_path, "ages", 30, {"age": [30.0] * 30})
    with pytest.raises(ExportError, match="neither embeddings nor probabilities"):
        recalibrate(str(without_embedding(own_pack)), tmp_path, Progress(disable=True))


def test_a_missing_set_leaves_the_pack_as_it_is(own_pack: Path, tmp_path: Path) -> None:
    """Calibrating on a folder without the set fails in one line and changes no file."""
    before = contents(own_pack)
    with pytest.raises(DataError, match=r"lfw-val\.parquet"):
        recalibrate(str(own_pack), tmp_path, Progress(disable=True))
    assert contents(own_pack) == before


def test_thresholds_alone_rewrite_manifest_and_card_alone(own_pack: Path, shared_data: Path) -> None:
    """Without temperatures a real set's thresholds are stored, the card rewritten, and every other file kept."""
    before = read_pack(own_pack)
    files = {path: data for path, data in contents(own_pack).items() if path.suffix in (".onnx", ".safetensors")}
    found = recalibrate(str(own_pack), shared_data, Progress(disable=True), "celeba", temperatures=False).verification
    after = read_pack(own_pack)
    assert found is not None
    assert after.verification == found
    assert found.num_images == 1098
    assert found.num_impostor_pairs + found.num_genuine_pairs == 1098 * 1097 // 2
    assert [row.fmr for row in found.thresholds] == list(FMRS)
    assert found.intervals is not None
    assert found.intervals.num_identities == 60
    assert after.model_copy(update={"verification": None}) == before
    verify_pack(own_pack, after, checkpoints=True)
    assert {path: path.read_bytes() for path in files} == files
    assert f"{found.num_impostor_pairs:,} impostor" in (own_pack / "CARD.md").read_text()


def test_the_command_prints_errors_and_temperatures(
    own_pack: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mien-export calibrate` tells each task's error before and after, and its temperature."""
    monkeypatch.setattr(export.recalibrate, "calibrate", lambda *_: None)
    arguments = ["calibrate", str(own_pack), "--data", str(labelled)]
    done = CliRunner().invoke(main, arguments, env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    for word in ("before", "after", "temperature", "expression", "attributes"):
        assert word in done.output


def test_figures_are_replaced_in_their_places() -> None:
    """Fresh errors stand where old ones stood, an error that no longer holds goes, and no other figure moves."""

    def figure(metric: str, value: float, dataset: str = "a", task: str = "gender") -> Figure:
        return Figure(task=task, metric=metric, value=value, dataset=dataset, num_samples=9, command="c")

    old = [figure("accuracy", 0.9), figure("ece", 0.5), figure("ece", 0.4, "gone"), figure("ece", 0.3, task="race")]
    fresh = [figure("ece", 0.1), figure("ece_after", 0.2)]
    assert replaced(old, fresh) == (old[0], fresh[0], old[3], fresh[1])
