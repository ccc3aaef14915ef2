"""What is trained is what is served: the pack's own checkpoint, run by torch, against the service's JSON."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from model.analyzer import Analyzer
from model.checkpoint import load_network
from model.runtime.alignment import five_point_matrix, warp
from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, LANDMARKS, RACES
from model.runtime.pack import DEFAULT_PACK, PACKS_DIR
from service.client import Service, free_port, serving
from service.schemas import AnalyzeAnswer, FaceAnswer
from tests.e2e.conftest import NUM_FACES, Caller

ALL_TASKS = "tasks=embedding,expression,age,gender,attributes,race"


@pytest.fixture(scope="module")
def network() -> Analyzer:
    """The network whose weights the shipped pack was made of, as torch runs it."""
    return Analyzer(load_network(PACKS_DIR / DEFAULT_PACK / "analyzer")).eval()


@pytest.fixture(scope="module")
def plain() -> Iterator[Service]:
    """A service of the shipped pack's float32 graph: its int8 twin is the network's only about."""
    with serving(free_port(), environment={"MIEN_PRECISION": "float32"}) as running:
        yield running


@pytest.fixture(scope="module")
def quantised() -> Iterator[Service]:
    """A service of the shipped pack's int8 twin."""
    with serving(free_port(), environment={"MIEN_PRECISION": "int8"}) as running:
        yield running


@pytest.fixture
def crops(caller: Caller, six_faces: bytes) -> NDArray[np.uint8]:
    """The photograph's six faces, uint8 (6, 112, 112, 3), aligned by the landmarks that the service found."""
    image = np.asarray(Image.open(io.BytesIO(six_faces)).convert("RGB"))
    faces = caller.faces(six_faces).faces
    points = [[getattr(face.landmarks, name) for name in LANDMARKS] for face in faces]
    return np.stack([warp(image, five_point_matrix(np.array(five)), 112) for five in points])


def served(service: Service, crops: NDArray[np.uint8]) -> list[FaceAnswer]:
    """What the service answers on aligned crops, sent without loss, one file each in one request."""
    files = []
    for number, crop in enumerate(crops):
        target = io.BytesIO()
        Image.fromarray(crop).save(target, "PNG")
        files.append(("files", f"crop-{number}.png", target.getvalue()))
    answer = service.post_files(f"/analyze?aligned=true&{ALL_TASKS}", files)
    assert answer.status == 200, answer.body[:500]
    images = AnalyzeAnswer.model_validate_json(answer.body).images
    return [face for image in images for face in image.faces]


def test_the_service_answers_what_the_network_answers(
    plain: Service, network: Analyzer, crops: NDArray[np.uint8]
) -> None:
    """On aligned crops every number of the JSON is the network's own, to a thousandth (age: a hundredth of a year)."""
    with torch.inference_mode():
        wanted = {task: values.numpy() for task, values in network(torch.from_numpy(crops)).items()}
    answers = served(plain, crops)
    assert len(answers) == NUM_FACES
    for row, face in enumerate(answers):
        assert face.box == [0, 0, 112, 112]
        assert (face.score, face.landmarks, face.quality) == (None, None, None)
        assert face.age is not None
        assert face.age.years == pytest.approx(wanted["age"][row], abs=1e-2)
        assert np.allclose(np.array(face.embedding), wanted["embedding"][row], atol=1e-3)
        assert face.gender is not None
        assert face.gender.label == GENDERS[int(wanted["gender"][row].argmax())]
        assert face.gender.probability == pytest.approx(wanted["gender"][row].max(), abs=1e-3)
        for labels, given, task in (
            (EXPRESSIONS, face.expression and face.expression.probabilities, "expression"),
            (RACES, face.race and face.race.probabilities, "race"),
            (ATTRIBUTES, face.attributes, "attributes"),
        ):
            assert given is not None
            assert list(dict(given)) == list(labels)
            assert np.allclose(list(dict(given).values()), wanted[task][row], atol=1e-3)


def test_the_int8_twin_answers_about_what_the_network_answers(
    quantised: Service, network: Analyzer, crops: NDArray[np.uint8]
) -> None:
    """Served in int8, faces keep gender and expression, their age to a year, their embedding to a cosine of 0.99."""
    with torch.inference_mode():
        wanted = {task: values.numpy() for task, values in network(torch.from_numpy(crops)).items()}
    for row, face in enumerate(served(quantised, crops)):
        assert face.age is not None
        assert face.age.years == pytest.approx(wanted["age"][row], abs=1.0)
        assert float(np.dot(face.embedding or [], wanted["embedding"][row])) > 0.99
        assert face.gender is not None
        assert face.gender.label == GENDERS[int(wanted["gender"][row].argmax())]
        assert face.expression is not None
        assert face.expression.label == EXPRESSIONS[int(wanted["expression"][row].argmax())]
