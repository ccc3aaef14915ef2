"""Bad requests through a real server: each gets its status and a clear reason, and the next good one is answered."""

import base64
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.schemas import Problem
from tests.packs import Square, photo
from tests.service.serving import WAIT_SECONDS, Served, serving, settings_for

GOOD = photo(Square(16, 16))
IMAGE = {"content-type": "image/png"}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def served(tiny_pack: Path) -> Iterator[Served]:
    """A service with small caps."""
    with serving(settings_for(tiny_pack, max_files=3, max_in_flight=4, max_body_mb=1, max_pixels=100_000)) as service:
        yield service


def check(served: Served, answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate(answer.json())
    assert (problem.status, problem.request_id) == (status, answer.headers["x-request-id"])
    assert all(word in problem.detail for word in words), problem.detail
    assert served.parts.admission.in_flight == 0
    good = served.client.post("/analyze", content=GOOD, headers=IMAGE)
    assert good.status_code == 200


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("task=age", 422, ["'task'", "'tasks'"]),
        ("maxfaces=1", 422, ["'max_faces'"]),
        ("tasks=agee", 422, ["'agee'", "'age'"]),
        ("tasks=", 422, ["empty"]),
        ("tasks=age,,gender", 422, ["empty"]),
        ("max_faces=0", 422, ["max_faces", "at least 1"]),
        ("max_faces=two", 422, ["max_faces", "whole number"]),
        ("min_score=nan", 422, ["min_score"]),
        ("min_score=2", 422, ["min_score", "at most 1"]),
        ("min_face=-1", 422, ["min_face", "at least 0"]),
        ("embedding=hex", 422, ["embedding", "'float'", "'base64'"]),
        ("aligned=maybe", 422, ["aligned", "true or false"]),
        ("crops=2", 422, ["crops", "true or false"]),
    ],
)
def test_query_that_is_wrong_is_named(served: Served, query: str, status: int, words: list[str]) -> None:
    """An unknown parameter or task is named with the nearest known one; a wrong value with its rule."""
    check(served, served.client.post(f"/analyze?{query}", content=GOOD, headers=IMAGE), status, *words)


def test_false_means_false(served: Served) -> None:
    """A flag that says false is off, whatever Python thinks of a string that is not empty."""
    answer = served.client.post("/analyze?aligned=false&crops=false", content=photo(), headers=IMAGE)
    assert answer.json()["images"][0]["faces"] == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"", IMAGE, 400, ["empty"]),
        (b"", JSON, 400, ["empty"]),
        (b"{", JSON, 400, ["JSON"]),
        (b"[]", JSON, 400, ["object"]),
        (b"{}", JSON, 400, ["images"]),
        (b'{"images": []}', JSON, 400, ["images"]),
        (b'{"images": "x"}', JSON, 400, ["images"]),
        (b'{"images": [1]}', JSON, 400, ["base64"]),
        (b'{"image": []}', JSON, 422, ["'image'", "'images'"]),
        (b'{"images": ["", "", "", ""]}', JSON, 413, ["3 images"]),
        (GOOD, {"content-type": "text/plain"}, 415, ["text/plain", "image/*"]),
        (GOOD, {}, 415, ["no stated type"]),
        (b"x", {"content-type": "multipart/form-data"}, 400, ["boundary"]),
        (b"x", {"content-type": "multipart/form-data; boundary=b"}, 400, ["not well formed"]),
        (b"--b\r\n", {"content-type": "multipart/form-data; boundary=b"}, 400, ["closing boundary"]),
        (b"--b--\r\n", {"content-type": "multipart/form-data; boundary=b"}, 400, ["files"]),
        (b"plain text", IMAGE, 415, []),
        (GOOD[:100], IMAGE, 422, []),
        (photo(width=400, height=300), IMAGE, 413, ["400 x 300"]),
    ],
)
def test_body_that_is_wrong_is_named(
    served: Served, body: bytes, headers: dict[str, str], status: int, words: list[str]
) -> None:
    """A body that is empty, malformed, of a wrong type or too large gets its status and says why."""
    check(served, served.client.post("/analyze", content=body, headers=headers), status, *words)


def test_unknown_field_is_named(served: Served) -> None:
    """A part under another name than `files` is 422 and names the nearest."""
    check(served, served.client.post("/analyze", files={"file": GOOD}), 422, "'file'", "'files'")


def test_too_many_files_is_413(served: Served) -> None:
    """One part more than MIEN_MAX_FILES is 413."""
    check(served, served.client.post("/analyze", files=[("files", GOOD)] * 4), 413, "3 images")
    assert served.client.post("/analyze", files=[("files", GOOD)] * 3).status_code == 200


def test_stated_length_over_the_cap_is_refused_at_the_headers(served: Served) -> None:
    """A content-length over the cap is 413 before any of the body is read."""
    check(served, served.client.post("/analyze", content=bytes(1_000_001), headers=IMAGE), 413, "1 MB")


@pytest.mark.parametrize("headers", [IMAGE, JSON])
def test_chunks_over_the_cap_are_cut_off(served: Served, headers: dict[str, str]) -> None:
    """A body without a stated length is 413 as soon as it grows over the cap."""
    chunks = (bytes(65536) for _ in range(28))
    check(served, served.client.post("/analyze", content=chunks, headers=headers), 413, "1 MB")


def test_multipart_chunks_over_the_cap_are_cut_off(served: Served) -> None:
    """A multipart body without a stated length is 413 as soon as it grows over the cap."""
    head = b'--b\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n'
    chunks = (head if number == 0 else bytes(65536) for number in range(28))
    headers = {"content-type": "multipart/form-data; boundary=b"}
    check(served, served.client.post("/analyze", content=chunks, headers=headers), 413, "1 MB")


def test_stated_length_is_refused_before_the_body_is_sent(served: Served) -> None:
    """A caller that states too much is answered while it has sent nothing but its headers."""
    head = "POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 1000001\r\n\r\n"
    with socket.create_connection(served.address, WAIT_SECONDS) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


def test_no_such_path_and_wrong_method(served: Served) -> None:
    """An unknown path is 404; a wrong method is 405 and lists the right one; each with its request id."""
    check(served, served.client.get("/no/such"), 404)
    check(served, served.client.post("/analyze/"), 404)
    wrong = served.client.get("/analyze")
    check(served, wrong, 405, "GET")
    assert wrong.headers["allow"] == "POST"
    assert served.client.delete("/model").headers["allow"] == "GET"


def test_path_on_the_server_is_no_image(served: Served, tmp_path: Path) -> None:
    """A client that sends a path gets it treated as bytes, never opened."""
    path = tmp_path / "a.png"
    path.write_bytes(GOOD)
    check(served, served.client.post("/analyze", json={"images": [str(path)]}), 422, "base64")
    check(served, served.client.post("/analyze", files={"files": str(path).encode()}), 415)


def test_file_name_is_echoed_and_never_used(served: Served) -> None:
    """A file name with a path or a wrong ending decides nothing."""
    name = "../../etc/passwd.txt"
    (image,) = served.client.post("/analyze", files={"files": (name, GOOD, "text/html")}).json()["images"]
    assert (image["name"], len(image["faces"])) == (name, 1)


def test_x_deadline_must_be_a_number(served: Served) -> None:
    """x-deadline-ms that is no whole number of at least 1 is 422."""
    for value in ("soon", "0", "-5", "1e3"):
        answer = served.client.post("/analyze", content=GOOD, headers={**IMAGE, "x-deadline-ms": value})
        check(served, answer, 422, "x-deadline-ms")


def test_json_images_count_against_the_same_caps(served: Served) -> None:
    """Base64 JSON is capped in bytes and in images like multipart."""
    good = base64.b64encode(GOOD).decode()
    check(served, served.client.post("/analyze", json={"images": [good] * 4}), 413, "3 images")
    assert len(served.client.post("/analyze", json={"images": [good] * 3}).json()["images"]) == 3
