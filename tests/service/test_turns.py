"""A lane's turns: how many runs they hold, what is told when, and what becomes of a run among others."""

import asyncio
import queue
import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from service.batcher import Batcher, Wish
from service.errors import DeadlinePassed, Internal
from service.reply import Reply, together
from tests.service.test_batcher import WAIT_SECONDS, Gate, queued, run, soon


@pytest.mark.parametrize(("line", "turns"), [(1, [1]), (2, [2]), (4, [3, 1]), (9, [4, 3, 2])])
def test_a_turn_grows_with_the_line_and_a_lone_item_never_waits(line: int, turns: list[int]) -> None:
    """Of one lane: one run while nothing else waits, one more for each two that do, and never over the most."""
    gate, told = Gate(), queue.SimpleQueue[int]()

    async def test(batcher: Batcher[int, int]) -> None:
        held = await queued(batcher, [0])
        await gate.wait_for_run()

        def done(_: object) -> None:
            told.put(len(gate.batches))  # runs that had begun when an answer was told: those of a turn are alike

        batcher.put([Wish(item, soon(), done, lambda: True) for item in range(1, line + 1)])
        gate.open.set()
        await asyncio.gather(*held)
        when = [await asyncio.to_thread(told.get, timeout=WAIT_SECONDS) for _ in range(line)]
        assert list(Counter(when).values()) == turns
        assert gate.batches == [[item] for item in range(line + 1)]

    run(gate, test, max_batch=1, max_runs=4)


def test_a_run_of_a_turn_fails_alone() -> None:
    """Of four images that a lane looks at in one turn, the one that fails has no word in the others' answers."""
    gate = threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        assert gate.wait(WAIT_SECONDS)
        if items == [2]:
            raise ValueError("two")
        return [item**2 for item in items]

    async def test(batcher: Batcher[int, int]) -> None:
        tasks = await queued(batcher, [0, 1, 2, 3, 4, 5, 6, 7, 8])
        gate.set()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(ends.pop(2), Internal)
        assert [end.value for end in ends if not isinstance(end, BaseException)] == [0, 1, 9, 16, 25, 36, 49, 64]

    run(work, test, max_batch=1, max_runs=4)


def test_what_dies_during_a_turn_never_runs() -> None:
    """An item that nobody wants any more, or whose deadline passes, while its turn's earlier runs go on, is dropped."""
    unwanted, ran, ends = set[int](), list[int](), queue.SimpleQueue[tuple[int, object]]()
    begin, deadline = threading.Event(), time.monotonic() + 0.2

    def work(items: Sequence[int]) -> list[int]:
        assert begin.wait(WAIT_SECONDS)
        ran.extend(items)
        if items == [1]:
            unwanted.add(2)
            while time.monotonic() < deadline:
                pass
        return list(items)

    def wish(item: int) -> Wish[int, int]:
        until = deadline if item == 3 else soon()
        return Wish(item, until, lambda end: ends.put((item, end)), lambda: item not in unwanted)

    async def test(batcher: Batcher[int, int]) -> None:
        batcher.put([wish(0)])
        batcher.put([wish(item) for item in range(1, 10)])
        begin.set()
        by_item = dict([await asyncio.to_thread(ends.get, timeout=WAIT_SECONDS) for _ in range(9)])
        assert isinstance(by_item.pop(3), DeadlinePassed)
        assert sorted(by_item) == sorted(ran) == [0, 1, *range(4, 10)]

    run(work, test, max_batch=1, max_runs=4)


def test_replies_given_together_are_told_in_one_go() -> None:
    """The event loop hears of none before the last is given, and then of all of them in one callback."""

    async def main() -> None:
        replies, heard = [Reply[int]() for _ in range(3)], list[int]()
        inside, go_on = threading.Event(), threading.Event()

        def give() -> None:
            with together():
                for number, reply in enumerate(replies[:2]):
                    reply.give(number)
                inside.set()
                assert go_on.wait(WAIT_SECONDS)
                replies[2].fail(Internal("no"))

        thread = threading.Thread(target=give)
        thread.start()
        await asyncio.to_thread(inside.wait, WAIT_SECONDS)
        assert not any(reply.future.done() for reply in replies)
        replies[0].future.add_done_callback(lambda _: heard.append(sum(reply.future.done() for reply in replies)))
        go_on.set()
        with pytest.raises(Internal):
            await replies[2].future
        thread.join()
        assert (replies[0].future.result(), replies[1].future.result()) == (0, 1)
        assert heard == [3]

    asyncio.run(main())


def test_a_reply_by_itself_is_told_at_once() -> None:
    """Outside such a block, and after one that raised, a reply does not wait for others."""

    async def main() -> None:
        reply = Reply[str]()

        def give() -> None:
            with pytest.raises(ValueError, match="mid"), together():
                raise ValueError("mid")
            reply.give("yes")

        threading.Thread(target=give).start()
        assert await asyncio.wait_for(reply.future, WAIT_SECONDS) == "yes"

    asyncio.run(main())
