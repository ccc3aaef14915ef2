"""Lanes of several processes that share cores: who may use what the others do not, and when it is given back."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from service.lanes import Lanes
from service.roster import Membership, Roster, WorkerState
from tests.service.serving import WAIT_SECONDS, wait_until


class Others:
    """Neighbours that use as many cores as they are told to."""

    def __init__(self, num_cores: int, num_running: int) -> None:
        self.num_cores, self.num_running = num_cores, num_running
        self.told: list[int] = []

    def tell_running(self, num: int) -> None:
        self.told.append(num)


class Held:
    """Calls that run until they are let go."""

    def __init__(self) -> None:
        self.num, self._lock, self.end = 0, threading.Lock(), threading.Event()

    def __call__(self) -> None:
        with self._lock:
            self.num += 1
        assert self.end.wait(WAIT_SECONDS)


def run(others: Others, check: Callable[[Held], None], num: int = 1) -> None:
    """Four calls in lanes of a share of `num`."""
    lanes, held = Lanes(num, "test", neighbours=others), Held()

    async def main() -> None:
        calls = [asyncio.ensure_future(lanes.run(held)) for _ in range(4)]
        await asyncio.sleep(0)
        try:
            await asyncio.to_thread(check, held)
        finally:
            held.end.set()
        await asyncio.gather(*calls)

    asyncio.run(main())
    lanes.close()
    assert held.num == 4
    wait_until(lambda: others.told[-1] == 0)


def never_more_than(held: Held, num: int) -> None:
    """That so many run, and in ten times as long as lanes look again, no more."""
    wait_until(lambda: held.num == num)
    threading.Event().wait(0.02)
    assert held.num == num


def test_what_others_do_not_use_is_used() -> None:
    """Beside idle neighbours twice the own share runs, and says so; beside busy ones the share alone."""

    def both(held: Held) -> None:
        never_more_than(held, 2)
        assert others.told[-1] == 2

    def one(held: Held) -> None:
        never_more_than(held, 1)
        assert others.told[-1] == 1

    others = Others(2, 0)
    run(others, both)
    others = Others(2, 1)
    run(others, one)


def test_a_core_that_others_leave_is_found() -> None:
    """Nobody says that a neighbour's run has ended; waiting work begins all the same."""

    def check(held: Held) -> None:
        never_more_than(held, 1)
        others.num_running = 0
        never_more_than(held, 2)

    others = Others(2, 1)
    run(others, check)


@pytest.mark.parametrize(("num_cores", "most"), [(3, 3), (8, 4)])
def test_no_more_than_twice_the_share(num_cores: int, most: int) -> None:
    """However many cores there are, and never more than there are."""

    def check(held: Held) -> None:
        never_more_than(held, most)

    run(Others(num_cores, 0), check, num=2)


@pytest.mark.parametrize(("num_running", "lends"), [(0, True), (1, False)])
def test_a_core_that_others_do_not_use_is_lent(num_running: int, lends: bool) -> None:
    """A lone run may use two threads where the other process has nothing to do."""
    others = Others(2, num_running)
    lanes = Lanes(1, "test", neighbours=others)
    with lanes.changed:
        assert lanes.lend(0) is lends
        assert others.told == ([1] if lends else [])
        if lends:
            lanes.take_back()
            assert others.told[-1] == 0


def test_the_roster_knows_what_each_uses() -> None:
    """A worker sees the sum of the others'; what one used that has ended is forgotten."""
    roster = Roster(3, 6)
    first, second, third = (Membership(roster, number) for number in range(3))
    second.tell_running(2)
    third.tell_running(1)
    assert (first.num_cores, first.num_running, second.num_running) == (6, 3, 1)
    roster.clear(1)
    assert first.num_running == 1


def test_fewest_connections_are_those_of_workers_that_take_work() -> None:
    """One that starts, or hangs, has few, and takes none."""
    roster = Roster(3, 3)
    first, second, third = (Membership(roster, number) for number in range(3))
    assert first.fewest_connections == float("inf")
    for member, state, num in ((second, WorkerState.WARM, 4), (third, WorkerState.STARTING, 0)):
        member.beat(state)
        member.tell_connections(num)
    assert first.fewest_connections == 4
    third.beat(WorkerState.WARM)
    assert first.fewest_connections == 0
