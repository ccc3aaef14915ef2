"""Runs by two threads: when a lane without work lends its core, and what becomes of those who come meanwhile."""

import asyncio
import queue
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from model.runtime.pack import find_pack
from service.batcher import Answered, Batcher, Wish
from service.engine import Outputs
from service.errors import ServiceError, Stalled, StartupError
from service.imaging import decode
from service.lanes import Lanes
from service.metrics import Metrics
from service.onnx_engine import PrecisionChoice, open_engine
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
        for _ in items:
            self.lanes.begin_image()
        self.batcher.put([Wish(item, soon(), self.ends.put, lambda: True) for item in items])

    async def put_and_hold(self, item: int) -> threading.Event:
        """Queues an item, with both gates open; its lane is then held at telling its answer until the event is set."""
        in_tail, go_on = threading.Event(), threading.Event()

        def done(_: object) -> None:
            in_tail.set()
            assert go_on.wait(WAIT_SECONDS)

        self.wide.open.set()
        self.narrow.open.set()
        self.lanes.begin_image()
        self.batcher.put([Wish(item, soon(), done, lambda: True)])
        assert await asyncio.to_thread(in_tail.wait, WAIT_SECONDS)
        return go_on

    async def end(self) -> End:
        end = await asyncio.to_thread(self.ends.get, timeout=WAIT_SECONDS)
        self.lanes.end_image()
        return end

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
        await spread.narrow.wait_for_run()  # both cores were wanted: none is lent any more for a while
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

    async def main() -> None:
        spread = Spread()
        go_on = await spread.put_and_hold(1)
        spread.lanes.end_image()
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


def test_an_image_whose_crops_are_being_cut_will_want_its_core() -> None:
    """What is under way between two runs counts for a core, though its lane has no run: another's run is narrow."""

    async def main() -> None:
        spread = Spread()
        go_on = await spread.put_and_hold(1)
        spread.put(2)
        await spread.end()
        go_on.set()
        assert (ran(spread.wide), ran(spread.narrow)) == ([1], [2])
        await spread.close()

    asyncio.run(asyncio.wait_for(main(), WAIT_SECONDS))


@pytest.mark.parametrize(("num_lanes", "lent"), [(1, [False, False]), (2, [True, False]), (4, [True, False])])
def test_one_core_is_lent_at_a_time_and_none_by_a_lane_alone(num_lanes: int, lent: list[bool]) -> None:
    """A graph opened for two threads has one helper, and on one core there is none to lend."""
    lanes = Lanes(num_lanes, "test")
    with lanes.changed:
        assert [lanes.lend(0.0), lanes.lend(0.0)] == lent
        if any(lent):
            lanes.take_back()
            assert lanes.lend(0.0)
    lanes.close()


def test_cores_are_not_lent_while_images_want_all_of_them_nor_right_after() -> None:
    """As many images under way as cores leave none to lend, nor for the time that the asker states after it."""
    lanes = Lanes(2, "test")

    def lends(idle_seconds: float) -> bool:
        with lanes.changed:
            is_lent = lanes.lend(idle_seconds)
            if is_lent:
                lanes.take_back()
        return is_lent

    lanes.begin_image()
    assert lends(0.0)
    lanes.begin_image()
    assert not lends(0.0)
    lanes.end_image()
    assert (lends(WAIT_SECONDS), lends(0.0)) == (False, True)
    lanes.close()


def test_two_threads_find_the_faces_that_one_finds(six_faces: bytes) -> None:
    """How many threads look at an image has no word in the answer: not one bit differs."""
    engine = open_engine("nano", spreads=True)
    image = decode(six_faces, max_pixels=40_000_000).pixels
    views: Sequence[np.ndarray] = (image, np.ascontiguousarray(image[:300, :500]))
    assert engine.spreads()
    for view in views:
        (one,), (two,) = (engine.detect([view], 0.05, spread=spread) for spread in (False, True))
        assert len(one) > 0
        for name in ("boxes", "scores", "landmarks"):
            assert np.array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_two_threads_answer_of_a_face_what_one_answers(precision: PrecisionChoice) -> None:
    """In float32, and in int8 where this processor serves it: not one bit of an output differs."""
    engine = open_engine("nano", precision=precision, spreads=True)
    side_px = engine.pack.analyzers[0].side_px
    crops = np.random.default_rng(0).integers(0, 256, (3, side_px, side_px, 3), np.uint8)
    assert engine.spreads(0)
    for some in (crops[:1], crops):
        one, two = (engine.analyze(0, some, spread=spread) for spread in (False, True))
        assert one.keys() == two.keys() == set(engine.pack.analyzers[0].tasks)
        assert all(np.array_equal(one[task], two[task]) for task in one)


def test_a_spread_graph_is_held_against_the_known_answer() -> None:
    """What two threads answer is checked before the service is ready, as what one does."""
    engine = open_engine("nano", spreads=True)
    asked: list[bool] = []
    right = engine.analyze

    def analyze(index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        asked.append(spread)
        return right(index, crops if not spread else 255 - crops, spread=spread)

    engine.analyze = analyze  # type: ignore[method-assign]
    with pytest.raises(StartupError, match=r"analyzer.*batch of 1"):
        engine.warm_up()
    assert asked[-1]


def test_a_large_graph_is_not_opened_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights would lie in memory twice: what is over the bound runs by one thread, whoever asks for two."""
    monkeypatch.setattr("service.onnx_engine._MAX_SPREAD_BYTES", 3_000_000)
    engine = open_engine("nano", spreads=True)
    assert (engine.spreads(), engine.spreads(0)) == (True, False)
    side_px = engine.pack.analyzers[0].side_px
    assert engine.analyze(0, np.zeros((1, side_px, side_px, 3), np.uint8), spread=True)
    engine.warm_up()


def test_an_engine_is_opened_once_unless_told_otherwise() -> None:
    """Commands that run one lane hold no second graph in memory, and answer who asks for two threads by one."""
    engine = open_engine(str(find_pack("nano")))
    assert (engine.spreads(), engine.spreads(0)) == (False, False)
    (found,) = engine.detect([np.zeros((64, 64, 3), np.uint8)], 0.5, spread=True)
    assert len(found) == 0
