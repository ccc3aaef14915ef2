"""Tests of model.training.teacher, and of a training that distils."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.checkpoint import CheckpointError, save
from model.network import MultiTaskNetwork
from model.training.loop import train_analyzer
from model.training.run_folder import read_state
from model.training.teacher import hold_to, read_teacher, refuse_other_forms
from tests.model.training.faces import write_sets
from tests.model.training.runs import tiny_recipe

_STUDENT = tiny_recipe().network


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up sets."""
    folder = tmp_path_factory.mktemp("data")
    write_sets(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of the student's own make-up."""
    folder = tmp_path_factory.mktemp("teacher") / "ema"
    torch.manual_seed(3)
    save(folder, MultiTaskNetwork(_STUDENT))
    return folder


def test_a_training_distils_and_goes_on_so(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Both distilled losses are logged and fall, and a resumed run needs the same teacher."""
    recipe = tiny_recipe(total_steps="12", **{"losses.distilled": "5", "losses.distilled_embedding": "20"})
    assert train_analyzer(recipe, data, tmp_path, distil=checkpoint)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for name in ("distilled", "distilled_embedding"):
        assert sum(row[name] for row in rows[-3:]) < sum(row[name] for row in rows[:3])
    teacher = read_teacher(checkpoint, _STUDENT)
    assert read_state(tmp_path)["distilled_from"] == teacher.sha256
    longer = replace(recipe, total_steps=13)
    with pytest.raises(CheckpointError, match="with --distil and another checkpoint"):
        train_analyzer(longer, data, tmp_path, resume=True)
    assert train_analyzer(longer, data, tmp_path, resume=True, distil=checkpoint)


def test_without_a_teacher_nothing_is_distilled(data: Path, tmp_path: Path) -> None:
    """The same recipe without a network to distil trains on the labels alone, and cannot be resumed with one."""
    assert train_analyzer(tiny_recipe(total_steps="2"), data, tmp_path)
    row = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert not any(name.startswith("distilled") for name in row)
    hold_to(None, None)


def test_a_teacher_is_read_frozen(checkpoint: Path) -> None:
    """It is in evaluation mode, without gradients."""
    network = read_teacher(checkpoint, _STUDENT).network
    assert not network.training
    assert not any(value.requires_grad for value in network.parameters())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"embedding_dim": 8}, "embedding_dim 8, this one 16"),
        ({"num_age_ranks": 90}, "num_age_ranks 90, this one 101"),
        ({"pixels": "imagenet"}, "pixels imagenet, this one symmetric"),
        ({"age_form": "years"}, "age_form years, this one distribution"),
        ({"groups": (), "embedding_dim": 16, "answers_embedding": True}, None),
    ],
)
def test_other_forms_are_refused(changes: dict[str, object], said: str | None) -> None:
    """A teacher that answers a shared task in another form is one clear line; one that shares a few is fine."""
    teacher = replace(_STUDENT, **changes)  # type: ignore[arg-type]
    if said is None:
        refuse_other_forms(teacher, _STUDENT)
        return
    with pytest.raises(CheckpointError, match=said):
        refuse_other_forms(teacher, _STUDENT)


def test_no_shared_task_is_refused() -> None:
    """A network that answers nothing of what the student answers has nothing to teach."""
    faces, ages = (replace(_STUDENT, groups=()), replace(_STUDENT, embedding_dim=None))
    with pytest.raises(CheckpointError, match="shares no task"):
        refuse_other_forms(faces, ages)
