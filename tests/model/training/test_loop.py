"""Tests of model.training.loop: what a training does, and that a killed one ends like one that ran through."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from model.checkpoint import load_tensors
from model.training.devices import TrainingError
from model.training.loop import train_analyzer
from model.training.recipes.recipe import AnalyzerRecipe
from tests.model.training.faces import write_sets
from tests.model.training.runs import command_line, tiny_recipe

FILES = ("weights", "ema", "objective", "optimizer")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made-up sets in the true layout."""
    folder = tmp_path_factory.mktemp("data")
    write_sets(folder)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder of a tiny training that ran through."""
    out = tmp_path_factory.mktemp("whole")
    assert train_analyzer(tiny_recipe(), data, out)
    return out


def _start(arguments: Sequence[str]) -> "subprocess.Popen[str]":
    program = "from model.training.cli import main; main()"
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True)


def _signal_at(process: "subprocess.Popen[str]", step: int, number: signal.Signals) -> str:
    """Waits until the training's log names a step, signals it, and returns what it still said."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"step {step}/"):
            os.kill(process.pid, number)
            break
    rest = process.stderr.read()
    process.stderr.close()
    process.wait()
    return rest


def _assert_same(ours: Path, theirs: Path) -> None:
    for file in FILES:
        one, other = (load_tensors(out / "last" / f"{file}.safetensors") for out in (ours, theirs))
        assert one.keys() == other.keys()
        assert [name for name, value in one.items() if not torch.equal(value, other[name])] == [], file
    shipped = [(out / "ema" / "weights.safetensors").read_bytes() for out in (ours, theirs)]
    assert shipped[0] == shipped[1]


def _steps(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_leaves_a_run(whole: Path) -> None:
    """A training leaves a checkpoint, a state, a log with every loss, TensorBoard's events and the curves' picture."""
    rows = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 15))
    assert {"loss", "teacher", "relation", "margin", "age", "expression", "learning_rate"} <= rows[0].keys()
    assert (whole / "ema" / "weights.safetensors").is_file()
    assert json.loads((whole / "last" / "state.json").read_text())["step"] == 14
    assert list((whole / "tensorboard").glob("events*"))
    assert (whole / "report" / "training.png").read_bytes().startswith(b"\x89PNG")


def test_ships_precise_statistics(data: Path, whole: Path, tmp_path: Path) -> None:
    """At the end `ema/` has the averaged weights with batch norm statistics of its own; with 0 batches the averaged."""
    averaged = load_tensors(whole / "last" / "ema.safetensors")
    shipped = load_tensors(whole / "ema" / "weights.safetensors")
    differ = {name for name, value in averaged.items() if not torch.equal(value, shipped[name])}
    assert differ
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in differ)
    train_analyzer(tiny_recipe(statistics_batches="0"), data, tmp_path)
    plain = load_tensors(tmp_path / "ema" / "weights.safetensors")
    assert all(torch.equal(value, plain[name]) for name, value in averaged.items())


def test_learns(data: Path, tmp_path: Path) -> None:
    """On a few made-up faces the loss falls by a tenth within some steps."""
    recipe = tiny_recipe(total_steps="40", learning_rate="0.003", log_every="10")
    train_analyzer(recipe, data, tmp_path)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("step", [2, 8])
def test_a_killed_training_ends_like_one_that_ran_through(data: Path, whole: Path, tmp_path: Path, step: int) -> None:
    """Killed before its first checkpoint or while it writes one, and resumed: every tensor is the same to the bit."""
    process = _start(command_line(data, tmp_path))
    _signal_at(process, step, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert train_analyzer(tiny_recipe(), data, tmp_path, resume=True)
    _assert_same(tmp_path, whole)
    assert _steps(tmp_path) == list(range(1, 15))


def test_sigterm_saves_and_the_rest_follows(data: Path, whole: Path, tmp_path: Path) -> None:
    """SIGTERM ends a training after its step, saved, with one line and a failure; resumed, it ends the same."""
    process = _start(command_line(data, tmp_path))
    said = _signal_at(process, 5, signal.SIGTERM)
    assert process.returncode == 1
    assert "Error: stopped before the end; go on with --resume" in said
    assert "Traceback" not in said
    stopped_at = json.loads((tmp_path / "last" / "state.json").read_text())["step"]
    assert 5 <= stopped_at < 14
    assert train_analyzer(tiny_recipe(), data, tmp_path, resume=True)
    _assert_same(tmp_path, whole)


def test_a_cache_changes_nothing(data: Path, whole: Path, tmp_path: Path) -> None:
    """Pixels from a cache give the same weights as pixels that were decoded."""
    assert train_analyzer(tiny_recipe(), data, tmp_path / "run", cache=tmp_path / "cache")
    _assert_same(tmp_path / "run", whole)


def test_a_training_that_diverges_leaves_its_last_whole_state(data: Path, tmp_path: Path) -> None:
    """A loss that is no longer finite ends the training with one line, and what is on disk is finite."""
    recipe = tiny_recipe(learning_rate="1e30", warmup_steps="0", log_every="100", save_every="2")
    with pytest.raises(TrainingError, match="no longer finite"):
        train_analyzer(recipe, data, tmp_path)
    weights = load_tensors(tmp_path / "last" / "weights.safetensors")
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_missing_is_said(data: Path, tmp_path: Path) -> None:
    """Asked for CUDA where there is none, a training does not fall back to the CPU in silence."""
    with pytest.raises(TrainingError, match="torch finds no CUDA device"):
        train_analyzer(tiny_recipe(device="cuda"), data, tmp_path)


def test_a_set_without_rows_is_not_read(data: Path, tmp_path: Path) -> None:
    """A mixture that leaves a set out trains without that set's file."""
    for file in data.glob("utkface-*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    recipe: AnalyzerRecipe = tiny_recipe(**{"rows.celeba": "0", "rows.fer2013": "0"}, total_steps="2")
    assert train_analyzer(recipe, tmp_path, tmp_path / "run")


def test_the_shipped_embedding_lies_in_the_teachers_space(data: Path, whole: Path, tmp_path: Path) -> None:
    """Asked for, the shipped embedding has as many dimensions as the teacher's; nothing else of the network changes."""
    assert train_analyzer(tiny_recipe(teacher_space="true"), data, tmp_path)
    plain, carried = (load_tensors(out / "ema" / "weights.safetensors") for out in (whole, tmp_path))
    changed = {name for name, value in plain.items() if not torch.equal(value, carried[name])}
    assert changed
    assert all(name.startswith(("recognition.feature.2", "recognition.feature.3")) for name in changed)
    states = (load_tensors(out / "last" / "weights.safetensors") for out in (whole, tmp_path))
    torch.testing.assert_close(*states, rtol=0, atol=0)
