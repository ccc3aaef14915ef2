"""InsightFace's folders: told apart as InsightFace's router does, and refused in one line where they cannot be used."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from export.cli import main
from export.errors import ExportError
from export.importers.model_zoo import Normalisation, open_model, read_zoo
from model.runtime.pack import read_pack
from tests.export.importers.zoo_models import mxnet_file, swapper_file, theirs, torch_file
from tests.model.runtime.scrfd_graphs import scrfd_graph

THEIR_CLASSES = {
    "recognition": "ArcFaceONNX",
    "gender-age": "Attribute",
    "attributes": "Attribute",
    "landmarks": "Landmark",
    "swapper": "INSwapper",
    "detector": "SCRFD",
    "blind-detector": "SCRFD",
}


@pytest.mark.parametrize(
    ("make", "kind", "normalisation"),
    [
        (torch_file, "recognition", Normalisation(127.5, 127.5)),
        (lambda path: mxnet_file(path, 112, 16), "recognition", Normalisation(0, 1)),
        (lambda path: mxnet_file(path, 112, 16, inside="bn_data"), "recognition", Normalisation(127.5, 127.5)),
        (lambda path: torch_file(path, 224), "recognition", Normalisation(127.5, 127.5)),
        (mxnet_file, "gender-age", Normalisation(0, 1)),
        (lambda path: mxnet_file(path, inside="bn_data"), "gender-age", Normalisation(0, 1)),
        (lambda path: mxnet_file(path, inside="nothing"), "gender-age", Normalisation(127.5, 128)),
        (lambda path: mxnet_file(path, 96, 5), "attributes", Normalisation(0, 1)),
        (lambda path: mxnet_file(path, 192, 212), "landmarks", Normalisation(0, 1)),
        (swapper_file, "swapper", None),
        (lambda path: mxnet_file(path, 64, 3), "unknown", None),
        (lambda path: _written(path, scrfd_graph(9)), "detector", None),
        (lambda path: _written(path, scrfd_graph(15)), "detector", None),
        (lambda path: _written(path, scrfd_graph(6)), "blind-detector", None),
    ],
)
def test_a_file_is_told_by_its_graph_as_insightface_tells_it(
    tmp_path: Path, make: Callable[[Path], Path], kind: str, normalisation: Normalisation | None
) -> None:
    """Kind and pixels are those of InsightFace's router and classes, whatever the file is called."""
    path = make(tmp_path / "anything.onnx")
    found = open_model(path)
    assert found.kind == kind
    assert normalisation is None or found.normalisation == normalisation
    routed = theirs("insightface.model_zoo.model_zoo", "ModelRouter")(str(path)).get_model()
    assert type(routed).__name__ == THEIR_CLASSES.get(kind, "NoneType")
    if normalisation is not None:
        assert (routed.input_mean, routed.input_std) == (normalisation.mean, normalisation.std)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_of_two_of_a_kind_the_first_by_name_is_taken_as_insightface_does(tmp_path: Path) -> None:
    """The second recognition network of a folder is left out, and said to be."""
    torch_file(tmp_path / "b.onnx")
    torch_file(tmp_path / "a.onnx", seed=2)
    zoo = read_zoo(tmp_path, needs_detector=False)
    assert zoo.recognition is not None
    assert zoo.recognition.path.name == "a.onnx"
    assert zoo.left_out == ("b.onnx: a recognition network (a.onnx is taken)",)


def _empty(folder: Path) -> None:
    (folder / "buffalo_l").mkdir()
    torch_file(folder / "buffalo_l" / "r.onnx")


def _torn(folder: Path) -> None:
    data = torch_file(folder / "r.onnx").read_bytes()
    (folder / "r.onnx").write_bytes(data[: len(data) // 2])


def _blind(folder: Path) -> None:
    (folder / "det.onnx").write_bytes(scrfd_graph(6))
    torch_file(folder / "r.onnx")


def _landmarks_alone(folder: Path) -> None:
    mxnet_file(folder / "2d106det.onnx", 192, 212)


def _other_template(folder: Path) -> None:
    torch_file(folder / "r.onnx", 128)


def _manifest(folder: Path) -> None:
    torch_file(folder / "r.onnx")
    (folder / "manifest.json").write_text('{"manifest_version": 2}')


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_empty, "holds no .onnx file; .*buffalo_l holds some"),
        (_torn, r"r\.onnx cannot be read as an ONNX model"),
        (_blind, r"det\.onnx: a detector without key points, and alignment needs them; name another by --detector"),
        (_landmarks_alone, r"holds no recognition and no gender and age network; 2d106det\.onnx: a landmark network"),
        (_other_template, r"r\.onnx: takes crops of 128 px, which InsightFace aligns to another template"),
        (_manifest, "a package with a manifest of version 2"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    """What is wrong with a folder is said in one line on stderr, exit code 1, and nothing is left."""
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    spoil(zoo)
    out = tmp_path / "packs" / "made"
    done = CliRunner().invoke(main, ["import", "insightface", str(zoo), "--out", str(out)])
    assert done.exit_code == 1
    assert not out.exists()
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    with pytest.raises(ExportError, match=words):
        raise ExportError(errors[0])
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """A path that is no folder is named."""
    done = CliRunner().invoke(main, ["import", "insightface", str(tmp_path / "none"), "--out", str(tmp_path / "p")])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "no folder at" in done.stderr


def test_a_blind_detector_is_no_hindrance_where_another_is_named(tmp_path: Path) -> None:
    """`--detector` and `--license` override what the folder brings and what is known of the zoo."""
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    _blind(zoo)
    out = tmp_path / "packs" / "made"
    arguments = ["import", "insightface", str(zoo), "--out", str(out), "--detector", "nano", "--license", "MIT"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "left out: det.onnx: a detector without key points" in done.stderr
    assert read_pack(out).license == "MIT"
