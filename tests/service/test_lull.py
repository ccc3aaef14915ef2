"""The lull: when the event loop's thread sleeps, and when it must not."""

import asyncio

from service.admission import Admission, State
from service.lull import Lull
from service.metrics import Metrics


def test_a_turn_of_the_loop_is_followed_by_one_sleep_however_much_was_refused() -> None:
    """A hundred refusals in one turn cost one sleep, of two milliseconds; the next turn's cost another."""
    slept: list[float] = []

    async def main() -> None:
        lull = Lull(slept.append)
        for _ in range(2):
            for _ in range(100):
                lull.begin()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(main())
    assert slept == [0.002, 0.002]


def test_a_line_is_long_only_beyond_twice_what_keeps_the_lanes_busy() -> None:
    """Where few images may be in flight, a lane could run out of work while the loop sleeps: there it never does."""

    async def main() -> None:
        admission, seen = Admission(20, lambda: 0.0, Metrics(), full=8), list[bool]()
        admission.enter(State.READY)
        with admission.admit() as ticket:
            for num in (14, 1):
                ticket.grow(num)
                seen.append(admission.has_long_line)
        assert seen == [False, True]
        assert not admission.has_long_line

    asyncio.run(main())
