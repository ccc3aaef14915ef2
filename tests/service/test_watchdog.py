"""A run that hangs past the watchdog, through a real server: what its askers, others and the orchestrator see."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine import Engine, Outputs
from service.onnx_engine import open_engine
from service.settings import Settings
from tests.packs import Square, photo
from tests.service.processes import process
from tests.service.serving import WAIT_SECONDS, Served, WrappedEngine, gated, serving, settings_for, wait_until

GOOD = photo(Square(16, 16))
WHITE = photo(Square(16, 16, 32, (255, 255, 255)))
IMAGE = {"content-type": "image/png"}
HANGS = "urn:mien:problem:model-hangs"
HANG_IN_PROCESS = """
import threading
from service.onnx_engine import OnnxEngine, open_engine
settings = settings.model_copy(update={"watchdog_seconds": 0.2})
engine = open_engine(settings.pack)
engine.analyze = lambda *_, **__: threading.Event().wait()
engine.warm_up = lambda: None
"""


class HangsOnWhite(WrappedEngine):
    """An engine whose analyzer hangs on a white crop until the test lets it go."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.go = threading.Event()

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        if crops.mean() > 250:
            assert self.go.wait(WAIT_SECONDS)
        return super().analyze(index, crops, spread=spread)


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.settings.usable_cores", lambda: 2)


def watched(pack: Path, **choices: object) -> Settings:
    """Settings with a watchdog that a test can wait for, which an operator could not set."""
    return settings_for(pack, **choices).model_copy(update={"watchdog_seconds": 0.2})


@pytest.fixture
def hanging(tiny_pack: Path) -> Iterator[tuple[Served, HangsOnWhite]]:
    """A service of two lanes whose analyzer hangs on white faces."""
    engine = HangsOnWhite(open_engine(str(tiny_pack)))
    with serving(watched(tiny_pack, lanes=2), engine) as served:
        try:
            yield served, engine
        finally:
            engine.go.set()


def post(url: str, data: bytes = GOOD) -> httpx.Response:
    return httpx.post(f"{url}/analyze", content=data, headers=IMAGE, timeout=WAIT_SECONDS)


def problem(answer: httpx.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.headers["content-type"], answer.json()["type"]


def test_every_lane_hangs_until_runs_come_back(tiny_pack: Path) -> None:
    """With the one lane hanging, who waits and who comes gets 503 at once, probes say 503, and all heals with it."""
    refusal = (503, "application/problem+json", HANGS)
    engine = gated(tiny_pack)
    with serving(watched(tiny_pack, lanes=1), engine) as served, ThreadPoolExecutor(4) as callers:
        try:
            accepted = [callers.submit(post, served.url)]
            engine.wait_for_run()
            accepted += [callers.submit(post, served.url) for _ in range(3)]
            assert [problem(answer.result()) for answer in accepted] == [refusal] * 4
            assert [problem(served.client.get(path)) for path in ("/livez", "/readyz")] == [refusal] * 2
            assert problem(post(served.url)) == refusal
            assert served.metric("mien_stalled_runs_total", model="analyzer-0") == 1
            assert (served.metric("mien_ready"), served.parts.admission.in_flight) == (0, 0)
            engine.gate.set()
            wait_until(lambda: served.client.get("/livez").status_code == 200)
            assert (served.client.get("/readyz").status_code, post(served.url).status_code) == (200, 200)
            assert served.metric("mien_ready") == 1
        finally:
            engine.gate.set()


def test_other_lane_goes_on(hanging: tuple[Served, HangsOnWhite]) -> None:
    """One lane of two hangs: its caller gets 503, others 200, while /livez and /readyz ask for a restart."""
    served, _ = hanging
    assert problem(post(served.url, WHITE))[2] == HANGS
    assert [post(served.url).status_code for _ in range(3)] == [200] * 3
    assert [served.client.get(path).status_code for path in ("/livez", "/readyz")] == [503, 503]
    assert served.metric("mien_queue_length", model="analyzer-0") == 0


def test_hung_image_among_several_refuses_the_request(hanging: tuple[Served, HangsOnWhite]) -> None:
    """A request whose second image hangs is 503 whole: to come again, elsewhere, is worth it."""
    served, _ = hanging
    files = [("files", ("a", GOOD)), ("files", ("b", WHITE))]
    assert problem(served.client.post("/analyze", files=files))[2] == HANGS


def test_short_deadline_comes_first(hanging: tuple[Served, HangsOnWhite]) -> None:
    """A deadline under the watchdog's bound is 504, and the watchdog still notices the run."""
    served, _ = hanging
    late = served.client.post("/analyze", content=WHITE, headers={**IMAGE, "x-deadline-ms": "50"})
    assert late.status_code == 504
    wait_until(lambda: served.client.get("/livez").status_code == 503)


def test_process_ends_although_a_run_hangs(tiny_pack: Path, tmp_path: Path) -> None:
    """SIGTERM ends a process whose thread hangs, with 1 and a line in the log; its caller had its 503."""
    with process(tiny_pack, tmp_path / "log", HANG_IN_PROCESS) as service:
        assert problem(post(service.url))[2] == HANGS
        service.running.send_signal(signal.SIGTERM)
        assert service.wait() == 1
        assert len(service.events("ended while a run hangs")) == 1
