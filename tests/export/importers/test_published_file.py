"""Reading published files: what is read, and one clear line for what is not."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from export.errors import ExportError
from export.importers.published_file import read_published
from model.published.swinface import to_published
from tests.imported import face_analysis_parts, faer_checkpoint, filled, multi_task_checkpoint, save
from tests.model.networks import SMALL_FAER_EXPRESSION, SMALL_SWINFACE, small_iresnet


class Payload:
    """Creates a file when it is unpickled: what a hostile checkpoint would do."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.fixture(scope="module")
def contents() -> dict[str, object]:
    """What each system's training saves, at a reduced size."""
    swinface = filled(SMALL_SWINFACE)
    parts = face_analysis_parts(filled(small_iresnet(task="race")))
    return {
        "swinface": multi_task_checkpoint(swinface),
        "tmlfa": multi_task_checkpoint(swinface, is_tmlfa=True),
        "pretraining": {
            "epoch": 3,
            "state_dict_backbone": to_published(swinface.state_dict(), SMALL_SWINFACE)["state_dict_backbone"],
            "state_dict_softmax_fc": {"weight": torch.zeros(3, 12)},
        },
        "faer": faer_checkpoint(filled(SMALL_FAER_EXPRESSION)),
        "trunk": parts["model"],
        "head": OrderedDict(parts["head"]),
        "margin": {"kernel": torch.zeros(12, 100)},
    }


@pytest.mark.parametrize("kind", ["swinface", "tmlfa", "pretraining", "faer", "trunk", "head", "margin"])
@pytest.mark.parametrize("newer_form", [True, False])
def test_a_file_is_known_by_what_is_in_it(
    contents: dict[str, object], tmp_path: Path, kind: str, newer_form: bool
) -> None:
    """Each system's file is recognised, whatever it is called, in torch's newer form and in the older one."""
    path = tmp_path / "renamed.bin"
    torch.save(contents[kind], path, _use_new_zipfile_serialization=newer_form)
    assert read_published(path).kind == kind


def test_the_trainings_own_state_is_read_and_left(contents: dict[str, object], tmp_path: Path) -> None:
    """Optimizer and schedule state beside the state dicts does not stand in the way, and the tensors come unchanged."""
    file = read_published(save(tmp_path / "checkpoint.pt", contents["swinface"]))
    content = contents["swinface"]
    assert isinstance(content, dict)
    assert {"state_optimizer", "state_lr_scheduler", "epoch"} < set(content)
    for key, tensor in file.part("state_dict_tss").items():
        assert torch.equal(tensor, content["state_dict_tss"][key])


@pytest.mark.parametrize(
    ("content", "looks_like"),
    [
        (torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))]).state_dict(), "an optimizer's state"),
        (
            {"conv1.weight": torch.zeros(2), "fc.bias": torch.zeros(1)},
            "a state dict of 2 tensors, the first named conv1",
        ),
        ({"epoch": 3, "best": 0.5}, "a dict of epoch, best"),
        ([1, 2], "a pickled list"),
        ({}, "a dict of nothing"),
    ],
)
def test_other_contents_are_told_in_words(tmp_path: Path, content: object, looks_like: str) -> None:
    """What is no system's is described by what is in it."""
    assert read_published(save(tmp_path / "other.pth", content)).looks_like.startswith(looks_like)


def test_a_pickled_object_is_refused_and_never_run(tmp_path: Path) -> None:
    """A file that would run code is refused, naming what it holds, and what it would have done is not done."""
    path = save(tmp_path / "hostile.pt", {"state_dict_backbone": Payload(tmp_path / "ran")})
    with pytest.raises(
        ExportError, match=r"hostile\.pt: holds a pickled object, .*loading that could run code"
    ) as caught:
        read_published(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_network_is_refused_by_its_class(tmp_path: Path) -> None:
    """A network that was saved whole, and not its state dict, is refused with its class and the way out."""
    path = save(tmp_path / "whole.pth", torch.nn.Linear(2, 2))
    with pytest.raises(
        ExportError, match=r"holds a pickled object, torch\.nn\.modules\.linear\.Linear.*save its state"
    ):
        read_published(path)


def _cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("newer_form", [True, False])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_file_that_is_cut_off_says_so(
    contents: dict[str, object], tmp_path: Path, newer_form: bool, share: float
) -> None:
    """A download that ended early is one clear line, in either of torch's forms and wherever it ended."""
    path = tmp_path / "short.pt"
    torch.save(contents["trunk"], path, _use_new_zipfile_serialization=newer_form)
    _cut(path, share)
    with pytest.raises(ExportError, match=r"short\.pt(:)? is .*cut off") as caught:
        read_published(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_is_refused(contents: dict[str, object], tmp_path: Path) -> None:
    """An archive whose inside is spoilt is one clear line."""
    path = save(tmp_path / "spoilt.pt", contents["trunk"])
    data = bytearray(path.read_bytes())
    start = data.find(b"data.pkl") + 64
    data[start : start + 256] = bytes(256)
    path.write_bytes(bytes(data))
    with pytest.raises(ExportError, match=r"spoilt\.pt") as caught:
        read_published(path)
    assert "\n" not in str(caught.value)


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights inside")


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (lambda path: path.write_bytes(b""), r"is empty"),
        (lambda path: path.write_text("<!DOCTYPE html><html>Sign in</html>"), "looks like a web page"),
        (lambda path: path.write_text("\n  <html>"), "looks like a web page"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n0000"), "looks like a picture"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(80)), "looks like a gzip archive"),
        (_zip, "looks like a ZIP archive; unpack it first"),
        (lambda path: safetensors.torch.save_file({"a": torch.zeros(3)}, path), "looks like a safetensors file"),
        (lambda path: path.write_bytes(pickle.dumps({"a": np.zeros(3)})), "is no checkpoint|holds a pickled object"),
        (lambda path: path.write_text("just some words that nobody saved"), "does not begin as any file that torch"),
        (lambda path: path.mkdir(), "cannot read"),
        (lambda path: path.with_suffix(".other").touch(), "cannot read .*: No such file"),
    ],
)
def test_what_is_no_checkpoint_says_what_it_looks_like(
    tmp_path: Path, write: Callable[[Path], object], complaint: str
) -> None:
    """Pages, pictures, archives, other formats, nothing at all: each is one clear line with the file's name."""
    path = tmp_path / "download.pt"
    write(path)
    with pytest.raises(ExportError, match=complaint) as caught:
        read_published(path)
    assert "download.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_state_dict_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    """A part that is missing, no state dict, or holds more than tensors is named."""
    content = {"state_dict_backbone": {"a": torch.zeros(1), "b": 3}, "state_dict_fam": [1]}
    file = read_published(save(tmp_path / "odd.pt", content))
    for part, complaint in (
        ("state_dict_om", "state_dict_om is missing"),
        ("state_dict_fam", "state_dict_fam is no state dict but list"),
        ("state_dict_backbone", "state_dict_backbone: b is no tensor"),
    ):
        with pytest.raises(ExportError, match=rf"odd\.pt: {complaint}"):
            file.part(part)
