"""Admission, deadlines and hang-ups through a real server whose model stands still until the test lets it go."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.packs import Square, photo
from tests.service.serving import WAIT_SECONDS, GatedEngine, Served, gated, serving, settings_for, wait_until

GOOD = photo(Square(16, 16))
IMAGE = {"content-type": "image/png"}


@contextmanager
def stalled(pack: Path, **choices: object) -> Iterator[tuple[Served, GatedEngine, ThreadPoolExecutor]]:
    """A service whose analyzer waits at its gate, and threads to call it from."""
    engine = gated(pack)
    with serving(settings_for(pack, **choices), engine) as served, ThreadPoolExecutor(80) as callers:
        try:
            yield served, engine, callers
        finally:
            engine.gate.set()


def post(served: Served, num: int = 1, headers: dict[str, str] | None = None) -> httpx.Response:
    files = [("files", (f"{number}.png", GOOD)) for number in range(num)]
    return httpx.post(f"{served.url}/analyze", files=files, headers=headers, timeout=WAIT_SECONDS)


def in_flight(served: Served, num: int) -> None:
    wait_until(lambda: served.parts.admission.in_flight == num)


def test_image_too_many_is_429_with_retry_after(tiny_pack: Path) -> None:
    """With every permit taken the next request is refused at once, and accepted ones are all answered."""
    with stalled(tiny_pack, max_files=2, max_in_flight=4) as (served, engine, callers):
        accepted = [callers.submit(post, served) for _ in range(4)]
        in_flight(served, 4)
        refused = post(served)
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:mien:problem:queue-full")
        assert int(refused.headers["retry-after"]) >= 1
        assert served.metric("mien_rejected_total", reason="queue-full") == 1
        assert served.metric("mien_images_in_flight") == 4
        engine.gate.set()
        assert [answer.result().status_code for answer in accepted] == [200] * 4
        assert post(served).status_code == 200
        assert served.parts.admission.in_flight == 0


def test_request_that_outgrows_what_is_free_is_429(tiny_pack: Path) -> None:
    """A request takes a permit an image as they appear, in multipart and in JSON; one too many refuses it whole."""
    with stalled(tiny_pack, max_files=3, max_in_flight=4) as (served, engine, callers):
        accepted = callers.submit(post, served, 2)
        in_flight(served, 2)
        assert post(served, 3).status_code == 429
        body = {"images": ["AAAA"] * 3}
        assert served.client.post("/analyze", json=body).status_code == 429
        pair = {"image_a": GOOD, "image_b": GOOD}
        third = callers.submit(post, served, 1)
        in_flight(served, 3)
        assert served.client.post("/verify", files=pair).status_code == 429
        in_flight(served, 3)
        engine.gate.set()
        assert (accepted.result().status_code, third.result().status_code) == (200, 200)


def test_health_and_metrics_bypass_admission(tiny_pack: Path) -> None:
    """With every permit taken, probes, metrics and the pack's description still answer."""
    with stalled(tiny_pack, max_files=1, max_in_flight=1) as (served, _, callers):
        callers.submit(post, served)
        in_flight(served, 1)
        paths = ("/livez", "/readyz", "/metrics", "/model", "/", "/docs", "/openapi.json")
        assert [served.client.get(path).status_code for path in paths] == [200] * 7


def test_client_that_sends_eight_megabytes_before_it_reads_gets_its_429(tiny_pack: Path) -> None:
    """A refusal at the headers still takes the body in, so the answer is not lost to a connection that is reset."""
    with stalled(tiny_pack, max_files=1, max_in_flight=1) as (served, _, callers):
        callers.submit(post, served)
        in_flight(served, 1)
        body = bytes(8_000_000)
        head = f"POST /analyze HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        with socket.create_connection(served.address, WAIT_SECONDS) as connection:
            connection.sendall(head.encode() + body)  # all of it, before a byte is read
            status, headers, problem = read_answer(connection)
        assert (status, problem["status"]) == (429, 429)
        assert "retry-after" in headers


def test_refusal_takes_as_long_as_its_own_bytes_and_not_its_callers(tiny_pack: Path) -> None:
    """What a refusal is timed at ends with its last byte, however long the caller then holds its body back."""
    with stalled(tiny_pack, max_files=1, max_in_flight=1) as (served, _, callers):
        callers.submit(post, served)
        in_flight(served, 1)
        head = "POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 9\r\n\r\n"
        with socket.create_connection(served.address, WAIT_SECONDS) as connection:
            connection.sendall(head.encode())
            assert read_answer(connection)[0] == 429
            read_at = time.monotonic()
            wait_until(lambda: time.monotonic() - read_at > 0.2)
        wait_until(lambda: served.metric("mien_answer_seconds_count", route="/analyze", status="429") == 1)
        assert served.metric("mien_answer_seconds_sum", route="/analyze", status="429") < 0.2


def test_refusal_does_not_ask_for_a_body_that_waits_to_be_asked_for(tiny_pack: Path) -> None:
    """A client that expects `100 Continue` gets the refusal in its place and never has to send its body."""
    with stalled(tiny_pack, max_files=1, max_in_flight=1) as (served, _, callers):
        callers.submit(post, served)
        in_flight(served, 1)
        head = (
            "POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n"
            "content-length: 8000000\r\nexpect: 100-continue\r\n\r\n"
        )
        with socket.create_connection(served.address, WAIT_SECONDS) as connection:
            connection.sendall(head.encode())
            assert read_answer(connection)[0] == 429


def test_deadline_that_passes_in_the_queue_is_504(tiny_pack: Path) -> None:
    """A request whose deadline passes while it waits is told so then, not when the model is done with others."""
    with stalled(tiny_pack, lanes=1) as (served, engine, callers):
        first = callers.submit(post, served)
        engine.wait_for_run()
        late = post(served, headers={"x-deadline-ms": "50"})
        assert (late.status_code, late.json()["type"]) == (504, "urn:mien:problem:deadline-passed")
        in_flight(served, 1)
        engine.gate.set()
        assert first.result().status_code == 200
        wait_until(lambda: served.metric("mien_dropped_items_total") == 1)


def test_deadline_that_the_queue_is_predicted_to_outlast_is_503(tiny_pack: Path) -> None:
    """With measured runs and a long queue, a short deadline is refused at the headers."""
    with stalled(tiny_pack, lanes=1) as (served, engine, callers):
        engine.gate.set()
        assert post(served).status_code == 200
        engine.wait_for_run()
        engine.gate.clear()
        waiting = [callers.submit(post, served)]
        engine.wait_for_run()
        waiting += [callers.submit(post, served) for _ in range(8)]
        queue = served.parts.analyzer._detector  # it waits for the one lane, too
        wait_until(lambda: len(queue._queue) == 8)
        queue._seconds_per_item = 5.0  # as slow runs would have measured
        refused = post(served, headers={"x-deadline-ms": "2000"})
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:mien:problem:would-miss-deadline")
        engine.gate.set()
        assert {answer.result().status_code for answer in waiting} == {200}


def test_deadline_of_a_caller_cannot_exceed_the_settings(tiny_pack: Path) -> None:
    """x-deadline-ms shortens MIEN_DEADLINE_MS and never lengthens it."""
    with stalled(tiny_pack, deadline_ms=50) as (served, _, _callers):
        assert post(served, headers={"x-deadline-ms": "60000"}).status_code == 504


def test_body_that_never_comes_is_504(tiny_pack: Path) -> None:
    """The deadline counts from arrival: a body that stalls gives its permit back when the deadline passes."""
    with stalled(tiny_pack, deadline_ms=50) as (served, _, _callers):
        head = "POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 100\r\n\r\nabc"
        with socket.create_connection(served.address, WAIT_SECONDS) as connection:
            connection.sendall(head.encode())
            assert read_answer(connection)[0] == 504
        in_flight(served, 0)


def test_caller_that_hangs_up_leaves_the_queue(tiny_pack: Path) -> None:
    """A hang-up cancels what is queued, gives the permits back, and is counted as 499."""
    with stalled(tiny_pack, lanes=1) as (served, engine, callers):
        first = callers.submit(post, served)
        engine.wait_for_run()
        head = f"POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {len(GOOD)}\r\n\r\n"
        with socket.create_connection(served.address, WAIT_SECONDS) as connection:
            connection.sendall(head.encode() + GOOD)
            wait_until(lambda: len(served.parts.analyzer._detector._queue) == 1)
        in_flight(served, 1)
        assert served.metric("mien_disconnects_total") == 1
        assert served.metric("mien_requests_total", route="/analyze", status="499") == 1
        engine.gate.set()
        assert first.result().status_code == 200
        wait_until(lambda: served.metric("mien_dropped_items_total", reason="cancelled") == 1)
        assert engine.batches == [1]


def test_caller_that_hangs_up_while_sending_gives_its_permit_back(tiny_pack: Path) -> None:
    """A connection that ends in the middle of its body holds nothing."""
    with stalled(tiny_pack) as (served, _, _callers):
        with socket.create_connection(served.address, WAIT_SECONDS) as connection:
            connection.sendall(
                b"POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 9\r\n\r\nab"
            )
            in_flight(served, 1)
        in_flight(served, 0)
        wait_until(lambda: served.metric("mien_disconnects_total") == 1)


def test_faces_of_different_requests_share_a_run(tiny_pack: Path) -> None:
    """What several callers queue while a run stands becomes one batch."""
    with stalled(tiny_pack, lanes=1) as (served, engine, callers):
        answers = [callers.submit(post, served)]
        engine.wait_for_run()
        answers += [callers.submit(post, served) for _ in range(5)]
        # The one lane is taken by the run that stands, so the others' images wait for detection.
        wait_until(lambda: len(served.parts.analyzer._detector._queue) == 5)
        engine.gate.set()
        assert {answer.result().status_code for answer in answers} == {200}
        assert sum(engine.batches) == 6


def test_engine_that_stands_never_blocks_the_event_loop(tiny_pack: Path) -> None:
    """While the model stands, the process still answers probes: nothing blocks in an async handler."""
    with stalled(tiny_pack) as (served, engine, callers):
        callers.submit(post, served)
        engine.wait_for_run()
        assert served.client.get("/livez").status_code == 200


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], dict[str, object]]:
    """Status, headers and JSON of an answer, read to the end of the connection."""
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body)


@pytest.mark.parametrize("path", ["/analyze", "/verify", "/search"])
def test_every_route_that_works_is_admitted(tiny_pack: Path, path: str) -> None:
    """No route that does work gets around the permits."""
    with stalled(tiny_pack, max_files=1, max_in_flight=1) as (served, _, callers):
        callers.submit(post, served)
        in_flight(served, 1)
        assert served.client.post(path, json={}).status_code == 429
