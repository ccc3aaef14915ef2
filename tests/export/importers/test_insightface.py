"""InsightFace's model zoo as packs: answered as InsightFace answers, on real photographs."""

import hashlib
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from export.check import in_batches, predict_by
from export.cli import main
from export.importers.insightface import BOX_SCALE, TERMS, read_insightface, to_analyzer
from export.importers.model_zoo import open_model
from export.importers.packing import Target, pack_analyzers
from export.pack_check import check_pack
from export.progress import Stages
from model.runtime.alignment import box_matrix, five_point_matrix, warp
from model.runtime.detection import Detections, Detector
from model.runtime.pack import DEFAULT_PACK, PACKS_DIR, Pack, read_pack
from model.runtime.session import open_session
from tests.export.importers.zoo_models import EMBEDDING_DIM, buffalo, mxnet_file, theirs, torch_file

Image = NDArray[np.uint8]
BATCH_SIZES = (1, 2, 3, 5, 16)


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


def test_a_folder_of_recognition_alone_makes_a_pack_of_embeddings(tmp_path: Path) -> None:
    """`buffalo_sc` has a detector and a recognition network, and nothing else; its pack has one analyzer."""
    folder = tmp_path / "buffalo_sc"
    folder.mkdir()
    shutil.copyfile(PACKS_DIR / DEFAULT_PACK / "detector.onnx", folder / "det_500m.onnx")
    torch_file(folder / "w600k_mbf.onnx", opset=13)
    found = read_insightface(folder)
    assert found.detector == folder / "det_500m.onnx"
    target = Target(tmp_path / "packs" / "sc", TERMS, str(found.detector))
    made = read_pack(pack_analyzers(target, found.analyzers, Stages()))
    assert made.tasks == ("embedding",)
