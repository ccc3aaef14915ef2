"""Starting and stopping: readiness, a warm-up that fails, and SIGTERM under load on a real process."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.admission import Admission, State
from service.app import create_app, serve
from service.errors import Draining, StartupError
from service.metrics import Metrics
from service.onnx_engine import open_engine
from tests.packs import Square, photo
from tests.service.serving import WAIT_SECONDS, WrappedEngine, gated, serving, settings_for, wait_until

GOOD = photo(Square(16, 16))
IMAGE = {"content-type": "image/png"}
SCRIPT = """
import sys
from service.app import serve
from service.settings import read_settings
serve(read_settings(), announce=lambda url: print(url, flush=True))
"""


class SlowToWarm(WrappedEngine):
    """An engine whose warm-up lasts until the test lets it end."""

    def __init__(self, pack: Path) -> None:
        super().__init__(open_engine(str(pack)))
        self.warm = threading.Event()

    def warm_up(self) -> None:
        assert self.warm.wait(WAIT_SECONDS)


class WrongAnswer(WrappedEngine):
    """An engine whose warm-up finds another answer than the pack's."""

    def warm_up(self) -> None:
        raise StartupError("analyzer-0.onnx: age differs from the known answer")


class Broken(WrappedEngine):
    """An engine whose warm-up fails in a way that nobody foresaw."""

    def warm_up(self) -> None:
        raise ValueError("two\nlines")


@contextlib.contextmanager
def process(pack: Path, **variables: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A real process that serves, and its address."""
    environ = {"PATH": "/usr/bin:/bin", "MIEN_PACK": str(pack), "MIEN_PORT": "0", "MIEN_LOG_LEVEL": "info", **variables}
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=root, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            yield running, running.stdout.readline().strip()
        finally:
            if running.poll() is None:
                running.kill()


def test_not_ready_until_warm(tiny_pack: Path) -> None:
    """While the engine warms up the process is alive, /readyz and work are 503, and then all is 200."""
    engine = SlowToWarm(tiny_pack)
    app = create_app(settings_for(tiny_pack), engine)

    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://x") as http,
        ):
            assert (await http.get("/livez")).status_code == 200
            for answer in (await http.get("/readyz"), await http.post("/analyze", content=GOOD, headers=IMAGE)):
                assert (answer.status_code, answer.json()["type"]) == (503, "urn:mien:problem:starting")
            engine.warm.set()
            while not app.state.parts.admission.ready:
                await asyncio.sleep(0)
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.post("/analyze", content=GOOD, headers=IMAGE)).status_code == 200

    asyncio.run(main())


@pytest.mark.parametrize(("engine", "words"), [(WrongAnswer, "known answer"), (Broken, "warm-up failed: two")])
def test_failed_warm_up_stops_start_up(tiny_pack: Path, engine: type[WrappedEngine], words: str) -> None:
    """A pack that answers wrongly ends the service with one clear line."""
    with pytest.raises(StartupError, match=words) as caught:
        serve(settings_for(tiny_pack), engine=engine(open_engine(str(tiny_pack))))
    assert "\n" not in str(caught.value)


def test_taken_port_stops_start_up(tiny_pack: Path) -> None:
    """A port that is taken is one clear line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = settings_for(tiny_pack).model_copy(update={"port": port})
        with pytest.raises(StartupError, match=f"cannot listen on 127.0.0.1 port {port}"):
            serve(settings)


def test_admission_never_becomes_ready_again() -> None:
    """A service that drains or has failed stays so, whatever the warm-up says later."""
    admission = Admission(1, lambda: 0.0, Metrics())
    admission.enter(State.DRAINING)
    admission.enter(State.READY)
    assert admission.state is State.DRAINING
    with pytest.raises(Draining):
        admission.admit()


def test_draining_refuses_new_work_and_finishes_the_old(tiny_pack: Path) -> None:
    """While draining /readyz is 503 and new work 503, the process is alive, and accepted work is answered."""
    engine = gated(tiny_pack)
    with serving(settings_for(tiny_pack), engine) as served, ThreadPoolExecutor(1) as caller:
        accepted = caller.submit(httpx.post, f"{served.url}/analyze", content=GOOD, headers=IMAGE, timeout=WAIT_SECONDS)
        engine.wait_for_run()
        served.parts.admission.enter(State.DRAINING)
        for answer in (served.client.get("/readyz"), served.client.post("/analyze", content=GOOD, headers=IMAGE)):
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:mien:problem:draining")
            assert answer.headers["connection"] == "close"
        assert served.client.get("/livez").status_code == 200
        engine.gate.set()
        assert accepted.result().status_code == 200


def test_leaving_still_takes_work(tiny_pack: Path) -> None:
    """Told to stop with a delay, the service is not ready, so that balancers look away, and still answers who comes."""
    with serving(settings_for(tiny_pack)) as served:
        served.parts.admission.enter(State.LEAVING)
        assert served.client.get("/readyz").status_code == 503
        assert served.client.post("/analyze", content=GOOD, headers=IMAGE).status_code == 200


def test_sigterm_under_load_loses_nothing(tiny_pack: Path) -> None:
    """Every request that was sent before SIGTERM is answered 200, and the process ends with 0."""
    with process(tiny_pack) as (running, url), ThreadPoolExecutor(16) as callers:
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
        with httpx.Client(base_url=url, timeout=WAIT_SECONDS, limits=limits) as client:
            assert client.get("/readyz").status_code == 200
            started = threading.Semaphore(0)

            def call(_: int) -> int:
                started.release()
                files = [("files", (str(number), GOOD)) for number in range(2)]
                return client.post("/analyze", files=files).status_code

            # Well under the cap of 64 images, so that nothing is refused for want of room.
            answers = [callers.submit(call, number) for number in range(16)]
            for _ in range(16):
                assert started.acquire(timeout=WAIT_SECONDS)
            wait_until(lambda: client_in_flight(url) > 0 or all(answer.done() for answer in answers))
            running.send_signal(signal.SIGTERM)
            codes = [outcome(answer.result) for answer in answers]
        assert running.wait(WAIT_SECONDS) == 0
        # A request that had not reached the service when it was told to stop may be turned away, and is told so.
        assert set(codes) <= {200, 503, 0}
        assert running.stderr is not None
        lines = [json.loads(line) for line in running.stderr.read().splitlines()]
        taken = [line["status"] for line in lines if line["event"] == "request" and line["route"] == "/analyze"]
        # Whatever reached the service got its answer: the callers saw what the service says that it sent.
        assert sorted(taken) == sorted(code for code in codes if code)
        assert codes.count(200) >= 1


def test_sigterm_waits_for_a_request_that_is_being_sent(tiny_pack: Path) -> None:
    """A request that was admitted at its headers may finish sending its body after SIGTERM, and is answered."""
    with process(tiny_pack) as (running, url):
        address = httpx.URL(url)
        head = f"POST /analyze HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {len(GOOD)}\r\n\r\n"
        with socket.create_connection((address.host, address.port or 0), WAIT_SECONDS) as connection:
            connection.sendall(head.encode() + GOOD[:50])
            wait_until(lambda: client_in_flight(url) == 1)
            running.send_signal(signal.SIGTERM)
            wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 503)
            assert httpx.post(f"{url}/analyze", content=GOOD, headers=IMAGE).status_code == 503
            connection.sendall(GOOD[50:])
            data = b""
            while chunk := connection.recv(65536):
                data += chunk
        assert data.startswith(b"HTTP/1.1 200")
        assert running.wait(WAIT_SECONDS) == 0


def test_idle_process_ends_at_once_with_0(tiny_pack: Path) -> None:
    """SIGINT ends an idle service like SIGTERM: in order, with 0."""
    with process(tiny_pack) as (running, url):
        assert httpx.get(f"{url}/livez").status_code == 200
        running.send_signal(signal.SIGINT)
        assert running.wait(WAIT_SECONDS) == 0


def client_in_flight(url: str) -> float:
    """Images in flight, by the service's own metrics."""
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if line.startswith("mien_images_in_flight "):
            return float(line.split()[1])
    raise AssertionError("no such metric")


def outcome(result: Callable[[], int]) -> int:
    """A status; 0 for a connection that was never taken."""
    try:
        return result()
    except httpx.TransportError:
        return 0


def test_missing_pack_is_named(tmp_path: Path) -> None:
    """A pack that is not there stops start-up with one line."""
    with pytest.raises(StartupError, match="no pack"):
        create_app(settings_for(tmp_path / "none"))
