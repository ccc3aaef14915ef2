"""A real service on a loopback port, in a thread of the test's process.

Holds no fake but engines that state their property: each wraps the real one.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from model.runtime.detection import Detections
from model.runtime.pack import Pack
from service.app import create_app
from service.engine import Engine, Outputs
from service.onnx_engine import open_engine
from service.parts import Parts
from service.server import listen, make_server
from service.settings import Settings

WAIT_SECONDS = 30


@dataclass(frozen=True)
class Served:
    """A service that runs: where, its parts, and a client of it."""

    url: str
    parts: Parts
    client: httpx.Client

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        assert url.port is not None
        return url.host, url.port

    def metric(self, name: str, /, **labels: str) -> float:
        """A sample of `/metrics`; 0 where there is none."""
        for line in self.client.get("/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            base, _, rest = sample.partition("{")
            if base == name and all(f'{key}="{text}"' in rest for key, text in labels.items()):
                return float(value)
        return 0.0


class WrappedEngine:
    """An engine that does as the real one does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def pack(self) -> Pack:
        return self._engine.pack

    @property
    def device(self) -> str:
        return self._engine.device

    def warm_up(self) -> None:
        self._engine.warm_up()

    def spreads(self, index: int | None = None) -> bool:  # noqa: ARG002 - none does
        return False  # as many runs at once as lanes, whatever each of them waits for

    def detect(
        self, images: Sequence[NDArray[np.uint8]], min_score: float, *, spread: bool = False
    ) -> Sequence[Detections]:
        return self._engine.detect(images, min_score, spread=spread)

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        return self._engine.analyze(index, crops, spread=spread)


class GatedEngine(WrappedEngine):
    """An engine whose analyzers run only while its gate is open; `entered` counts the runs that came to the gate."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.batches: list[int] = []

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        self.batches.append(len(crops))
        self.entered.release()
        assert self.gate.wait(WAIT_SECONDS), "the test never opened the gate"
        return super().analyze(index, crops, spread=spread)

    def warm_up(self) -> None:
        """Left out: it would wait at the gate."""

    def wait_for_run(self) -> None:
        """Waits until one more run stands at the gate."""
        assert self.entered.acquire(timeout=WAIT_SECONDS), "no run came to the gate"


def settings_for(pack: Path, **choices: object) -> Settings:
    return Settings.model_validate({"pack": str(pack), "port": 0, "log_level": "error", **choices})


def gated(pack: Path) -> GatedEngine:
    return GatedEngine(open_engine(str(pack)))


@contextlib.contextmanager
def serving(settings: Settings, engine: Engine | None = None) -> Iterator[Served]:
    """Runs a service until the block ends; ready when it begins."""
    app = create_app(settings, engine)
    parts: Parts = app.state.parts
    listener = listen(settings)
    ready = threading.Event()
    url: list[str] = []

    def announce(address: str) -> None:
        url.append(address)
        ready.set()

    server = make_server(app, parts, listener, announce, lambda: app.state.failure)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        assert ready.wait(WAIT_SECONDS), f"not ready: {app.state.failure}"
        with httpx.Client(base_url=url[0], timeout=WAIT_SECONDS) as client:
            yield Served(url[0], parts, client)
    finally:
        server.should_exit = True
        if isinstance(engine, GatedEngine):
            engine.gate.set()
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive(), "the service did not stop"


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits, without a fixed time, until a condition holds."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "the condition never came to hold"
        threading.Event().wait(0.005)
