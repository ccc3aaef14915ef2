"""Which head goes with which trunk, and what each file is, by what is in it."""

from pathlib import Path

import pytest
import torch

from export.errors import ExportError
from export.importers.face_analysis import pair, read_face_analysis
from export.importers.published_file import PublishedFile, kind_of
from model.config import iresnet
from tests.imported import face_analysis_parts, filled, save
from tests.model.networks import small_iresnet

TRUNK = {"input_layer.0.weight": torch.zeros(1), "body.0.shortcut_layer.0.weight": torch.zeros(1)}
HEAD = {"fc1.weight": torch.zeros(2, 1), "fc1.bias": torch.zeros(2)}


def files(*names: str) -> list[PublishedFile]:
    """Files whose names begin with what they are: t trunk, h head, m margin head, o something else."""
    contents: dict[str, object] = {"t": TRUNK, "h": HEAD, "m": {"kernel": torch.zeros(1)}, "o": {"a": torch.zeros(1)}}
    return [PublishedFile(Path(name), contents[name[0]], kind_of(contents[name[0]])) for name in names]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("t1",), [("t1", None)]),
        (("t1", "h1"), [("t1", "h1")]),
        (("h1", "t1"), [("t1", "h1")]),
        (("t1", "h1", "t2", "h2"), [("t1", "h1"), ("t2", "h2")]),
        (("t1", "t2", "h2"), [("t1", None), ("t2", "h2")]),
        (("t1", "m1", "t2", "h2"), [("t1", "m1"), ("t2", "h2")]),
    ],
)
def test_a_head_goes_with_the_only_trunk_or_the_last_before_it(
    given: tuple[str, ...], expected: list[tuple[str, str | None]]
) -> None:
    """With one trunk the order does not matter; with several each head belongs to the last trunk before it."""
    models = pair(files(*given))
    assert [(model.trunk.name, None if model.head is None else model.head.name) for model in models] == expected


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("h1",), "h1: a head without its trunk"),
        (
            ("h1", "t1", "t2", "h2"),
            "h1: it stands before every trunk, and there are 2; give each head behind its trunk",
        ),
        (("t1", "h1", "h2"), "t1: two heads go with this trunk, h1 and h2"),
        (("h1", "t1", "m1"), "t1: two heads go with this trunk, h1 and m1"),
        (
            ("t1", "o1"),
            "o1: neither a trunk nor a head of face_analysis_pytorch; it looks like a state dict of 1 tensors",
        ),
    ],
)
def test_what_cannot_be_paired_is_refused_in_one_line(given: tuple[str, ...], complaint: str) -> None:
    """A head without a trunk, of no one trunk, or a second one, and a file that is neither: each is named."""
    with pytest.raises(ExportError) as caught:
        pair(files(*given))
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_names_of_files_decide_nothing(tmp_path: Path) -> None:
    """A trunk called a head and a head called a trunk are what they hold; the head's width tells the task."""
    network = filled(small_iresnet(task="gender"))
    parts = face_analysis_parts(network)
    paths = [save(tmp_path / "head_race.pth", parts["model"]), save(tmp_path / "model_age.pth", parts["head"])]
    (found,) = read_face_analysis(paths, [network.config])
    assert found.config.tasks == ("gender",)
    assert found.file_stem == "face-analysis-gender"
    assert set(found.state) == set(network.state_dict())
    assert all(torch.equal(found.state[name], tensor) for name, tensor in network.state_dict().items())


def test_depth_and_mode_follow_from_the_trunk(tmp_path: Path) -> None:
    """A trunk of depth 50 with squeeze and excitation, alone, is told by its keys to be just that, and recognises."""
    config = iresnet(50, True, "embedding")
    parts = face_analysis_parts(filled(config))
    (found,) = read_face_analysis([save(tmp_path / "x.pth", parts["model"])])
    assert found.config == config
    assert found.config.tasks == ("embedding",)


def test_a_margin_head_is_left_out_and_told(tmp_path: Path) -> None:
    """The class centres of a recognition training are no part of the pack, and its origin says so."""
    network = filled(small_iresnet())
    trunk = save(tmp_path / "model.pth", face_analysis_parts(network)["model"])
    margin = save(tmp_path / "head.pth", {"kernel": torch.zeros(12, 1000)})
    (found,) = read_face_analysis([trunk, margin], [network.config])
    assert found.config.tasks == ("embedding",)
    assert "its margin head, which only training needs, is left out" in found.origin


@pytest.mark.parametrize(
    ("part", "key", "shape", "complaint"),
    [
        ("model", "input_layer.0.weight", None, "model: 'input_layer.0.weight' is missing"),
        ("model", "extra", (1,), "model: 'extra' is not expected"),
        ("head", "fc1.weight", (7, 12), "head: 'fc1.weight' has the shape"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_with_its_files(
    tmp_path: Path, part: str, key: str, shape: tuple[int, ...] | None, complaint: str
) -> None:
    """A missing, an extra and a misshapen tensor are named by their published keys, with the files' names."""
    network = filled(small_iresnet(task="race"))
    parts = face_analysis_parts(network)
    if shape is None:
        del parts[part][key]
    else:
        parts[part][key] = torch.zeros(shape)
    paths = [save(tmp_path / "trunk.pth", parts["model"]), save(tmp_path / "race.pth", parts["head"])]
    with pytest.raises(ExportError, match=complaint) as caught:
        read_face_analysis(paths, [network.config])
    assert str(paths[0]) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_head_of_no_task_is_refused(tmp_path: Path) -> None:
    """A head whose width is no task's is refused with the widths that are."""
    network = filled(iresnet(50, False, "race"))
    trunk = save(tmp_path / "trunk.pth", face_analysis_parts(network)["model"])
    head = save(tmp_path / "head.pth", {"fc1.weight": torch.zeros(3, 512), "fc1.bias": torch.zeros(3)})
    with pytest.raises(ExportError, match=r"has 3 rows; published are 100 \(age\), 2 \(gender\), 5 \(race\)"):
        read_face_analysis([trunk, head])


def test_configurations_are_one_a_trunk(tmp_path: Path) -> None:
    """Two configurations for one trunk are refused."""
    network = filled(small_iresnet())
    trunk = save(tmp_path / "model.pth", face_analysis_parts(network)["model"])
    with pytest.raises(ExportError, match="--config is given 2 times for 1 networks"):
        read_face_analysis([trunk], [network.config] * 2)
