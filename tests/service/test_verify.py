"""`POST /verify` and `POST /search` through a real server."""

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.schemas import SearchAnswer, VerifyAnswer
from tests.packs import EMBEDDING_DIM, Square, build_pack, photo
from tests.service.serving import Served, serving, settings_for

RED = photo(Square(16, 16, 32, (255, 60, 220)))
RED_AND_SMALLER = photo(Square(64, 48, 64, (255, 60, 220)), Square(16, 16, 32, (60, 255, 220)))
GREEN = photo(Square(16, 16, 32, (60, 255, 220)))
ONE = [1.0] + [0.0] * (EMBEDDING_DIM - 1)
TWO = [0.0] * (EMBEDDING_DIM - 1) + [2.0]


@pytest.fixture(scope="module")
def uncalibrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service of a pack without thresholds."""
    pack = build_pack(tmp_path_factory.mktemp("packs") / "uncalibrated", calibrated=False)
    with serving(settings_for(pack)) as service:
        yield service


def pair(served: Served, first: bytes, second: bytes, query: str = "") -> VerifyAnswer:
    answer = served.client.post(f"/verify{query}", files={"image_a": first, "image_b": second})
    assert answer.status_code == 200, answer.text
    return VerifyAnswer.model_validate(answer.json())


def refused(served: Served, status: int, *words: str, path: str = "/verify", **request: object) -> None:
    answer = served.client.post(path, **request)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    assert all(word in answer.json()["detail"] for word in words), answer.text


def test_same_and_different(served: Served) -> None:
    """One face twice is the same at the calibrated threshold of FMR 1e-3; two colours are not; both are told surely."""
    same, other = pair(served, RED, RED), pair(served, RED, GREEN)
    assert (same.same, same.similarity, same.threshold, same.fmr) == (True, 1.0, 0.95, 0.001)
    assert (other.same, other.similarity < 0.95) == (False, True)
    assert same.confidence is not None
    assert other.confidence is not None
    assert 0.5 < same.confidence <= 1
    assert 0.5 < other.confidence <= 1


def test_largest_face_is_compared(served: Served) -> None:
    """Of several faces the largest is compared, and it is the one that is answered."""
    answer = pair(served, RED_AND_SMALLER, RED)
    assert answer.same is True
    assert [face and face.box for face in answer.faces] == [[64, 48, 128, 112], [16, 16, 48, 48]]


def test_base64_and_embeddings_agree_with_images(served: Served) -> None:
    """Base64 images, and the embeddings that /analyze answers in either form, compare alike."""
    expected = pair(served, RED, GREEN).similarity
    texts = {name: base64.b64encode(data).decode() for name, data in (("image_a", RED), ("image_b", GREEN))}
    assert served.client.post("/verify", json=texts).json()["similarity"] == expected
    vectors = [served.client.post("/analyze", files={"files": data}).json() for data in (RED, GREEN)]
    numbers = [vector["images"][0]["faces"][0]["embedding"] for vector in vectors]
    encoded = [base64.b64encode(np.array(number, "<f4").tobytes()).decode() for number in numbers]
    for first, second in (numbers, encoded):
        sent = {"embedding_a": first, "embedding_b": second, "embedding_space": "tiny-space"}
        answer = VerifyAnswer.model_validate(served.client.post("/verify", json=sent).json())
        assert answer.similarity == pytest.approx(expected, abs=1e-6)
        assert answer.faces == [None, None]


def test_fmr_picks_and_threshold_states(served: Served) -> None:
    """fmr picks a calibrated threshold, threshold states one; both at once, or an uncalibrated fmr, are 422."""
    assert pair(served, RED, RED, "?fmr=0.01").threshold == 0.9
    stated = pair(served, RED, GREEN, "?threshold=-1")
    assert (stated.same, stated.threshold, stated.fmr) == (True, -1, None)
    files = {"image_a": RED, "image_b": RED}
    refused(served, 422, "0.01, 0.001, 0.0001", path="/verify?fmr=0.5", files=files)
    refused(served, 422, "not both", path="/verify?fmr=0.01&threshold=0.5", files=files)
    refused(served, 422, "'treshold'", "'threshold'", path="/verify?treshold=0.5", files=files)


def test_no_calibration_means_no_verdict(uncalibrated: Served) -> None:
    """A pack without thresholds answers the similarity alone, unless a threshold is stated."""
    answer = pair(uncalibrated, RED, RED)
    assert (answer.same, answer.threshold, answer.fmr, answer.confidence) == (None, None, None, None)
    assert pair(uncalibrated, RED, RED, "?threshold=0.5").same is True
    refused(uncalibrated, 422, "calibrated", path="/verify?fmr=0.01", files={"image_a": RED, "image_b": RED})


def test_pack_without_embeddings_names_the_task(tmp_path: Path) -> None:
    """A pack that has no embeddings cannot compare, and says which task it lacks."""
    with serving(settings_for(build_pack(tmp_path / "p", tasks=[["age"]], calibrated=False))) as served:
        refused(served, 422, "embedding", files={"image_a": RED, "image_b": RED})
        refused(served, 422, "embedding", path="/search", json={"probe": ONE, "gallery": [ONE]})


def test_no_face_is_422(served: Served) -> None:
    """An image without a face is named."""
    refused(served, 422, "image_b", files={"image_a": RED, "image_b": photo()})


def test_bad_image_is_named(served: Served) -> None:
    """An image that cannot be read is named, with its own status."""
    refused(served, 415, "image_a", files={"image_a": b"text", "image_b": RED})


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, ["embedding_a"]),
        ({"image_a": "AAAA"}, 400, ["image_b"]),
        ({"embedding_a": ONE}, 400, ["embedding_b"]),
        ({"image_a": "", "image_b": "", "embedding_a": ONE, "embedding_b": ONE}, 400, ["either"]),
        ({"embedding_a": ONE, "embedding_b": [1.0, 2.0]}, 422, ["embedding_b", "2 numbers"]),
        ({"embedding_a": ONE, "embedding_b": "AAAA"}, 400, ["embedding_b"]),
        ({"embedding_a": ONE, "embedding_b": [True] * EMBEDDING_DIM}, 400, ["list of numbers"]),
        ({"embedding_a": ONE, "embedding_b": ["1"] * EMBEDDING_DIM}, 400, ["list of numbers"]),
        ({"embedding_a": ONE, "embedding_b": [0.0] * EMBEDDING_DIM}, 422, ["zeros"]),
        ({"embedding_a": ONE, "embedding_b": [1e300] * EMBEDDING_DIM}, 400, ["finite"]),
        ({"embedding_a": ONE, "embedding_b": ONE, "embedding_space": "other"}, 422, ["tiny-space"]),
        ({"embeding_a": ONE}, 422, ["'embeding_a'", "'embedding_a'"]),
    ],
)
def test_wrong_body_is_named(served: Served, body: dict[str, object], status: int, words: list[str]) -> None:
    """A body that is no pair, of another space, or of another length gets its status and says why."""
    refused(served, status, *words, json=body)


def test_multipart_must_hold_each_image_once(served: Served) -> None:
    """One image alone, or the same name twice, is no pair."""
    refused(served, 400, "image_b", files={"image_a": RED})
    refused(served, 400, "image_b", files=[("image_a", RED), ("image_a", RED)])
    refused(served, 422, "'image_c'", files={"image_c": RED})
    refused(served, 415, "image/png", content=RED, headers={"content-type": "image/png"})


def test_search_ranks_a_gallery(served: Served) -> None:
    """The gallery's rows come most similar first, each with its index, cosine and verdict."""
    near = (np.array(ONE) + 0.1 * np.array(TWO)).tolist()
    answer = served.client.post("/search", json={"probe": ONE, "gallery": [TWO, near, ONE], "top": 2})
    found = SearchAnswer.model_validate(answer.json())
    assert [(match.index, match.same) for match in found.matches] == [(2, True), (1, True)]
    assert found.matches[1].similarity == pytest.approx(1 / np.sqrt(1.04), abs=1e-6)
    assert (found.threshold, found.fmr) == (0.95, 0.001)


def test_search_keeps_nothing(served: Served) -> None:
    """A gallery is gone with its answer: the next request finds only its own rows."""
    served.client.post("/search", json={"probe": ONE, "gallery": [ONE] * 50})
    answer = served.client.post("/search", json={"probe": ONE, "gallery": [TWO], "top": 100}).json()
    assert [match["index"] for match in answer["matches"]] == [0]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"probe": ONE}, 400, ["gallery"]),
        ({"gallery": [ONE]}, 400, ["probe"]),
        ({"probe": ONE, "gallery": []}, 400, ["gallery"]),
        ({"probe": ONE, "gallery": [ONE, [1.0]]}, 422, ["Row 1"]),
        ({"probe": ONE, "gallery": [ONE], "top": 0}, 422, ["top"]),
        ({"probe": ONE, "gallery": [ONE], "top": True}, 422, ["top"]),
        ({"probe": ONE, "gallery": [ONE], "embedding_space": "other"}, 422, ["tiny-space"]),
        ({"probe": ONE, "galery": [ONE]}, 422, ["'gallery'"]),
    ],
)
def test_wrong_search_is_named(served: Served, body: dict[str, object], status: int, words: list[str]) -> None:
    """A search without a probe or a gallery, or with a wrong row, says which."""
    refused(served, status, *words, path="/search", json=body)
