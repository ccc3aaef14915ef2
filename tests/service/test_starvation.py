"""What a machine may run out of, or play tricks with: disk, descriptors, patience, the time of day."""

import contextlib
import resource
import select
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.packs import Square, encode, paint, photo
from tests.service.processes import Process, process
from tests.service.serving import WAIT_SECONDS, Served, gated, serving, settings_for, wait_until

GOOD = photo(Square(16, 16))
IMAGE = {"content-type": "image/png"}
DAY_SECONDS = 86_400
NUM_FILES = 64
LIVEZ = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = "POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {}\r\n"


def post(url: str) -> int:
    return httpx.post(f"{url}/analyze", content=GOOD, headers=IMAGE, timeout=WAIT_SECONDS).status_code


def large() -> bytes:
    """A picture of three megabytes with a face."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    noise[:160, :160] = paint([Square(16, 16)])
    return encode(noise, "BMP")


def test_full_disk_is_not_noticed(tiny_pack: Path) -> None:
    """Where no file can grow and the log is full, uploads of megabytes are answered 200, and the stop is in order."""
    before = "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    with process(tiny_pack, Path("/dev/full"), before) as service:
        files = [("files", (f"{number}.bmp", large())) for number in range(4)]
        answer = httpx.post(f"{service.url}/analyze", files=files, timeout=WAIT_SECONDS)
        assert (answer.status_code, [image["error"] for image in answer.json()["images"]]) == (200, [None] * 4)
        assert post(service.url) == 200
        assert httpx.post(f"{service.url}/analyze", content=b"x", headers=IMAGE).status_code == 415  # is logged, too
        service.running.send_signal(signal.SIGTERM)
        assert service.wait() in (0, 120)  # Python's own word for a last line that could not be written


@pytest.mark.parametrize("step", [DAY_SECONDS, -DAY_SECONDS])
def test_clock_step_moves_no_deadline(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The wall clock leaps by a day: a waiting request is answered 200, and a short deadline is still 504."""
    engine, real = gated(tiny_pack), time.time
    with serving(settings_for(tiny_pack, lanes=1), engine) as served, ThreadPoolExecutor(2) as callers:
        try:
            first = callers.submit(post, served.url)
            engine.wait_for_run()
            waiting = callers.submit(post, served.url)
            wait_until(lambda: served.metric("mien_queue_length", model="detector") == 1)
            monkeypatch.setattr(time, "time", lambda: real() + step)
            late = served.client.post("/analyze", content=GOOD, headers={**IMAGE, "x-deadline-ms": "50"})
            assert late.status_code == 504
            assert served.client.get("/readyz").status_code == 200
            assert not any(call.done() for call in (first, waiting))
            engine.gate.set()
            assert [first.result(), waiting.result(), post(served.url)] == [200] * 3
        finally:
            engine.gate.set()


@contextlib.contextmanager
def idle(address: tuple[str, int], num: int) -> Iterator[list[socket.socket]]:
    """Connections that are opened and never used."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address, WAIT_SECONDS)) for _ in range(num)]


def run_out(service: Process) -> bool:
    """Whether the process has hardly a descriptor left; libuv keeps one back, to turn away whom it cannot take."""
    return len(list(Path(f"/proc/{service.running.pid}/fd").iterdir())) >= NUM_FILES - 2


def test_descriptors_run_out_and_come_back(tiny_pack: Path, tmp_path: Path) -> None:
    """With every descriptor taken, who is connected is answered, others are turned away until some are closed."""
    before = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({NUM_FILES}, {NUM_FILES}))"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 4 * NUM_FILES
    with (
        process(tiny_pack, tmp_path / "log", before) as service,
        httpx.Client(base_url=service.url, timeout=WAIT_SECONDS) as connected,
    ):
        assert connected.get("/livez").status_code == 200
        with idle(service.address, 2 * NUM_FILES):
            wait_until(lambda: run_out(service))
            assert connected.post("/analyze", content=GOOD, headers=IMAGE).status_code == 200
            with pytest.raises(httpx.TransportError):
                post(service.url)
            assert connected.get("/readyz").status_code == 200
        wait_until(lambda: not run_out(service))
        assert post(service.url) == 200
        # Not a line for each that was turned away.
        assert len(service.log.read_text().splitlines()) < NUM_FILES


def test_idle_connections_cannot_keep_others_out(tiny_pack: Path, tmp_path: Path) -> None:
    """Connections that never ask are closed after MIEN_HEAD_SECONDS, so that another caller is answered beside them."""
    before = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({NUM_FILES}, {NUM_FILES}))"
    with (
        process(tiny_pack, tmp_path / "log", before, MIEN_HEAD_SECONDS="1") as service,
        idle(service.address, 2 * NUM_FILES),
    ):
        wait_until(lambda: run_out(service))
        wait_until(lambda: not run_out(service))
        assert post(service.url) == 200


def drip(connection: socket.socket, data: bytes) -> bytes:
    """Sends a byte now and then, until an answer or an end comes; what came."""
    for byte in data:
        with contextlib.suppress(OSError):
            connection.send(bytes([byte]))
        if select.select([connection], [], [], 0.02)[0]:
            break
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def ask(connection: socket.socket, request: bytes) -> None:
    """Sends a request and takes in its answer."""
    connection.sendall(request)
    received = b""
    while not received.endswith(b"}"):
        received += connection.recv(65536)


@pytest.fixture(scope="module")
def impatient(tiny_pack: Path) -> Iterator[Served]:
    """A service that waits a second for a head."""
    with serving(settings_for(tiny_pack, head_seconds=1)) as service:
        yield service


@pytest.mark.parametrize("first", [b"", LIVEZ])
def test_head_that_drips_in_is_cut_off(impatient: Served, first: bytes) -> None:
    """A head that comes byte by byte is not waited for, on a new connection or one that was answered before."""
    before = impatient.metric("mien_late_heads_total")
    with socket.create_connection(impatient.address, WAIT_SECONDS) as connection:
        if first:
            ask(connection, first)
        assert drip(connection, b"GET /livez HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 10_000) == b""
    assert impatient.metric("mien_late_heads_total") == before + 1


def test_body_that_takes_longer_than_a_head_may_is_answered(impatient: Served) -> None:
    """The bound on heads says nothing of bodies: one that drips in within its deadline is answered."""
    with socket.create_connection(impatient.address, WAIT_SECONDS) as connection:
        connection.sendall(HEAD.format(len(GOOD)).encode() + b"connection: close\r\n\r\n" + GOOD[:-100])
        started = time.monotonic()
        assert drip(connection, GOOD[-100:]).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - started > 1.9


def test_body_that_drips_in_is_504_and_others_are_answered(tiny_pack: Path) -> None:
    """Whoever sends a byte now and then gets 504 at the deadline and their permit goes to the next; meanwhile 429."""
    settings = settings_for(tiny_pack, max_files=1, max_in_flight=1, deadline_ms=500)
    with serving(settings) as served, ThreadPoolExecutor(1) as callers:
        with socket.create_connection(served.address, WAIT_SECONDS) as connection:
            connection.sendall(HEAD.format(10_000).encode() + b"\r\n")
            wait_until(lambda: served.parts.admission.in_flight == 1)
            answer = callers.submit(drip, connection, b"x" * 10_000)
            assert post(served.url) == 429
            assert answer.result().startswith(b"HTTP/1.1 504")
        assert post(served.url) == 200


@pytest.mark.parametrize("seconds", [1, 2])
def test_an_idle_connection_is_kept_for_as_long_as_the_operator_says(tiny_pack: Path, seconds: int) -> None:
    """Behind a load balancer it must outlast what that keeps, so that neither closes it under the other's request."""
    with (
        serving(settings_for(tiny_pack, keep_alive_seconds=seconds)) as service,
        socket.create_connection(service.address, WAIT_SECONDS) as connection,
    ):
        ask(connection, LIVEZ)
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.9 * seconds < time.monotonic() - began < 4  # 5 by default
