"""Lanes: which threads let others go first."""

import asyncio
import os
import sys
import threading

import pytest

from service.lanes import Lanes


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
@pytest.mark.parametrize("yields", [False, True])
def test_lanes_that_yield_are_behind_the_event_loop(yields: bool) -> None:
    """A lane that yields has a lower priority than the thread that made it, whose own stays as it was."""

    async def check() -> int:
        lanes = Lanes(1, "test", yields=yields)
        try:
            return await lanes.run(niceness)
        finally:
            lanes.close()

    before = niceness()
    assert asyncio.run(check()) == min(before + (4 if yields else 0), 19)
    assert niceness() == before
