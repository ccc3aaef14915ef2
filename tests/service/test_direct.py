"""The direct way and the framework's, through a real server each: nobody can tell which was taken."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from service.direct import _Reader
from service.schemas import AnalyzeQuery
from tests.packs import EMBEDDING_DIM, Square, photo
from tests.service.serving import Served, serving, settings_for

GOOD = photo(Square(16, 16))
IMAGE = {"content-type": "image/png"}
SAME = {"embedding_a": [1.0] * EMBEDDING_DIM, "embedding_b": [1.0] * EMBEDDING_DIM}
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", f"/analyze{query}", {"content": GOOD, "headers": IMAGE})
    for query in (
        "",
        "?",
        "?tasks=age,gender",
        "?tasks=age%2Cgender",
        "?tasks=age&max_faces=1&min_score=0.5&min_face=1",
        "?tasks=+age",
        "?aligned=true",
        "?aligned=1&embedding=base64",
        "?aligned=on",
        "?crops=yes",
        "?max_faces=1.0",
        "?max_faces=1&max_faces=2",
        "?max_faces=",
        "?max_faces=%31",
        "?max_faces=0",
        "?max_faces= 1",
        "?min_score=1e-1",
        "?min_score=nan",
        "?aligned",
        "?tasks",
        "?tasks=",
        "?tasks=a;b",
        "?tasks=%FF",
        "?colour=red",
        "?tasks=age&&embedding=float",
        "?embedding=Float",
    )
] + [
    ("GET", "/analyze", {}),
    ("HEAD", "/analyze", {}),
    ("OPTIONS", "/analyze", {}),
    ("POST", "/analyze/", {"content": GOOD, "headers": IMAGE}),
    ("POST", "/analyze", {"content": b"no image", "headers": IMAGE}),
    ("POST", "/analyze", {"content": GOOD, "headers": {"content-type": "text/html"}}),
    ("POST", "/verify", {"json": SAME}),
    ("POST", "/verify?fmr=0.5", {"json": SAME}),
    ("POST", "/verify?threshold=0.25", {"json": SAME}),
    ("POST", "/verify?threshold=2", {"json": SAME}),
    ("POST", "/verify", {"json": {"embedding_a": [1.0]}}),
    ("POST", "/search?threshold=0.5", {"json": {"probe": [1.0] * EMBEDDING_DIM, "gallery": [[1.0] * EMBEDDING_DIM]}}),
    ("POST", "/search", {"json": {"probe": [1.0] * EMBEDDING_DIM, "gallery": []}}),
    ("POST", "/none", {"json": {}}),
]


def told(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], object]:
    """What an answer says, but for what differs from request to request."""
    headers = sorted((name, value) for name, value in answer.headers.items() if name not in ("date", "content-length"))
    body = answer.json() if answer.content else None
    if isinstance(body, dict):
        body.pop("timings_ms", None)
    return answer.status_code, headers, body


def ask_all(served: Served) -> list[tuple[int, list[tuple[str, str]], object]]:
    ids = {"x-request-id": "the-same"}
    answers = []
    for method, path, options in REQUESTS:
        headers = {**options.get("headers", {}), **ids}
        answers.append(told(served.client.request(method, path, **{**options, "headers": headers})))
    return answers


@pytest.fixture
def served(tiny_pack: Path) -> Iterator[Served]:
    with serving(settings_for(tiny_pack)) as service:
        yield service


def test_both_ways_answer_alike(tiny_pack: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good or bad, every request is answered word for word as it is where the framework's way alone is open."""
    directly = ask_all(served)
    monkeypatch.setattr(_Reader, "__call__", lambda _self, _text: None)
    with serving(settings_for(tiny_pack)) as around:
        for request, one, other in zip(REQUESTS, directly, ask_all(around), strict=True):
            assert one == other, request
    assert {status for status, _, _ in directly} >= {200, 404, 405, 415, 422}


def test_good_work_takes_the_direct_way(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the direct way cannot answer for enters the framework."""
    entered: list[str] = []
    enter = FastAPI.__call__

    async def noting(self: FastAPI, scope: Scope, receive: Receive, send: Send) -> None:
        entered.append(scope.get("path", scope["type"]))
        await enter(self, scope, receive, send)

    monkeypatch.setattr(FastAPI, "__call__", noting)
    with serving(settings_for(tiny_pack)) as served:
        for path in ("/analyze", "/analyze?tasks=age"):
            assert served.client.post(path, content=GOOD, headers=IMAGE).status_code == 200
        assert served.client.post("/verify", json=SAME).status_code == 200
        served.client.post("/analyze?tsk=age", content=GOOD, headers=IMAGE)
    assert entered == ["lifespan", "/analyze"]


@pytest.mark.parametrize(
    "text", [b"max_faces=1&max_faces=2", b"tasks", b"tasks=", b"tasks=\xff", b"x=1", b"max_faces=x"]
)
def test_query_that_needs_thought_is_left_to_the_framework(text: bytes) -> None:
    """Repeated, empty, unknown and wrong parameters are none that the reader answers for."""
    assert _Reader(AnalyzeQuery)(text) is None
