import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from model.checkpoint import save
from model.detector.checkpoint import OperatingPoint, save_detector
from model.detector.config import DetectorConfig
from model.detector.network import DetectorNetwork
from model.network import MultiTaskNetwork
from model.runtime.labels import TASKS
from model.runtime.pack import find_pack
from model.training.cli import main
from model.training.explain.explanation import open_subject
from model.training.explain.request import ExplainedFace, read_explanations
from model.training.run_folder import write_state
from tests.model.networks import SMALL_FAER_EXPRESSION, TINY
from tests.model.training.evaluation.photographs import crops
from tests.packs import build_pack


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["explain", *map(str, arguments), "--threads", "1"])


def _picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def _num_coloured(pixels: np.ndarray) -> int:
    """Pixels far from any grey, as the maps and the colour bar are and a grey crop is not."""
    return int((pixels.max(2) - pixels.min(2) > 60).sum())


@pytest.fixture(scope="module")
def faer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FAER's network, reduced, untrained."""
    folder = tmp_path_factory.mktemp("runs") / "faer"
    torch.manual_seed(0)
    save(folder / "ema", MultiTaskNetwork(SMALL_FAER_EXPRESSION))
    return folder


def test_every_task_of_nano_is_explained_on_a_photograph(astronaut_path: Path, tmp_path: Path) -> None:
    """One picture with a map a task, and the maps in numbers: somewhere above zero, all finite."""
    texts = ["attributes.eyeglasses" if task == "attributes" else task for task in TASKS if task != "race"]
    options = [part for text in [*texts, "race"] for part in ("--task", text)]
    result = _run("nano", astronaut_path, *options, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    rows = read_explanations(tmp_path)
    assert [row.task for row in rows] == [*texts, "race"]
    assert {row.picture for row in rows} == {"astronaut.png"}
    for row in rows:
        grid = np.array(row.grid)
        assert np.isfinite(grid).all()
        assert grid.max() > 0
        assert grid.shape == (7, 7)
    assert _num_coloured(_picture(tmp_path / "astronaut.png")) > 10_000
    assert "1 pictures and explanations.json" in result.output


def test_nano_looks_for_a_smile_at_the_mouth(astronaut_path: Path, tmp_path: Path) -> None:
    """She smiles: the attribute's map lies in the lower three sevenths of the crop; the expression is happiness."""
    options = ["--task", "attributes.smiling", "--task", "expression"]
    assert _run("nano", astronaut_path, *options, "--out", tmp_path).exit_code == 0
    smiling, expression = read_explanations(tmp_path)
    assert (smiling.label, expression.label) == ("yes", "happiness")
    assert smiling.caption.startswith(("smiling: yes (9", "smiling: yes (100"))
    grid = np.array(smiling.grid)
    assert grid[4:].sum() > 0.6 * grid.sum()  # an even map has 0.43 there


def test_several_photographs_have_a_picture_each(six_faces_path: Path, astronaut_path: Path, tmp_path: Path) -> None:
    """Seven faces on two photographs, and one of the same name elsewhere under a name of its own."""
    (tmp_path / "more").mkdir()
    shutil.copy(astronaut_path, tmp_path / "more" / "astronaut.png")
    images = [six_faces_path, astronaut_path, tmp_path / "more" / "astronaut.png"]
    result = _run("nano", *images, "--task", "gender", "--out", tmp_path / "maps", "--max-faces", 6)
    assert result.exit_code == 0, result.output
    rows = read_explanations(tmp_path / "maps")
    assert [row.picture for row in rows] == ["t1.png"] * 6 + ["astronaut.png", "astronaut-2.png"]
    assert [row.face for row in rows[:6]] == [1, 2, 3, 4, 5, 6]
    assert rows[6].grid == rows[7].grid
    assert all((tmp_path / "maps" / row.picture).is_file() for row in rows)
    assert {row.label for row in rows[:6]} == {"female", "male"}
    boxes = {row.box for row in rows[:6]}
    assert len(boxes) == 6
    assert None not in boxes


def test_an_aligned_crop_is_explained_without_a_detector(astronaut_path: Path, tmp_path: Path) -> None:
    """The crop that the detector would have cut gives the same map, and no box; a missing detector is not missed."""
    Image.fromarray(crops(astronaut_path)[0]).save(tmp_path / "crop.png")
    options = ["--task", "age", "--out"]
    assert _run("nano", astronaut_path, *options, tmp_path / "found").exit_code == 0
    result = _run("nano", tmp_path / "crop.png", *options, tmp_path / "given", "--aligned", "--detector", "absent")
    assert result.exit_code == 0, result.output
    (found,), (given,) = read_explanations(tmp_path / "found"), read_explanations(tmp_path / "given")
    assert given.box is None
    np.testing.assert_allclose(found.grid, given.grid, rtol=1e-4)
    assert found.caption == given.caption


def test_a_class_that_is_asked_for_is_explained_in_place_of_the_predicted_one(
    astronaut_path: Path, tmp_path: Path
) -> None:
    """Why happiness, and what little speaks for fear, are two maps; younger and older are two more."""
    options = ["--task", "expression", "--task", "expression.fear", "--task", "age", "--task", "age.younger"]
    assert _run("nano", astronaut_path, *options, "--out", tmp_path).exit_code == 0
    happy, fear, older, younger = read_explanations(tmp_path)
    assert [row.label for row in (happy, fear, older, younger)] == ["happiness", "fear", "older", "younger"]
    assert happy.grid != fear.grid
    one, other = np.array(older.grid), np.array(younger.grid)
    assert not ((one > 0) & (other > 0)).any()  # what speaks for the one speaks against the other


def test_an_embedding_is_compared_with_another_persons(
    six_faces_path: Path, astronaut_path: Path, tmp_path: Path
) -> None:
    """With --reference the map is of the similarity, which the caption states; to herself it is 1."""
    for name, reference in (("her", astronaut_path), ("them", six_faces_path)):
        options = ["--task", "embedding", "--reference", reference, "--out", tmp_path / name]
        assert _run("nano", astronaut_path, *options).exit_code == 0
    (her,), (them,) = read_explanations(tmp_path / "her"), read_explanations(tmp_path / "them")
    assert her.caption == "similarity: 1.00"
    assert float(them.caption.removeprefix("similarity: ")) < 0.5


def test_faer_is_explained_on_celebas_crops(faer: Path, astronaut_path: Path, tmp_path: Path) -> None:
    """A training run's averaged weights, Grad-CAM over the last stage, by either method, at any level."""
    maps: dict[str, ExplainedFace] = {}
    cases: dict[str, list[str]] = {
        "plain": [],
        "hires": ["--method", "hires-cam"],
        "fine": ["--level", "0"],
        "arcface": ["--alignment"],
    }
    for name, more in cases.items():
        alignment = [*more, "arcface-5pt"] if name == "arcface" else ["--alignment", "celeba", *more]
        options = ["--task", "expression.happiness", "--out", tmp_path / name, *alignment]
        result = _run(faer, astronaut_path, *options)
        assert result.exit_code == 0, result.output
        (maps[name],) = read_explanations(tmp_path / name)
    assert np.array(maps["plain"].grid).shape == (2, 2)
    assert np.array(maps["fine"].grid).shape == (16, 16)
    assert maps["plain"].grid != maps["hires"].grid
    assert maps["plain"].grid != maps["arcface"].grid


def test_a_photograph_without_a_face_is_told(astronaut_path: Path, tmp_path: Path) -> None:
    """A note beside others' pictures; an error where no image has one."""
    Image.new("RGB", (200, 200), (90, 120, 90)).save(tmp_path / "meadow.png")
    result = _run("nano", tmp_path / "meadow.png", astronaut_path, "--task", "age", "--out", tmp_path / "maps")
    assert result.exit_code == 0, result.output
    assert f"note: no face found on {tmp_path / 'meadow.png'}" in result.output
    result = _run("nano", tmp_path / "meadow.png", "--task", "age", "--out", tmp_path / "none")
    assert result.exit_code == 1
    assert "no face found on" in result.output


def test_what_carries_no_checkpoint_cannot_be_explained(astronaut_path: Path, tmp_path: Path) -> None:
    """A pack of graphs alone, a detector's checkpoint and a name that nothing has are one clear line each."""
    pack = build_pack(tmp_path / "tiny-pack")
    result = _run(pack, astronaut_path, "--task", "age", "--out", tmp_path / "maps")
    assert result.exit_code == 1
    assert "carries no checkpoint, and a gradient needs one" in result.output
    network = DetectorNetwork(DetectorConfig(4, (4, 4, 4, 4), (1, 1, 1, 1), 4, 1))
    save_detector(tmp_path / "detector", network, OperatingPoint(min_score=0.9))
    result = _run(tmp_path / "detector", astronaut_path, "--task", "age", "--out", tmp_path / "maps")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1
    assert not (tmp_path / "maps").exists()


def test_a_pack_says_how_its_network_was_aligned() -> None:
    """The shipped pack's checkpoint is found beside its graph, with the graph's own alignment."""
    subject = open_subject("nano")
    assert (subject.alignment, subject.box_scale) == ("arcface-5pt", None)
    assert open_subject(str(find_pack("nano") / "analyzer")).alignment == "arcface-5pt"


@pytest.mark.parametrize(("told", "alignment"), [("celeba", "celeba"), ("none", "arcface-5pt"), (None, "arcface-5pt")])
def test_a_run_says_how_its_crops_were_aligned(tmp_path: Path, told: str | None, alignment: str) -> None:
    """A run's checkpoint is explained on the crops that it was trained on; where none is told, on five-point ones."""
    save(tmp_path / "run" / "ema", MultiTaskNetwork(TINY))
    if told is not None:
        (tmp_path / "run" / "last").mkdir()
        write_state(tmp_path / "run" / "last", {"step": 1, "alignment": told})
    assert open_subject(str(tmp_path / "run")).alignment == alignment


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "agee"], "did you mean 'age'?"),
        (["--task", "attributes"], "one by one"),
        (["--task", "age", "--level", "9"], "the trunk has 3 levels"),
        (["--task", "age", "--detector", "absent"], "no pack named 'absent'"),
        (["--task", "age", "--reference", "/nowhere.jpg"], "cannot read /nowhere.jpg: No such file"),
        (["--task", "age", "/nowhere.png"], "cannot read /nowhere.png: No such file"),
        (["--task", "age", "--method", "guess"], "is not one of"),
        (["--task", "age", "--out", "/proc/maps"], "cannot write /proc/maps"),
        ([], "Missing option '--task'"),
    ],
)
def test_a_mistake_is_one_clear_line(astronaut_path: Path, tmp_path: Path, options: list[str], words: str) -> None:
    """No traceback, a non-zero exit, and words that say what to change."""
    result = _run("nano", astronaut_path, "--out", tmp_path / "maps", *options)
    assert result.exit_code != 0
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert words in " ".join(result.output.split())


def test_a_checkpoint_that_is_broken_is_named(astronaut_path: Path, tmp_path: Path) -> None:
    """Weights of a NaN give no map."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(TINY)
    with torch.no_grad():
        next(network.backbone.parameters()).fill_(float("nan"))
    save(tmp_path / "ema", network)
    result = _run(tmp_path / "ema", astronaut_path, "--task", "age", "--out", tmp_path / "maps")
    assert result.exit_code == 1
    assert "the map of age is not finite: the network's weights are broken" in result.output
