"""Tests of a detector's training, from its command to its end."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch

from model.checkpoint import CheckpointError, load_tensors
from model.detector.checkpoint import load_detector
from model.training.dataset import DataError
from model.training.detection.command import train_detector
from model.training.loss_curves import PICTURE
from model.training.overrides import OverrideError
from tests.model.training.detection.data import write_data

TINY = {
    "network.stem_width": "4",
    "network.widths": "8,8,12,16",
    "network.depths": "1,1,2,1",
    "network.neck_width": "8",
    "network.head_depth": "1",
    "canvas.side_px": "64",
    "canvas.batch": "2",
    "canvas.large_side_px": "96",
    "canvas.large_batch": "1",
    "canvas.views": "3",
    "total_steps": "12",
    "warmup_steps": "4",
    "save_every": "4",
    "log_every": "1",
    "num_threads": "1",
    "device": "cpu",
}
WEIGHTS = ("last/weights.safetensors", "last/ema.safetensors", "last/optimizer.safetensors", "ema/weights.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that ran through."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train_detector(data, out, TINY, resume=False)
    return out


def test_run(whole: Path) -> None:
    """A training leaves a checkpoint with a measured point, a row a step, TensorBoard's file and the picture."""
    _, point = load_detector(whole / "ema")
    assert {"recall_at_iou_0.5", "false_alarms_per_room", "landmark_error_by_eye_distance"} < set(point.measured)
    rows = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert {"loss", "score", "box", "landmarks", "iou", "learning_rate", "steps_per_second"} < set(rows[0])
    assert list((whole / "tensorboard").glob("events*"))
    assert (whole / PICTURE).stat().st_size > 1000


def test_killed(whole: Path, data: Path, tmp_path: Path) -> None:
    """A training that is killed and resumed ends with the weights, byte for byte, of one that ran through."""
    out = tmp_path / "run"
    code = (
        "import sys; from pathlib import Path; from model.training.detection.command import train_detector; "
        f"train_detector(Path(sys.argv[1]), Path(sys.argv[2]), {TINY!r}, False)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(data), str(out)], stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith("step 8/"):
                run.kill()
                break
    assert run.returncode == -9
    assert json.loads((out / "last" / "state.json").read_text())["step"] >= 4
    assert not all((out / name).read_bytes() == (whole / name).read_bytes() for name in WEIGHTS)
    train_detector(data, out, TINY, resume=True)
    for name in WEIGHTS:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    rows = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert rows == list(range(1, 13))


def test_longer(whole: Path, data: Path, tmp_path: Path) -> None:
    """A finished training goes on when resumed with more steps, and with another seed it is refused."""
    out = tmp_path / "run"
    short = {**TINY, "total_steps": "3"}
    train_detector(data, out, short, resume=False)
    with pytest.raises(CheckpointError, match="another seed"):
        train_detector(data, out, {**short, "seed": "5"}, resume=True)
    train_detector(data, out, {**short, "total_steps": "5"}, resume=True)
    assert json.loads((out / "last" / "state.json").read_text())["step"] == 5


def test_refusals(whole: Path, data: Path, tmp_path: Path) -> None:
    """An unknown key names the nearest one; a run is not overwritten; nothing and no data are refused."""
    with pytest.raises(OverrideError, match="learning_rate"):
        train_detector(data, tmp_path / "run", {"learning_rat": "1"}, resume=False)
    with pytest.raises(click.ClickException, match="--resume"):
        train_detector(data, whole, TINY, resume=False)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train_detector(data, tmp_path / "run", TINY, resume=True)
    with pytest.raises(DataError, match="detection-train"):
        train_detector(tmp_path, tmp_path / "run", TINY, resume=False)
    assert not (tmp_path / "run").exists()


def test_a_part_learns_alone(whole: Path, data: Path, tmp_path: Path) -> None:
    """Of a detector that is there the head alone learns: the rest stays, all running statistics too."""
    alone = {**TINY, "trained": "head", "total_steps": "8"}
    train_detector(data, tmp_path / "run", alone, resume=False, init=whole / "ema")
    start, end = (load_tensors(out / "ema" / "weights.safetensors") for out in (whole, tmp_path / "run"))
    changed = {name for name, value in start.items() if not torch.equal(value, end[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    assert not any("running" in name or "num_batches" in name for name in changed)
    with pytest.raises(CheckpointError, match="nothing named heads"):
        train_detector(data, tmp_path / "other", {**alone, "trained": "heads"}, resume=False, init=whole / "ema")


def test_a_detector_of_older_make_up_is_taken_over(data: Path, tmp_path: Path) -> None:
    """One norm for all levels becomes one a level, landmarks' own blocks start anew; a wider one is refused."""
    old = {**TINY, "total_steps": "2", "network.level_norms": "false", "network.landmark_depth": "0"}
    train_detector(data, tmp_path / "old", old, resume=False)
    train_detector(data, tmp_path / "new", {**TINY, "total_steps": "2"}, resume=False, init=tmp_path / "old" / "ema")
    assert load_detector(tmp_path / "new" / "ema")[0].config.level_norms
    with pytest.raises(CheckpointError, match="another make-up"):
        train_detector(
            data, tmp_path / "narrow", {**TINY, "network.neck_width": "4"}, resume=False, init=tmp_path / "old" / "ema"
        )
