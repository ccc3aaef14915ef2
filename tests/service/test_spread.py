"""Runs by two threads: when a lane without work lends its core, and what becomes of those who come meanwhile."""

import asyncio
import queue
import threading
from collections.abc import Sequence

import numpy as np

from model.runtime.pack import find_pack
from service.batcher import Answered, Batcher, Wish
from service.errors import ServiceError, Stalled
from service.imaging import decode
from service.lanes import Lanes
from service.metrics import Metrics
from service.onnx_engine import open_engine
from service.watchdog import Watchdog
from tests.service.test_batcher import WAIT_SECONDS, Gate, soon

End = Answered[int] | ServiceError


class Spread:
    """A detector's queue over two lanes, whose runs by one thread and by two wait at gates of their own."""

    def __init__(self, watchdog_seconds: float | None = None) -> None:
        self.lanes, metrics = Lanes(2, "test"), Metrics()
        self.narrow, self.wide = Gate(), Gate()
        self.watchdog = Watchdog(watchdog_seconds, 2, metrics)
        self.ends: queue.SimpleQueue[End] = queue.SimpleQueue()
        self.batcher: Batcher[int, int] = Batcher(
            "m",
            self.narrow,
            self.lanes,
            max_batch=1,
            max_wait_seconds=0,
            metrics=metrics,
            watchdog=self.watchdog,
            spread=self.wide,
        )

    def put(self, *items: int) -> None:
        self.batcher.put([Wish(item, soon(), self.ends.put, lambda: True) for item in items])

    async def end(self) -> End:
        return await asyncio.to_thread(self.ends.get, timeout=WAIT_SECONDS)

    async def close(self) -> None:
        self.narrow.open.set()
        self.wide.open.set()
        await self.batcher.close()
        await self.watchdog.stop()
        self.lanes.close()


def ran(gate: Gate) -> list[int]:
    """What went through a gate, in order."""
    return [item for batch in gate.batches for item in batch]


def test_a_lone_image_is_looked_at_by_two_threads_and_the_next_waits_for_the_core() -> None:
    """While a core is lent no lane begins a run, so that threads never exceed cores; then the line goes on."""

    async def main() -> None:
        spread = Spread()
        spread.put(1)
        await spread.wide.wait_for_run()
        spread.put(2)
        assert not await asyncio.to_thread(spread.narrow.entered.acquire, timeout=0.05)
        assert (ran(spread.wide), ran(spread.narrow)) == ([1], [])
        spread.wide.open.set()
        await spread.end()
        await spread.narrow.wait_for_run()  # somebody had to wait: cores are not lent any more for a while
        spread.put(3)
        await spread.narrow.wait_for_run()
        assert (ran(spread.wide), ran(spread.narrow)) == ([1], [2, 3])
        await spread.close()

    asyncio.run(asyncio.wait_for(main(), WAIT_SECONDS))


def test_images_that_come_together_take_a_lane_each() -> None:
    """Two that came at once are looked at side by side, by a thread each."""

    async def main() -> None:
        spread = Spread()
        spread.put(1, 2)
        await spread.narrow.wait_for_run()
        await spread.narrow.wait_for_run()
        assert (ran(spread.wide), sorted(ran(spread.narrow))) == ([], [1, 2])
        await spread.close()

    asyncio.run(asyncio.wait_for(main(), WAIT_SECONDS))


def test_who_asks_again_as_soon_as_told_is_no_crowd() -> None:
    """A lane that still tells what it found wants for no core: the next image is looked at by two threads as well."""
    in_tail, go_on = threading.Event(), threading.Event()

    def first(_: object) -> None:
        in_tail.set()
        assert go_on.wait(WAIT_SECONDS)

    async def main() -> None:
        spread = Spread()
        spread.wide.open.set()
        spread.narrow.open.set()
        spread.batcher.put([Wish(1, soon(), first, lambda: True)])
        await spread.wide.wait_for_run()
        assert await asyncio.to_thread(in_tail.wait, WAIT_SECONDS)
        spread.put(2)
        await spread.end()
        go_on.set()
        assert (ran(spread.wide), ran(spread.narrow)) == ([1, 2], [])
        await spread.close()

    asyncio.run(asyncio.wait_for(main(), WAIT_SECONDS))


def test_a_run_that_hangs_gives_the_core_back() -> None:
    """Given up on, it keeps its own lane; the other, whose core it had, goes on with those who come."""

    async def main() -> None:
        spread = Spread(watchdog_seconds=0.1)
        spread.watchdog.start()
        spread.put(1)
        await spread.wide.wait_for_run()
        assert isinstance(await spread.end(), Stalled)
        spread.narrow.open.set()
        spread.put(2)
        end = await spread.end()
        assert isinstance(end, Answered)
        assert (end.value, ran(spread.narrow)) == (4, [2])
        await spread.close()

    asyncio.run(asyncio.wait_for(main(), WAIT_SECONDS))


def test_a_lane_alone_lends_nothing() -> None:
    """On one core there is none to lend."""
    lanes = Lanes(1, "test")
    with lanes.changed:
        assert not lanes.lend(0.0)
    lanes.close()


def test_two_threads_find_the_faces_that_one_finds(six_faces: bytes) -> None:
    """How many threads look at an image has no word in the answer: not one bit differs."""
    engine = open_engine("nano", spreads=True)
    image = decode(six_faces, max_pixels=40_000_000).pixels
    views: Sequence[np.ndarray] = (image, np.ascontiguousarray(image[:300, :500]))
    assert engine.most_threads == 2
    for view in views:
        (one,), (two,) = (engine.detect([view], 0.05, num_threads) for num_threads in (1, 2))
        assert len(one) > 0
        for name in ("boxes", "scores", "landmarks"):
            assert np.array_equal(getattr(one, name), getattr(two, name))


def test_an_engine_is_opened_once_unless_told_otherwise() -> None:
    """Commands that run one lane hold no second detector in memory, and answer who asks for two threads by one."""
    engine = open_engine(str(find_pack("nano")))
    assert engine.most_threads == 1
    (found,) = engine.detect([np.zeros((64, 64, 3), np.uint8)], 0.5, 2)
    assert len(found) == 0
