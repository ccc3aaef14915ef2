"""A condition whose last waiter is woken first."""

import threading
from collections.abc import Iterator

import pytest

from service.condition import LifoCondition
from tests.service.serving import WAIT_SECONDS, wait_until


class Waiters:
    """Threads that wait for one condition, begun one after another, and the order in which they were woken."""

    def __init__(self, num: int) -> None:
        self.changed, self.woken = LifoCondition(), list[int]()
        self._threads = [threading.Thread(target=self._wait, args=(number,)) for number in range(num)]
        for number, thread in enumerate(self._threads):
            thread.start()
            wait_until(lambda number=number: self.changed.num_waiting == number + 1)  # type: ignore[misc]

    def notify(self, num: int) -> None:
        with self.changed:
            self.changed.notify(num)

    def join(self) -> None:
        with self.changed:
            self.changed.notify_all()
        for thread in self._threads:
            thread.join(WAIT_SECONDS)

    def _wait(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait()
            self.woken.append(number)


@pytest.fixture
def three() -> Iterator[Waiters]:
    """Three that wait."""
    waiters = Waiters(3)
    yield waiters
    waiters.join()


def test_who_came_last_is_woken_first(three: Waiters) -> None:
    """One by one, waiters are woken in the order opposite to that in which they came."""
    for num in (1, 2, 3):
        three.notify(1)
        wait_until(lambda num=num: len(three.woken) == num)  # type: ignore[misc]
    assert three.woken == [2, 1, 0]


@pytest.mark.parametrize("num", [0, 2, 3, 9])
def test_as_many_are_woken_as_were_to_be(three: Waiters, num: int) -> None:
    """So many wake, or all where fewer wait, and nothing is kept for one who comes later."""
    three.notify(num)
    wait_until(lambda: len(three.woken) == min(num, 3))
    with three.changed:
        assert not three.changed.wait(0)
    assert three.changed.num_waiting == 3 - min(num, 3)


def test_wait_ends_after_its_time() -> None:
    """Nobody wakes it: False, under the lock again, and it is not waiting any more."""
    changed = LifoCondition()
    with changed:
        assert not changed.wait(0.01)
        assert not changed.wait(-1)
        assert changed.num_waiting == 0
        changed.notify()
    with changed:
        assert not changed.wait(0)


def test_lock_is_free_while_a_thread_waits_and_held_behind_it() -> None:
    """Who waits lets others in, and goes on alone."""
    waiters = Waiters(1)
    with waiters.changed:
        waiters.changed.notify()
        assert waiters.woken == []  # it is woken, and has to wait for the lock
    waiters.join()
    assert waiters.woken == [0]
