"""Imported packs are served: each kind, by a process of its own, answers photographs with its network's own numbers.

Checkpoints and model files are small ones in the published layouts; from the command that imports them to the JSON that
comes back, nothing is made for the test.
"""

import io
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from export.check import Predict
from export.graph import predict_with
from export.importers.insightface import original
from export.importers.model_zoo import open_model
from model.analyzer import Analyzer, normalise
from model.network import MultiTaskNetwork
from model.runtime.alignment import border_of, crop_matrix, warp
from model.runtime.known_answer import known_crops
from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, LANDMARKS, RACES, Task
from model.runtime.pack import AnalyzerPart, Pack, read_pack
from service.client import Service, free_port, serving
from service.schemas import AnalyzeAnswer, FaceAnswer, PackAnswer, VerifyAnswer
from tests.e2e.conftest import NUM_FACES, problem_of
from tests.export.importers.zoo_models import buffalo
from tests.imported import Imported, run

TOLERANCES: dict[Task, float] = {"age": 5e-3}  # years
KINDS = ("swinface", "tmlfa", "faer", "face-analysis", "insightface", "combined")
LABELS: dict[Task, tuple[str, ...]] = {"expression": EXPRESSIONS, "race": RACES, "attributes": ATTRIBUTES}


@dataclass(frozen=True)
class Kind:
    """A pack that is served, and of each of its analyzers what it was imported from."""

    folder: Path
    service: Service
    references: tuple[Predict, ...]
    networks: tuple[MultiTaskNetwork, ...] = ()

    @property
    def pack(self) -> Pack:
        return read_pack(self.folder)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kind]:
    """Each kind in turn, by `mien serve --pack PATH`; the service must stop in order."""
    folder, references, networks = _made(request, tmp_path_factory.mktemp("packs"))
    with serving(free_port(), pack=str(folder)) as service:
        yield Kind(folder, service, references, networks)


def _made(request: pytest.FixtureRequest, out: Path) -> tuple[Path, tuple[Predict, ...], tuple[MultiTaskNetwork, ...]]:
    if request.param == "insightface":
        return _zoo(out)
    if request.param == "combined":
        return _combined(request, out)
    imported: Imported = request.getfixturevalue(f"small_{request.param.replace('-', '_')}")
    return imported.folder, _predicts(imported.networks), imported.networks


def _zoo(out: Path) -> tuple[Path, tuple[Predict, ...], tuple[MultiTaskNetwork, ...]]:
    zoo = buffalo(out / "zoo" / "buffalo_l")
    run("import", "insightface", zoo, "--out", out / "buffalo_l")
    files = [zoo / "w600k_r50.onnx", zoo / "genderage.onnx"]
    return out / "buffalo_l", tuple(original(open_model(file)) for file in files), ()


def _combined(
    request: pytest.FixtureRequest, out: Path
) -> tuple[Path, tuple[Predict, ...], tuple[MultiTaskNetwork, ...]]:
    swinface: Imported = request.getfixturevalue("small_swinface")
    faer: Imported = request.getfixturevalue("small_faer")
    taken = [f"{swinface.folder}=embedding,expression,age,gender", f"{faer.folder}=attributes"]
    run("combine", *taken, "--out", out / "both")
    networks = (swinface.networks[0], faer.networks[0])
    return out / "both", _predicts(networks), networks


def _predicts(networks: Sequence[MultiTaskNetwork]) -> tuple[Predict, ...]:
    return tuple(predict_with(Analyzer(network).eval()) for network in networks)


@pytest.fixture(scope="module")
def photograph(six_faces: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(six_faces)).convert("RGB"))


def analyze(kind: Kind, *files: bytes, query: str = "") -> AnalyzeAnswer:
    named = [("files", f"{number}.png", data) for number, data in enumerate(files)]
    answer = kind.service.post_files(f"/analyze?tasks={','.join(kind.pack.tasks)}{query}", named)
    assert answer.status == 200, answer.body[:500]
    return AnalyzeAnswer.model_validate_json(answer.body)


def crops_of(part: AnalyzerPart, photograph: NDArray[np.uint8], faces: Sequence[FaceAnswer]) -> NDArray[np.uint8]:
    """Each face's crop for an analyzer, by the box and the landmarks that the service answered."""
    crops = []
    for face in faces:
        points = np.array([getattr(face.landmarks, name) for name in LANDMARKS], np.float32)
        matrix = crop_matrix(part.alignment, points, np.array(face.box, np.float32), part.side_px, part.box_scale)
        crops.append(warp(photograph, matrix, part.side_px, border_of(part.alignment)))
    return np.stack(crops)


def hold(faces: Sequence[FaceAnswer], part: AnalyzerPart, expected: dict[Task, NDArray[Any]]) -> None:
    """Every number of the JSON is what the network answers for the crop."""
    for task in part.tasks:
        wanted = np.asarray(expected[task], np.float64)
        for row, face in enumerate(faces):
            np.testing.assert_allclose(numbers(face, task), shown(task, wanted[row]), atol=TOLERANCES.get(task, 1e-3))


def numbers(face: FaceAnswer, task: Task) -> NDArray[np.float64]:
    """One task of the JSON, its labels held to their order."""
    found = getattr(face, task)
    assert found is not None, task
    if task == "embedding":
        return np.array(found, np.float64)
    if task == "age":
        return np.array([found.years])
    if task == "gender":
        return np.array([GENDERS.index(found.label), found.probability])
    shares = found if task == "attributes" else found.probabilities
    assert tuple(shares) == LABELS[task]
    return np.array(list(shares.values()))


def shown(task: Task, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A network's numbers as the JSON states them."""
    return np.array([values.argmax(), values.max()]) if task == "gender" else np.atleast_1d(values)


def expected_of(kind: Kind, index: int, crops: NDArray[np.uint8]) -> dict[Task, NDArray[Any]]:
    """What an analyzer's origin answers; an ordinal age with a rank at its border may fall on either side of it."""
    expected = dict(kind.references[index](crops))
    network = kind.networks[index] if kind.networks else None
    if network is not None and network.config.age_form == "ordinal" and "age" in expected:
        with torch.no_grad():
            logits = network(normalise(torch.from_numpy(crops), network.config.pixels))["age"]
        assert bool((logits.abs() > 1e-5).all()), "a rank of these crops stands at its border: draw other weights"
    return expected


def test_a_photograph_is_answered_with_the_networks_own_numbers(
    kind: Kind, six_faces: bytes, photograph: NDArray[np.uint8]
) -> None:
    """/analyze finds six faces and answers each by every analyzer's network on that analyzer's own crop."""
    (image,) = analyze(kind, six_faces).images
    assert len(image.faces) == NUM_FACES
    for index, part in enumerate(kind.pack.analyzers):
        expected = expected_of(kind, index, crops_of(part, photograph, image.faces))
        hold(image.faces, part, expected)
        # Faces are answered differently, so that neither a constant nor another face's answer could pass.
        for task in part.tasks:
            assert np.ptp(expected[task], axis=0).max() > 3 * TOLERANCES.get(task, 1e-3), task
    assert all(face.quality is not None for face in image.faces)


def test_aligned_crops_are_answered_with_the_networks_own_numbers(
    kind: Kind, six_faces: bytes, photograph: NDArray[np.uint8]
) -> None:
    """With aligned=true an analyzer's tasks are answered on the very pixels that are sent."""
    (image,) = analyze(kind, six_faces).images
    for index, part in enumerate(kind.pack.analyzers):
        crops = crops_of(part, photograph, image.faces)
        files = []
        for number, crop in enumerate(crops):
            target = io.BytesIO()
            Image.fromarray(crop).save(target, "PNG")
            files.append(("files", f"{number}.png", target.getvalue()))
        answer = kind.service.post_files(f"/analyze?aligned=true&tasks={','.join(part.tasks)}", files)
        assert answer.status == 200, answer.body[:500]
        images = AnalyzeAnswer.model_validate_json(answer.body).images
        hold([one.faces[0] for one in images], part, expected_of(kind, index, crops))


def test_two_photographs_are_compared_by_the_networks_embeddings(
    kind: Kind, six_faces: bytes, astronaut: bytes, photograph: NDArray[np.uint8]
) -> None:
    """/verify answers the cosine of the network's embeddings, without a verdict while uncalibrated; or 422 by name."""
    files = [("image_a", "a.jpg", six_faces), ("image_b", "b.png", astronaut)]
    answer = kind.service.post_files("/verify", files)
    if "embedding" not in kind.pack.tasks:
        assert "no embedding task" in problem_of(answer, 422).detail
        return
    assert answer.status == 200, answer.body[:500]
    verdict = VerifyAnswer.model_validate_json(answer.body)
    assert (verdict.same, verdict.threshold, verdict.confidence) == (None, None, None)
    index, part = next((i, part) for i, part in enumerate(kind.pack.analyzers) if "embedding" in part.tasks)
    second = np.asarray(Image.open(io.BytesIO(astronaut)).convert("RGB"))
    rows = []
    for face, image in zip(verdict.faces, (photograph, second), strict=True):
        assert face is not None
        rows.append(kind.references[index](crops_of(part, image, [face]))["embedding"][0])
    assert verdict.similarity == pytest.approx(float(rows[0] @ rows[1]), abs=1e-3)
    stated = VerifyAnswer.model_validate_json(kind.service.post_files("/verify?threshold=-0.999", files).body)
    assert stated.same is True


def test_the_pack_is_stated_as_it_was_imported(kind: Kind) -> None:
    """/model has the pack's tasks, labels, licence and embedding space."""
    stated = PackAnswer.model_validate_json(kind.service.ask("GET", "/model").body)
    pack = kind.pack
    assert (stated.name, stated.tasks, stated.license) == (pack.name, list(pack.tasks), pack.license)
    assert stated.embedding_space == pack.embedding_space
    assert (stated.embedding_space is None) == ("embedding" not in pack.tasks)
    assert {task: tuple(names) for task, names in stated.labels.items()} == {
        task: names for part in pack.analyzers for task, names in part.labels.items()
    }
    assert stated.verification is None
    assert "Research" in stated.license or "Not-Stated" in stated.license


def test_analyzers_of_several_alignments_refuse_one_aligned_crop(kind: Kind, six_faces: bytes) -> None:
    """A pack whose tasks need crops of different alignments says which of them go together."""
    alignments = {(part.alignment, part.box_scale) for part in kind.pack.analyzers}
    answer = kind.service.ask(
        "POST", f"/analyze?aligned=true&tasks={','.join(kind.pack.tasks)}", six_faces, {"content-type": "image/jpeg"}
    )
    if len(alignments) == 1:
        assert answer.status == 200
    else:
        assert "several alignments" in problem_of(answer, 422).detail


def test_a_calibrated_import_gives_verdicts(tmp_path: Path, six_faces: bytes, astronaut: bytes) -> None:
    """After `mien-export calibrate --pairs` the served pack says same or not, at the threshold of the listed pairs."""
    zoo = buffalo(tmp_path / "zoo")
    run("import", "insightface", zoo, "--out", tmp_path / "pack", "--detector", "nano")
    images = [_png(crop) for crop in known_crops(3, 112, 60)]
    pairs = [(a, b) for a in range(60) for b in range(a + 1, 60)][:1200]
    flat = [images[row] for pair in [*((row, row) for row in range(60)), *pairs] for row in pair]
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((flat, [True] * 60 + [False] * len(pairs))))
    run("calibrate", tmp_path / "pack", "--pairs", tmp_path / "lfw.bin")
    with serving(free_port(), pack=str(tmp_path / "pack")) as service:
        model = PackAnswer.model_validate_json(service.ask("GET", "/model").body)
        assert model.verification is not None
        (point,) = model.verification.thresholds
        files = [("image_a", "a.jpg", six_faces), ("image_b", "b.jpg", six_faces)]
        same = VerifyAnswer.model_validate_json(service.post_files("/verify", files).body)
        assert (same.same, same.threshold, same.fmr) == (True, point.threshold, 0.01)
        body = json.loads(service.post_files("/verify", [files[0], ("image_b", "b.png", astronaut)]).body)
        assert body["same"] == (body["similarity"] >= point.threshold)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()
