"""Callers that hang up, stage by stage: their work is dropped, their permits come back, and both are counted."""

import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from model.runtime.detection import Detections
from service.answers import analysis_answer
from service.engine import Engine, Outputs
from service.imaging import decode
from service.onnx_engine import open_engine
from tests.packs import Square, photo
from tests.service.serving import WAIT_SECONDS, Served, WrappedEngine, serving, settings_for, wait_until

GOOD = photo(Square(16, 16))
STAGES = ("decode", "detector", "analyzer-0", "answer")


class Gates:
    """A gate before each stage, open until it is closed, and how many came to each."""

    def __init__(self) -> None:
        self.open = {stage: threading.Event() for stage in STAGES}
        self.came = dict.fromkeys(STAGES, 0)
        for gate in self.open.values():
            gate.set()

    def enter(self, stage: str) -> None:
        self.came[stage] += 1
        assert self.open[stage].wait(WAIT_SECONDS), "the test never opened the gate"


class StagedEngine(WrappedEngine):
    """An engine whose runs wait at a test's gates."""

    def __init__(self, engine: Engine, gates: Gates) -> None:
        super().__init__(engine)
        self._gates = gates

    def detect(
        self, images: Sequence[NDArray[np.uint8]], min_score: float, *, spread: bool = False
    ) -> Sequence[Detections]:
        self._gates.enter("detector")
        return super().detect(images, min_score, spread=spread)

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        self._gates.enter("analyzer-0")
        return super().analyze(index, crops, spread=spread)

    def warm_up(self) -> None:
        """Left out, so that the gates count requests alone."""


@pytest.fixture
def staged(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Served, Gates]]:
    """A service with one lane of each kind, and a gate before each stage."""
    gates = Gates()

    def gate(stage: str, real: Any) -> Any:
        def gated(*args: object, **options: object) -> object:
            gates.enter(stage)
            return real(*args, **options)

        return gated

    monkeypatch.setattr("service.preparation.decode", gate("decode", decode))
    monkeypatch.setattr("service.routes.analyze.analysis_answer", gate("answer", analysis_answer))
    engine = StagedEngine(open_engine(str(tiny_pack)), gates)
    with serving(settings_for(tiny_pack, lanes=1, decode_lanes=1), engine) as served:
        try:
            yield served, gates
        finally:
            for each in gates.open.values():
                each.set()


@contextmanager
def caller(served: Served, query: str = "") -> Iterator[None]:
    """Somebody who sends a whole request, and hangs up when the block ends."""
    head = f"POST /analyze{query} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {len(GOOD)}\r\n\r\n"
    with socket.create_connection(served.address, WAIT_SECONDS) as connection:
        connection.sendall(head.encode() + GOOD)
        yield


def post(served: Served, query: str = "") -> int:
    headers = {"content-type": "image/png"}
    return httpx.post(f"{served.url}/analyze{query}", content=GOOD, headers=headers, timeout=WAIT_SECONDS).status_code


@pytest.mark.parametrize("stage", STAGES)
def test_work_after_the_stage_at_hand_is_never_done(staged: tuple[Served, Gates], stage: str) -> None:
    """Whoever hangs up during a stage is counted as 499, holds no permit, and no later stage runs for them."""
    served, gates = staged
    gates.open[stage].clear()
    with caller(served, "?crops=true"):
        wait_until(lambda: gates.came[stage] == 1)
    wait_until(lambda: served.metric("mien_disconnects_total") == 1)
    assert served.metric("mien_requests_total", route="/analyze", status="499") == 1
    assert served.parts.admission.in_flight == 0
    gates.open[stage].set()
    assert post(served, "?crops=true") == 200
    done = STAGES.index(stage)
    assert [gates.came[each] for each in STAGES] == [2 if index <= done else 1 for index in range(len(STAGES))]


@pytest.mark.parametrize("stage", ["decode", "detector", "analyzer-0"])
def test_work_that_waits_for_a_stage_is_dropped(staged: tuple[Served, Gates], stage: str) -> None:
    """Whoever hangs up while waiting for a lane is dropped from its queue, and counted there; others are answered."""
    served, gates = staged
    query = "?aligned=true" if stage == "analyzer-0" else ""  # no detection, which would want the lane before
    gates.open[stage].clear()
    with ThreadPoolExecutor(1) as callers:
        first = callers.submit(post, served, query)
        wait_until(lambda: gates.came[stage] == 1)
        with caller(served, query):
            wait_until(lambda: served.parts.admission.in_flight == 2)
            if stage != "decode":
                wait_until(lambda: served.metric("mien_queue_length", model=stage) == 1)
        wait_until(lambda: served.metric("mien_disconnects_total") == 1)
        assert served.parts.admission.in_flight == 1
        gates.open[stage].set()
        assert first.result() == 200
    wait_until(lambda: served.metric("mien_dropped_items_total", model=stage, reason="cancelled") == 1)
    assert gates.came[stage] == 1
