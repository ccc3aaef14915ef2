"""What holds for every answer: ids, keys, problems that say nothing of the inside, metrics, logs, and no way out."""

import asyncio
import hashlib
import json
import logging
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from starlette.types import Message, Receive, Scope, Send

from model.runtime.detection import Detections
from model.runtime.pack import DEFAULT_PACK, find_pack, read_pack
from service.door import Door
from service.logs import JsonLines
from service.onnx_engine import open_engine
from service.schemas import Health, PackAnswer
from tests.packs import Square, encode, paint, photo
from tests.service.serving import Served, WrappedEngine, serving, settings_for, wait_until

GOOD = photo(Square(16, 16))
WHITE = photo(Square(16, 16, 32, (255, 255, 255)))
IMAGE = {"content-type": "image/png"}
PATHS = ("/livez", "/readyz", "/metrics", "/model", "/", "/docs", "/openapi.json", "/none", "/analyze", "/page/none")
KEY = "a key of the test's own"


class BrokenEngine(WrappedEngine):
    """An engine whose detector raises, with a message that no caller may see."""

    def detect(self, *_: object, **__: object) -> Sequence[Detections]:
        raise OSError("/secret/path: SECRET")

    def warm_up(self) -> None:
        """Left out: it would fail."""


@pytest.fixture(scope="module")
def locked(tiny_pack: Path) -> Iterator[Served]:
    """A service that asks for a key."""
    hashed = hashlib.sha256(KEY.encode()).hexdigest()
    with serving(settings_for(tiny_pack, api_keys=(hashlib.sha256(b"other").hexdigest(), hashed))) as service:
        yield service


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_a_request_id(served: Served, path: str) -> None:
    """A well-formed id is kept, a malformed or absent one is made, on every kind of answer."""
    assert served.client.get(path, headers={"x-request-id": "a-B_3.4:5"}).headers["x-request-id"] == "a-B_3.4:5"
    for wrong in ("", "two words", "x" * 129, 'quote"'):
        made = served.client.get(path, headers={"x-request-id": wrong}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_probes_answer_ready(served: Served) -> None:
    """A service that takes work is alive and ready."""
    assert Health.model_validate(served.client.get("/livez").json()).status == "alive"
    assert Health.model_validate(served.client.get("/readyz").json()).status == "ready"


def test_model_describes_the_pack(served: Served) -> None:
    """/model states tasks, labels, thresholds and licence."""
    pack = PackAnswer.model_validate(served.client.get("/model").json())
    assert (pack.name, pack.license, pack.embedding_space, pack.embedding_dim) == ("tiny", "MIT", "tiny-space", 12)
    assert pack.labels["gender"] == ["female", "male"]
    assert pack.verification is not None
    assert [point.fmr for point in pack.verification.thresholds] == [0.01, 0.001, 0.0001]


def test_model_states_the_terms_of_the_shipped_packs_data() -> None:
    """What the shipped pack was trained on stands in its manifest and in /model, each set with its terms."""
    shipped = read_pack(find_pack(DEFAULT_PACK))
    with serving(settings_for(find_pack(DEFAULT_PACK))) as served:
        answer = PackAnswer.model_validate(served.client.get("/model").json())
    assert answer.training_data == list(shipped.training_data)
    terms = {entry.name: entry.terms for entry in answer.training_data}
    assert {"celeba", "utkface"} <= set(terms)
    assert all("non-commercial research" in text for text in terms.values())
    assert "non-commercial research" in answer.allowed_use.lower()


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"x-api-key": KEY}]
)
def test_right_key_opens(locked: Served, headers: dict[str, str]) -> None:
    """The key is taken as a bearer token or as x-api-key."""
    assert locked.client.post("/analyze", content=GOOD, headers={**IMAGE, **headers}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": KEY + "x"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
    ],
)
@pytest.mark.parametrize("path", ["/analyze", "/verify", "/search", "/model", "/none"])
def test_wrong_key_is_401_everywhere(locked: Served, headers: dict[str, str], path: str) -> None:
    """No key, a wrong one, or another scheme is 401 on every route that works, and on paths that do not exist."""
    answer = locked.client.get(path, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert KEY not in answer.text


def test_hash_of_a_key_is_no_key(locked: Served) -> None:
    """Whoever reads the settings cannot call the service with what stands there."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    assert locked.client.get("/model", headers={"x-api-key": digest}).status_code == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/", "/docs", "/openapi.json"])
def test_probes_and_pages_need_no_key(locked: Served, path: str) -> None:
    """Probes, metrics and pages that hold no data answer without a key."""
    assert locked.client.get(path).status_code == 200


def test_fault_inside_says_nothing_outside(tiny_pack: Path) -> None:
    """An exception in the engine is a 500 without text, path or traceback, and the service goes on."""
    engine = BrokenEngine(open_engine(str(tiny_pack)))
    with serving(settings_for(tiny_pack), engine) as served:
        answer = served.client.post("/analyze", content=GOOD, headers=IMAGE)
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert not re.search("SECRET|secret|Traceback|OSError|py", answer.text)
        crop = served.client.post("/analyze?aligned=true", content=GOOD, headers=IMAGE)
        assert crop.status_code == 200
        assert served.metric("mien_failed_runs_total", model="detector") == 1


def test_fault_in_a_route_says_nothing_outside(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody foresaw is a 500 problem with a request id, not the server's own text."""

    def fail(*_: object) -> bytes:
        raise ValueError("SECRET")

    monkeypatch.setattr("service.routes.analyze.analysis_answer", fail)
    with serving(settings_for(tiny_pack)) as served:
        answer = served.client.post("/analyze", content=GOOD, headers={**IMAGE, "x-request-id": "mine"})
        assert (answer.status_code, answer.json()["request_id"]) == (500, "mine")
        assert "SECRET" not in answer.text
        assert served.parts.admission.in_flight == 0


def test_fault_between_an_answers_head_and_its_body_is_500(served: Served) -> None:
    """An app that fails once it has given its head, and nothing else, is answered for by the door, whole."""

    async def failing(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("SECRET")

    async def check() -> list[Message]:
        sent = list[Message]()

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        parts = served.parts
        scope = {"type": "http", "method": "GET", "path": "/x", "query_string": b"", "headers": []}
        await Door(failing, parts.settings, parts.metrics, parts.admission, ())(scope, receive, send)
        return sent

    head, body = asyncio.run(check())
    assert (head["status"], json.loads(body["body"])["status"]) == (500, 500)
    assert b"SECRET" not in body["body"]


def test_metrics_count_what_happened(tiny_pack: Path) -> None:
    """Requests by route and status, faces, stages, queues, refusals and the pack are counted."""
    with serving(settings_for(tiny_pack)) as served:
        served.client.post("/analyze", content=GOOD, headers=IMAGE)
        served.client.post("/analyze?x=1", content=GOOD, headers=IMAGE)
        served.client.get("/secret/path")
        assert served.metric("mien_requests_total", route="/analyze", status="200") == 1
        assert served.metric("mien_requests_total", route="unmatched", status="404") == 1
        assert served.metric("mien_answer_seconds_count", route="/analyze", status="200") == 1
        assert served.metric("mien_answer_seconds_count", route="unmatched", status="404") == 1
        assert served.metric("mien_rejected_total", reason="unknown-option") == 1
        assert (served.metric("mien_faces_total"), served.metric("mien_ready")) == (1, 1)
        assert served.metric("mien_model_info", name="tiny", version="1.0.0", embedding_space="tiny-space") == 1
        for stage in ("decode", "detect", "align", "queue", "infer", "total"):
            assert served.metric("mien_stage_seconds_count", stage=stage) == 1
        for model in ("detector", "analyzer-0"):
            assert served.metric("mien_batch_size_count", model=model) == 1
            assert served.metric("mien_queue_wait_seconds_count", model=model) == 1
            assert served.metric("mien_queue_length", model=model) == 0
        assert "secret" not in served.client.get("/metrics").text


def test_logs_hold_no_data(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """A request's log line has its id, route, status and time, and neither file name, key, query nor picture."""
    with caplog.at_level(logging.DEBUG, "mien"):
        headers = {"x-request-id": "the-id", "x-api-key": "the-key"}
        served.client.post("/analyze?tasks=age", files={"files": ("the-name.png", GOOD)}, headers=headers)
        served.client.post("/analyze", files={"files": ("the-name.png", b"the-bytes")}, headers=headers)
        wait_until(lambda: [record.getMessage() for record in caplog.records].count("request") >= 2)
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "mien"]
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["route"], line["status"], line["request_id"]) for line in requests] == [
        ("/analyze", 200, "the-id"),
        ("/analyze", 415, "the-id"),
    ]
    assert set(requests[0]) == {"time", "level", "event", "request_id", "route", "status", "total_ms"}
    assert not re.search("the-name|the-key|the-bytes|tasks", json.dumps(lines))


def test_no_connection_is_ever_made_outward(tiny_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From start to stop, with images, pages and the reference asked for, nothing but loopback is connected to."""
    connect, lookup = socket.socket.connect, socket.getaddrinfo
    refused: list[object] = []

    def only_loopback(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else address
        if host != "127.0.0.1":
            refused.append(address)
            raise OSError("outward connections are refused")
        connect(self, address)  # type: ignore[arg-type]

    def only_numbers(host: object, *rest: object, **options: object) -> object:
        if host not in ("127.0.0.1", None):
            refused.append(host)
            raise OSError("names are not looked up")
        return lookup(host, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", only_loopback)
    monkeypatch.setattr(socket, "getaddrinfo", only_numbers)
    with serving(settings_for(tiny_pack)) as served:
        assert served.client.post("/analyze", content=GOOD, headers=IMAGE).status_code == 200
        assert served.client.post("/verify", files={"image_a": GOOD, "image_b": GOOD}).status_code == 200
        for path in ("/", "/docs", "/openapi.json", "/model", "/metrics"):
            assert served.client.get(path).status_code == 200
    assert refused == []


def test_page_and_reference_name_no_other_host(served: Served) -> None:
    """The page and the reference load nothing from anywhere else."""
    for path in ("/", "/docs"):
        text = served.client.get(path).text
        for source in re.findall(r"""(?:src|href)=["']([^"']+)""", text):
            assert not source.startswith(("http:", "https:", "//")), source
            if source.startswith("/"):
                assert served.client.get(source).status_code == 200


def test_nothing_of_an_image_touches_the_disk(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload of several megabytes opens no file for writing: a form parser that spools would."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    noise[:160, :160] = paint([Square(16, 16)])
    data = encode(noise, "BMP")
    written: list[object] = []

    def watch(event: str, args: tuple[object, ...]) -> None:
        if watching and event == "open" and args[0] is not None:
            mode, flags = args[1], args[2]
            if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & 0o3):
                written.append(args[0])

    with serving(settings_for(tiny_pack)) as served:
        served.client.post("/analyze", content=GOOD, headers=IMAGE)
        watching = True
        sys.addaudithook(watch)
        try:
            assert len(data) > 2_900_000
            for request in ({"files": [("files", data)] * 4}, {"content": data, "headers": IMAGE}):
                assert served.client.post("/analyze", **request).status_code == 200
        finally:
            watching = False  # a hook cannot be taken out again
    assert written == []
