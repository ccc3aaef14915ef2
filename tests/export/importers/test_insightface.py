"""InsightFace's model zoo: told apart as InsightFace does, answered as InsightFace answers, on real photographs."""

import hashlib
import importlib
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from torch import nn

from export.check import in_batches, predict_by
from export.cli import main
from export.errors import ExportError
from export.graph import quiet
from export.importers.insightface import BOX_SCALE, original, read_insightface, to_analyzer
from export.importers.model_zoo import Normalisation, open_model, read_zoo
from export.importers.packing import Target, pack_analyzers
from export.importers.zoo_graph import wrap
from export.pack_check import check_pack
from export.progress import Stages
from model.runtime.alignment import box_matrix, five_point_matrix, warp
from model.runtime.detection import Detections, Detector
from model.runtime.known_answer import known_crops
from model.runtime.pack import DEFAULT_PACK, PACKS_DIR, Pack, read_pack
from model.runtime.session import open_session
from tests.export.importers import zoo_models
from tests.export.importers.zoo_models import EMBEDDING_DIM, buffalo, mxnet_file, swapper_file, torch_file
from tests.model.runtime.scrfd_graphs import scrfd_graph

Image = NDArray[np.uint8]
BATCH_SIZES = (1, 2, 3, 5, 16)
THEIR_CLASSES = {
    "recognition": "ArcFaceONNX",
    "gender-age": "Attribute",
    "attributes": "Attribute",
    "landmarks": "Landmark",
    "swapper": "INSwapper",
    "detector": "SCRFD",
    "blind-detector": "SCRFD",
}


def theirs(module: str, name: str) -> Any:
    """A class or module of insightface's, imported without the warnings of its own imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(module), name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return buffalo(tmp_path_factory.mktemp("zoo") / "buffalo_l")


@pytest.fixture(scope="module")
def pack_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack that the command line makes of the folder."""
    out = tmp_path_factory.mktemp("packs") / "buffalo_l"
    done = CliRunner().invoke(main, ["import", "insightface", str(folder), "--out", str(out)])
    assert done.exit_code == 0, done.output
    for name in ("1k3d68.onnx: a landmark network", "2d106det.onnx: a landmark network"):
        assert f"left out: {name}" in done.stderr
    return out


@pytest.fixture(scope="module")
def pack(pack_folder: Path) -> Pack:
    return read_pack(pack_folder)


@pytest.fixture(scope="module")
def photograph(six_faces_path: Path) -> Image:
    """The six-face photograph, BGR, as InsightFace reads pictures."""
    image = cv2.imread(str(six_faces_path))
    assert image is not None
    return np.asarray(image, np.uint8)


@pytest.fixture(scope="module")
def faces(photograph: Image) -> Detections:
    part = read_pack(PACKS_DIR / DEFAULT_PACK).detector
    detector = Detector(open_session(PACKS_DIR / DEFAULT_PACK / part.file), part)
    return detector.detect([np.ascontiguousarray(photograph[:, :, ::-1])])[0]


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_embeddings_are_those_of_insightfaces_own_class(
    folder: Path, pack_folder: Path, photograph: Image, faces: Detections, size: int
) -> None:
    """On the faces of a real photograph, at every batch size, an embedding is `ArcFaceONNX`'s, of unit length."""
    recognise = theirs("insightface.model_zoo.arcface_onnx", "ArcFaceONNX")(str(folder / "w600k_r50.onnx"))
    crops_bgr = [warp(photograph, five_point_matrix(points), 112) for points in faces.landmarks]
    expected = recognise.get_feat(crops_bgr)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    crops = np.stack([crop[:, :, ::-1] for crop in crops_bgr])
    crops, expected = np.resize(crops, (16, *crops.shape[1:])), np.resize(expected, (16, EMBEDDING_DIM))
    graph = open_session(pack_folder / "recognition.onnx")
    found = in_batches(predict_by(graph), np.ascontiguousarray(crops), size)
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01  # the faces differ, so that a constant could not pass


def test_a_photographs_embeddings_are_those_of_insightface_end_to_end(
    folder: Path, pack_folder: Path, photograph: Image, faces: Detections
) -> None:
    """`ArcFaceONNX.get` on a photograph, its own alignment included, gives what the pack's graph gives on our crops."""
    recognise = theirs("insightface.model_zoo.arcface_onnx", "ArcFaceONNX")(str(folder / "w600k_r50.onnx"))
    photograph = np.asarray(cv2.resize(photograph, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    predict = predict_by(open_session(pack_folder / "recognition.onnx"))
    for points in faces.landmarks / 2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its alignment is by a function that scikit-image gives up
            expected = recognise.get(photograph, SimpleNamespace(kps=points))
        crop = warp(photograph, five_point_matrix(points), 112)[None, :, :, ::-1]
        found = predict(np.ascontiguousarray(crop))["embedding"][0]
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-3)


@pytest.mark.parametrize("inside", ["scalars", "bn_data", "nothing"])
@pytest.mark.parametrize("size", BATCH_SIZES)
def test_gender_and_age_are_those_of_insightfaces_own_class(
    tmp_path: Path, photograph: Image, faces: Detections, inside: str, size: int
) -> None:
    """`Attribute.get` on the photograph and the wrapped graph on its crops agree, whoever normalises the pixels.

    On the photograph at half its size: faces that a crop shrinks to less than half are averaged here, and not there.
    """
    photograph = np.asarray(cv2.resize(photograph, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    boxes = faces.boxes / 2
    path = mxnet_file(tmp_path / "genderage.onnx", inside=inside)
    attribute = theirs("insightface.model_zoo.attribute", "Attribute")(str(path))
    assert attribute.taskname == "genderage"
    graph = open_session(to_analyzer(open_model(path)).graph)
    crops = [warp(photograph, box_matrix(box, 96, BOX_SCALE), 96)[:, :, ::-1] for box in boxes]
    found = in_batches(predict_by(graph), np.ascontiguousarray(np.stack(crops)), size)
    assert len(set(np.round(found["age"], 3))) > 1
    for row, box in enumerate(boxes):
        face: dict[str, object] = {}
        gender, age = attribute.get(photograph, _Face(box, face))
        assert found["gender"][row].argmax() == gender
        assert found["age"][row] == pytest.approx(age, abs=0.51)  # InsightFace rounds to whole years
    blob = cv2.dnn.blobFromImages(
        [crop[:, :, ::-1] for crop in crops],
        1 / attribute.input_std,
        (96, 96),
        (attribute.input_mean,) * 3,
        swapRB=True,
    )
    raw = np.concatenate([attribute.session.run(None, {"data": row[None]})[0] for row in blob])
    np.testing.assert_allclose(found["age"], raw[:, 2] * 100, atol=5e-3)
    shares = np.exp(raw[:, :2]) / np.exp(raw[:, :2]).sum(1, keepdims=True)
    np.testing.assert_allclose(found["gender"], shares, atol=1e-4)


class _Face(dict[str, object]):
    """A face as InsightFace's classes take it: a box, and a place for answers."""

    def __init__(self, box: NDArray[np.float32], values: dict[str, object]) -> None:
        super().__init__(values)
        self.bbox = box


def test_the_pack_states_what_it_is_made_of(pack: Pack, pack_folder: Path, folder: Path) -> None:
    """Detector, recognition, gender and age with their own alignments; files by their hashes; non-commercial terms."""
    assert pack.name == "buffalo_l"
    recognition, gender_age = pack.analyzers
    assert (recognition.tasks, recognition.alignment, recognition.side_px) == (("embedding",), "arcface-5pt", 112)
    assert recognition.embedding_dim == EMBEDDING_DIM
    assert (gender_age.tasks, gender_age.alignment, gender_age.side_px) == (("gender", "age"), "box", 96)
    assert gender_age.box_scale == 1.5
    assert (recognition.opset, gender_age.opset) == (13, 13)  # the files' own are 11 and 8
    assert (pack_folder / "detector.onnx").read_bytes() == (folder / "det_10g.onnx").read_bytes()
    assert "NonCommercial" in pack.license
    assert "Non-commercial research only" in (pack_folder / "CARD.md").read_text()
    for part, name in ((recognition, "w600k_r50.onnx"), (gender_age, "genderage.onnx")):
        assert part.origin is not None
        assert name in part.origin
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in part.origin
    assert pack.embedding_space is not None
    assert len(pack.embedding_space) == 32
    assert pack.exported_with["left out"].startswith("1k3d68.onnx: a landmark network; 2d106det.onnx")
    assert "the original file" in pack.exported_with["compared recognition.onnx"]
    assert "batch sizes 1, 2, 3, 5, 16" in pack.exported_with["compared gender-age.onnx"]
    check_pack(pack_folder)


def test_the_embedding_space_is_the_weights_own(tmp_path: Path) -> None:
    """The same weights give the same space under another file name; other weights give another."""
    first = to_analyzer(open_model(torch_file(tmp_path / "a.onnx")))
    again = to_analyzer(open_model(torch_file(tmp_path / "b.onnx")))
    other = to_analyzer(open_model(torch_file(tmp_path / "c.onnx", seed=9)))
    assert first.embedding_space == again.embedding_space
    assert first.embedding_space != other.embedding_space
    assert first.graph == again.graph


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


@pytest.mark.parametrize("opset", [9, 11, 12, 13, 17])
def test_old_operator_sets_are_brought_to_thirteen_and_newer_ones_kept(tmp_path: Path, opset: int) -> None:
    """A pack's graph is of set 13 or later and answers what the file answers, at every batch size."""
    model = open_model(torch_file(tmp_path / "r.onnx", opset=opset))
    analyzer = to_analyzer(model)
    made = onnx.load_from_string(analyzer.graph)
    assert made.opset_import[0].version == max(opset, 13)
    crops = known_crops(3, 112, 16)
    expected = in_batches(original(model), crops, 1)["embedding"]
    for size in BATCH_SIZES:
        found = in_batches(predict_by(open_session(analyzer.graph)), crops, size)["embedding"]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_batch_that_the_file_fixes_is_opened(tmp_path: Path, dynamic: bool) -> None:
    """A reshape to one row, from a trace of one image, answers many faces in the pack; each as the file alone does."""
    model = open_model(torch_file(tmp_path / "r.onnx", flatten=zoo_models._View(), dynamic=dynamic))
    analyzer = to_analyzer(model)
    crops = known_crops(4, 112, 5)
    expected = in_batches(original(model), crops, 1)["embedding"]
    for size in (1, 2, 5):
        found = in_batches(predict_by(open_session(analyzer.graph)), crops, size)["embedding"]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(Exception, match=r"onnxruntime|Reshape|INVALID|dimension"):
        open_session(wrap(model, EMBEDDING_DIM, open_batch=False), quiet=True).run({"images": crops})


@pytest.mark.parametrize("batch", ["None", 1])
def test_an_old_file_of_one_row_is_opened_and_its_weights_are_left_alone(tmp_path: Path, batch: int | str) -> None:
    """In an MXNet file the reshape of pixels to one row is opened, and that of a PReLU's slopes is not."""
    model = open_model(mxnet_file(tmp_path / "genderage.onnx", batch=batch, reshapes=True))
    analyzer = to_analyzer(model)
    crops = known_crops(6, 96, 5)
    expected = in_batches(original(model), crops, 1)
    for size in (1, 2, 5):
        found = in_batches(predict_by(open_session(analyzer.graph)), crops, size)
        np.testing.assert_allclose(found["gender"], expected["gender"], atol=1e-5)
        np.testing.assert_allclose(found["age"], expected["age"], atol=1e-3)


def test_a_batch_of_torchs_newer_exporter_is_opened(tmp_path: Path) -> None:
    """Its reshapes allow a zero as a size; a file that it wrote for one image answers many, weights beside it too."""
    network = zoo_models.torch_model(112, EMBEDDING_DIM, zoo_models._View())
    with quiet():
        torch.onnx.export(
            network, (torch.zeros(1, 3, 112, 112),), str(tmp_path / "r.onnx"), dynamo=True, external_data=True,
            verbose=False,
        )  # fmt: skip
    assert (tmp_path / "r.onnx.data").is_file()
    model = open_model(tmp_path / "r.onnx")
    crops = known_crops(4, 112, 5)
    expected = in_batches(original(model), crops, 1)["embedding"]
    found = in_batches(predict_by(open_session(to_analyzer(model).graph)), crops, 5)["embedding"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_batch_that_cannot_be_opened_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A graph that mixes its batch into other axes is refused by its file's name, and nothing else is said."""
    path = torch_file(tmp_path / "mixed.onnx", flatten=zoo_models._Scrambled(), dynamic=False)
    capfd.readouterr()
    with pytest.raises(ExportError, match=r"mixed.onnx: its graph answers one face at a time alone") as caught:
        to_analyzer(open_model(path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_folder_of_recognition_alone_makes_a_pack_of_embeddings(tmp_path: Path) -> None:
    """`buffalo_sc` has a detector and a recognition network, and nothing else; its pack has one analyzer."""
    folder = tmp_path / "buffalo_sc"
    folder.mkdir()
    shutil.copyfile(PACKS_DIR / DEFAULT_PACK / "detector.onnx", folder / "det_500m.onnx")
    torch_file(folder / "w600k_mbf.onnx", opset=13)
    found = read_insightface(folder)
    assert found.detector == folder / "det_500m.onnx"
    target = Target(tmp_path / "packs" / "sc", zoo_terms(), str(found.detector))
    made = read_pack(pack_analyzers(target, found.analyzers, Stages()))
    assert made.tasks == ("embedding",)


def zoo_terms() -> Any:
    from export.importers.insightface import TERMS

    return TERMS


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


def test_weights_of_half_precision_inputs_are_refused(tmp_path: Path) -> None:
    """A graph that takes half-precision pixels is none that InsightFace feeds."""
    model = open_model(torch_file(tmp_path / "r.onnx"))
    model.model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    with pytest.raises(ExportError, match=r"r\.onnx: its input is not float32"):
        wrap(SimpleNamespace(**{name: getattr(model, name) for name in model.__slots__}), EMBEDDING_DIM)  # type: ignore[arg-type]


def test_flatten_is_used_where_the_file_has_it(tmp_path: Path) -> None:
    """A graph that is open already is wrapped as it is: no reshape of it is touched."""
    model = open_model(torch_file(tmp_path / "r.onnx", flatten=nn.Flatten()))
    assert to_analyzer(model).graph == wrap(model, EMBEDDING_DIM) == wrap(model, EMBEDDING_DIM, open_batch=False)
