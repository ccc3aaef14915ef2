"""Tests of every recipe: a short training at reduced size of each published system, its checkpoint and its graph."""

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import onnx
import pytest
import torch

from export.graph import trace
from model.analyzer import Analyzer
from model.checkpoint import load_network, load_tensors
from model.training.loop import train_analyzer
from model.training.recipes.names import NAMES
from tests.model.training.families import assignments, small, write_all

_MULTI_TASK = {"teacher", "relation", "margin", "age", "gender", "race", "expression", "attributes"}
LOSSES = {
    "nano-continued": _MULTI_TASK,
    "wide": _MULTI_TASK,
    "swinface-pretrain": {"margin"},
    "swinface": {"margin", "age", "gender", "expression", "attributes"},
    "tmlfa": {"margin", "age", "gender", "expression", "attributes"},
    "faer-attributes": {"attributes"},
    "faer-expression": {"expression", "centre"},
    "ir-age": {"age"},
    "ir-gender": {"gender"},
    "ir-race": {"race"},
    "ir-recognition": {"margin"},
}


class StopAfter(list[int]):
    """What a signal fills, asked before each step: it comes after a number of them."""

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self.left = num_steps

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made-up sets to train on and three to validate on."""
    folder = tmp_path_factory.mktemp("data")
    write_all(folder)
    return folder


@pytest.mark.parametrize("name", [name for name in NAMES if name != "nano"])
def test_each_recipe_trains(data: Path, tmp_path: Path, name: str) -> None:
    """A few steps log exactly the family's losses, all finite, and leave a checkpoint that loads and exports."""
    recipe = small(name)
    assert train_analyzer(recipe, data, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    figures = {"step", "loss", "gradient_norm", "learning_rate", "steps_per_second"}
    assert rows[0].keys() - figures == LOSSES[name]
    assert all(torch.isfinite(torch.tensor(list(row.values()))).all() for row in rows)
    network = load_network(tmp_path / "ema")
    assert network.config == recipe.network
    graph = onnx.load_from_string(trace(Analyzer(network)))
    assert [output.name for output in graph.graph.output] == list(recipe.network.tasks)


@pytest.mark.parametrize(
    ("name", "num_steps", "changes"),
    [
        ("swinface", 1, {"mixing.kind": "cutmix", "accumulation": "2"}),
        ("ir-age", 7, {"schedule.kind": "plateau", "epochs": "3", "total_steps": "0", "validation.per_epoch": "2"}),
        ("faer-expression", 3, {"gradient_checkpointing": "true", "optimizer.as_published": "true"}),
    ],
)
def test_each_optimizer_resumes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, num_steps: int, changes: dict[str, str]
) -> None:
    """A training that is cut in two ends with the tensors of one that ran through, to the bit, best and all."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    recipe = small(name, **changes)
    assert train_analyzer(recipe, data, whole)
    with monkeypatch.context() as patched:
        patched.setattr("model.training.loop.stopping", lambda: nullcontext(StopAfter(num_steps)))
        assert not train_analyzer(recipe, data, cut)
    assert train_analyzer(recipe, data, cut, resume=True)
    for file in ("last/weights", "last/ema", "last/objective", "last/optimizer", "ema/weights"):
        one, other = (load_tensors(out / f"{file}.safetensors") for out in (whole, cut))
        assert one.keys() == other.keys()
        assert [key for key, value in one.items() if not torch.equal(value, other[key])] == [], file
    states = [json.loads((out / "last" / "state.json").read_text()) for out in (whole, cut)]
    assert states[0] == states[1]


def test_ctrl_c_ends_the_worker_processes_too(data: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches every process of a training that reads ahead: it saves, says one line, and goes on the same."""
    out, changes = tmp_path / "cut", {"total_steps": "40"}
    program = "from model.training.cli import main; main()"
    arguments = ["train", "swinface", "--data", str(data), "--out", str(out), "--no-validate"]
    command = [sys.executable, "-c", program, *arguments, *assignments("swinface", num_workers="1", **changes)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("step 2/"):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert said.splitlines()[-1] == f"Error: stopped before the end; go on with --resume --out {out}"
    assert "Traceback" not in said
    stopped_at = json.loads((out / "last" / "state.json").read_text())["step"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("model.training.loop.stopping", lambda: nullcontext(StopAfter(stopped_at)))
        train_analyzer(small("swinface", **changes), data, tmp_path / "whole")
    for file in ("weights", "objective", "optimizer"):
        one, other = (load_tensors(folder / "last" / f"{file}.safetensors") for folder in (out, tmp_path / "whole"))
        assert all(torch.equal(value, other[key]) for key, value in one.items()), file


def test_a_compiled_network_is_the_same(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch.compile, here without its slow code generation, a training leaves what one without it leaves."""
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend="eager"))
    for compiled in ("true", "false"):
        assert train_analyzer(small("ir-gender", compile=compiled), data, tmp_path / compiled)
    one, other = (load_tensors(tmp_path / each / "ema" / "weights.safetensors") for each in ("true", "false"))
    assert one.keys() == other.keys()
    assert all(torch.allclose(value, other[key], atol=1e-6) for key, value in one.items())
