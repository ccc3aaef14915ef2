"""Tests of model.training.reproduction and its stages."""

import json
from dataclasses import replace
from pathlib import Path

import click
import pytest
import torch

from model.checkpoint import load_tensors
from model.runtime.pack import PACKS_DIR, read_pack, sha256_of
from model.training import reproduction
from model.training.recipes.registry import RECIPES
from model.training.recipes.reproduction import NANO_STAGES, Stage
from model.training.reproduction import FIGURES, compare, train_stage
from model.training.run_folder import read_state
from tests.model.training.faces import write_sets
from tests.model.training.runs import CHANGES


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up sets."""
    folder = tmp_path_factory.mktemp("data")
    write_sets(folder)
    return folder


def _tiny(stage: Stage) -> Stage:
    changes = {key: value for key, value in CHANGES.items() if key != "total_steps"}
    return replace(stage, changes=changes, total_steps=40)


def test_the_stages_are_the_recipes_at_their_own_length() -> None:
    """Every stage has the steps that its recipe has, and what it starts or learns from comes before it."""
    for place, stage in enumerate(NANO_STAGES):
        before = {other.name for other in NANO_STAGES[:place]}
        assert {name for name in (stage.init, stage.distil) if name} <= before
        if stage.recipe != "detector":
            assert RECIPES[stage.recipe]().total_steps == stage.total_steps
    assert [stage.name for stage in NANO_STAGES] == ["detector", "wide", "first", "nano"]


def test_a_share_shortens_schedule_and_warm_up() -> None:
    """A hundredth of the steps is warmed up over a tenth of them at most; the whole is what shipped."""
    stage = Stage("x", "nano", 4000, {"warmup_steps": "300"})
    assert stage.assignments(1.0) == {"total_steps": "4000", "warmup_steps": "300"}
    assert stage.assignments(0.01) == {"total_steps": "40", "warmup_steps": "4"}


def test_stages_train_in_a_row_and_are_done_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second learns from the first's average; asked again, neither is trained anew; half a run goes on."""
    wide, first, nano = (_tiny(stage) for stage in NANO_STAGES if stage.recipe != "detector")
    for stage in (wide, first, nano):
        train_stage(stage, data, tmp_path, 0.05)
    assert read_state(tmp_path / "nano")["step"] == 2
    assert read_state(tmp_path / "nano")["distilled_from"] == sha256_of(
        tmp_path / "first" / "ema" / "weights.safetensors"
    )
    before = (tmp_path / "nano" / "last" / "state.json").stat().st_mtime_ns
    train_stage(nano, data, tmp_path, 0.05)
    assert (tmp_path / "nano" / "last" / "state.json").stat().st_mtime_ns == before
    assert "is done" in capsys.readouterr().out
    train_stage(nano, data, tmp_path, 0.1)
    assert read_state(tmp_path / "nano")["step"] == 4


def test_a_stage_starts_from_the_weights_of_the_one_before(data: Path, tmp_path: Path) -> None:
    """The average of the stage that is named is where the next one begins."""
    _, first, nano = (_tiny(stage) for stage in NANO_STAGES if stage.recipe != "detector")
    train_stage(replace(first, distil=None), data, tmp_path, 0.05)
    train_stage(replace(nano, changes={**nano.changes, "learning_rate": "0"}), data, tmp_path, 0.05)
    start, end = (
        load_tensors(tmp_path / name / "last" / file)
        for name, file in (("first", "ema.safetensors"), ("nano", "weights.safetensors"))
    )
    trained = {name for name in start if name.endswith("weight") and ".norm" not in name}
    assert trained
    for name in trained:
        torch.testing.assert_close(end[name], start[name])


def test_figures_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each headline figure of two packs and their difference is a row; one that was not measured is said."""
    shipped = PACKS_DIR / "nano"
    measured = {(each.task, each.metric, each.dataset) for each in read_pack(shipped).measured}
    assert set(FIGURES) <= measured
    other = json.loads((shipped / "pack.json").read_text())
    other["measured"] = [each for each in other["measured"] if each["task"] != "age"]
    (tmp_path / "pack.json").write_text(json.dumps(other))
    compare(tmp_path, shipped)
    printed = " ".join(capsys.readouterr().out.split())
    assert "UTKFace age, MAE in years" in printed
    assert "not measured" in printed
    assert "+0.0000" in printed


def test_an_export_that_fails_is_one_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a detector to export, the command ends with one line, and what was trained stays."""
    wide = _tiny(next(stage for stage in NANO_STAGES if stage.name == "wide"))
    monkeypatch.setattr(reproduction, "compare", lambda *_: pytest.fail("there is no pack to compare"))
    with pytest.raises(click.ClickException, match="the export failed; what is trained stays"):
        reproduction.reproduce([replace(wide, name="nano")], data, tmp_path, 0.05, "nano")
    assert (tmp_path / "nano" / "ema").is_dir()
    capfd.readouterr()
