"""Affinity: when lanes keep to a core each, and that nobody else's word on where a thread may run is overruled."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.affinity import Affinity
from service.cores import whole_cores
from service.engine import Engine, Outputs
from service.lanes import Lanes
from service.onnx_engine import open_engine
from tests.packs import Square, photo
from tests.service.serving import WAIT_SECONDS, GatedEngine, serving, settings_for, wait_until

CORES = tuple(sorted(os.sched_getaffinity(0)))
pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="on one core there is nothing to keep to")


def own() -> tuple[int, ...]:
    """The cores that the calling thread may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


def in_a_thread(check: Callable[[], None]) -> None:
    """Runs a check in a thread whose affinity goes with it."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(check).result(WAIT_SECONDS)


async def of_all_lanes(lanes: Lanes) -> list[tuple[int, ...]]:
    """The cores of each lane: every one is held in its call until all have begun theirs."""
    barrier = threading.Barrier(lanes.num)

    def look() -> tuple[int, ...]:
        barrier.wait(WAIT_SECONDS)
        return own()

    return sorted(await asyncio.gather(*(lanes.run(look) for _ in range(lanes.num))))


def test_each_lane_keeps_to_a_core_of_its_own_while_all_cores_are_wanted() -> None:
    """With as many images under way as lanes, and not with fewer, nor long after they were answered."""

    async def check() -> None:
        lanes = Lanes(len(CORES), "test", cores=CORES)
        for _ in CORES[1:]:
            lanes.begin_image()
        assert await of_all_lanes(lanes) == [CORES] * len(CORES)
        lanes.begin_image()
        assert await of_all_lanes(lanes) == [(core,) for core in CORES]
        lanes.end_image()
        while await of_all_lanes(lanes) != [CORES] * len(CORES):  # for a moment they keep to what they had
            pass
        lanes.close()

    asyncio.run(asyncio.wait_for(check(), WAIT_SECONDS))
    assert own() == CORES


def test_lanes_that_are_given_no_cores_keep_to_none() -> None:
    """As many images as lanes under way change nothing for them."""

    async def check() -> None:
        lanes = Lanes(len(CORES), "test")
        for _ in CORES:
            lanes.begin_image()
        assert await of_all_lanes(lanes) == [CORES] * len(CORES)
        lanes.close()

    asyncio.run(asyncio.wait_for(check(), WAIT_SECONDS))


def test_what_an_operator_sets_stays() -> None:
    """Cores that are taken from a thread before it keeps to its own, or while it does, stay taken."""

    def check() -> None:
        affinity = Affinity(1, CORES)
        os.sched_setaffinity(0, CORES[:1])
        affinity.keep(True)
        assert own() == CORES[:1]
        affinity.keep(False)
        assert own() == CORES[:1]
        os.sched_setaffinity(0, CORES)
        affinity.keep(True)
        assert own() == CORES[1:2]
        os.sched_setaffinity(0, CORES[:1])
        affinity.keep(False)
        assert own() == CORES[:1]

    in_a_thread(check)


def test_where_it_is_forbidden_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that forbids it is asked once; the thread goes on."""
    asked = list[object]()

    def refuse(*_: object) -> None:
        asked.append(None)
        raise PermissionError

    def check() -> None:
        affinity = Affinity(0, CORES)
        monkeypatch.setattr(os, "sched_setaffinity", refuse)
        for wanted in (True, False, True):
            affinity.keep(wanted)
        assert (len(asked), own()) == (1, CORES)

    in_a_thread(check)


class Noting(GatedEngine):
    """An engine that notes the cores of each run that begins while its gate is open."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.cores: list[tuple[int, ...]] = []

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        if self.gate.is_set():
            self.cores.append(own())
        return super().analyze(index, crops, spread=spread)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_service_with_a_lane_a_core_keeps_to_them_under_load(tiny_pack: Path, keeps: bool) -> None:
    """With all cores its own, twice as many images as lanes under way; with fewer lanes than cores it never does."""
    num_lanes = len(CORES) - (not keeps)
    if keeps and not whole_cores(num_lanes):
        pytest.skip("a quota leaves this process fewer cores than there are")
    engine, num = Noting(open_engine(str(tiny_pack))), 2 * len(CORES)
    settings = settings_for(tiny_pack, lanes=num_lanes, max_batch=1, max_files=1, max_in_flight=num)
    with serving(settings, engine) as served, ThreadPoolExecutor(num) as callers:
        face = photo(Square(16, 16))
        posts = [
            callers.submit(served.client.post, "/analyze", content=face, headers={"content-type": "image/png"})
            for _ in range(num)
        ]
        for _ in range(num_lanes):
            engine.wait_for_run()
        wait_until(lambda: served.parts.admission.in_flight == num)
        engine.gate.set()
        assert [post.result(WAIT_SECONDS).status_code for post in posts] == [200] * num
    assert (len(engine.cores[0]) == 1) is keeps


@pytest.mark.parametrize(("quota", "num", "found"), [("max", 0, CORES), ("150000", 0, ()), ("max", 1, ())])
def test_cores_are_whole_where_the_process_may_keep_all_of_them_busy(
    tmp_path: Path, quota: str, num: int, found: tuple[int, ...]
) -> None:
    """Not under a quota of fewer than there are, nor for fewer lanes than cores."""
    membership = tmp_path / "membership"
    membership.write_text("0::/group\n")
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "cpu.max").write_text(f"{quota} 100000\n")
    assert whole_cores(len(CORES) - num, tmp_path, membership) == found
