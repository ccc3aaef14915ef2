"""Tests of training in several processes: the losses and the weights of one process that sees the same batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.checkpoint import load_tensors
from model.training.loop import train_analyzer
from tests.model.training.families import assignments, small, write_all

# One network with every sharded and replicated part of an objective: a margin softmax, a projection, a batch norm.
NAME = "nano"
# SGD: a gradient that is nothing but rounding stays so small; Adam would make steps of it. No mixing: a share is drawn
# once for a step's batches of all processes, and anew for each that one process accumulates.
CHANGES = {
    "optimizer.kind": "sgd",
    "statistics_batches": "0",
    "augmentation.kind": "flip",
    "warmup_steps": "1",
    "learning_rate": "5e-4",
    "mixing.kind": "none",
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made-up sets."""
    folder = tmp_path_factory.mktemp("data")
    write_all(folder)
    return folder


@pytest.fixture(scope="module")
def together(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder of two processes that trained together, by the documented command."""
    out = tmp_path_factory.mktemp("together")
    done = _torchrun(data, out, **CHANGES, accumulation="2")
    assert done.returncode == 0, done.stderr
    return out


def _torchrun(data: Path, out: Path, name: str = NAME, **changes: str) -> "subprocess.CompletedProcess[str]":
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    launcher += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
    command = ["-m", "model.training", "train", name, "--data", str(data), "--out", str(out), "--no-validate"]
    settings = assignments(name, **changes)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, *command, *settings], capture_output=True, text=True, check=False, env=environment
    )


def _losses(out: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "steps_per_second"} for row in rows]


def _assert_same_losses(out: Path, other: Path) -> None:
    ours, theirs = _losses(out), _losses(other)
    assert len(ours) == len(theirs) == 4
    for one, two in zip(ours, theirs, strict=True):
        assert one == pytest.approx(two, rel=1e-3, abs=1e-5)


def test_two_processes_train_as_one(data: Path, together: Path, tmp_path: Path) -> None:
    """Two gloo processes of two batches a step log the losses of one that accumulates four, and end at its weights."""
    assert train_analyzer(small(NAME, **CHANGES, accumulation="4"), data, tmp_path)
    _assert_same_losses(together, tmp_path)
    for file in ("weights", "objective"):
        one_file, other_file = (load_tensors(out / "last" / f"{file}.safetensors") for out in (together, tmp_path))
        for name, value in one_file.items():
            if "running" not in name and "num_batches" not in name:
                torch.testing.assert_close(value, other_file[name], rtol=1e-3, atol=1e-5)


def test_adam_in_two_processes(data: Path, tmp_path: Path) -> None:
    """AdamW on a sampled, sharded margin softmax, SwinFace's, logs the same in two processes as in one.

    A batch is the whole set, so that it holds every identity, and the sample is all of them whoever draws it.
    """
    changes = {"margin.sample_rate": "0.5", "rows": "celeba:20"}
    done = _torchrun(data, tmp_path / "two", name="swinface-pretrain", **changes)
    assert done.returncode == 0, done.stderr
    assert train_analyzer(small("swinface-pretrain", **changes, accumulation="2"), data, tmp_path / "one")
    _assert_same_losses(tmp_path / "two", tmp_path / "one")


def test_a_run_goes_on_with_another_number_of_processes(data: Path, together: Path, tmp_path: Path) -> None:
    """What two processes saved, sharded weights and optimizer too, one goes on with, as long as a step is the same."""
    for name in ("last", "ema"):
        (tmp_path / name).mkdir()
        for file in (together / name).iterdir():
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    longer = small(NAME, **CHANGES, accumulation="4", total_steps="5")
    assert train_analyzer(longer, data, tmp_path, resume=True)
    assert json.loads((tmp_path / "last" / "state.json").read_text())["step"] == 5


def test_a_mistake_is_said_once(data: Path, tmp_path: Path) -> None:
    """Two processes that are asked for what is not there fail, and one of them says why, without a traceback."""
    done = _torchrun(data, tmp_path / "run", rows="absent:3")
    assert done.returncode != 0
    assert done.stderr.count("holds no absent-train.parquet") == 1
