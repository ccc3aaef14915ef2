"""Lanes: threads for work that blocks, as many as may run at once, which take their work themselves.

One set of lanes runs every graph of a pack, detector and analyzers alike, so that lanes times intra-op threads (one)
never exceed the cores. A lane that has done with one run takes the next from whoever has waited longest, but for a few
newcomers, without a word to the event loop: on a CPU the way there and back would leave a core idle after each run. A
lane without work may lend its core to another's run, and begins none meanwhile. While all cores are wanted each lane
may keep to one of its own. Where several processes share the cores, each may use what the others do not; what one
begins on its own share waits for nobody, so for the length of a run there may be one run more.
Decoding has lanes of its own, or it would starve the queues.
Never holds a queue of graphs: what waits for a lane waits in its `Batcher`.
"""

import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, ParamSpec, Protocol, TypeVar

from service.affinity import Affinity
from service.condition import LifoCondition
from service.logs import log_event
from service.reply import Reply

P = ParamSpec("P")
T = TypeVar("T")
Run = Callable[[], object]  # what it gives is nobody's
_NICER, _NICEST = 4, 19
_ALWAYS: Final = 0.0
# How long after all cores were wanted lanes keep to theirs, and none is lent, or two threads would share one. Between
# two requests of a steady stream they are not wanted, and the next would wait for the core that is lent.
CROWD_SECONDS: Final = 0.03
_LOOK_SECONDS: Final = 0.002  # between two looks at what neighbours use: they tell nobody


class Source(Protocol):
    """What lanes take work from. Every method is called under the lanes' lock, and must not block."""

    @property
    def since(self) -> float | None:
        """Since when, on `time.monotonic`'s clock, the oldest item has waited; None where none does.

        0 puts it before all others.
        """

    @property
    def due(self) -> float:
        """When work may be taken, on the same clock; in the past where it may be at once."""

    def take(self, num_idle: int) -> Run | None:
        """One run, to be called without the lock; None where what waited is not wanted any more.

        Args:
            num_idle: other lanes that have nothing to do, and may take their share.
        """


class Neighbours(Protocol):
    """Lanes of other processes, with which these share their cores."""

    @property
    def num_cores(self) -> int:
        """Cores of all together."""

    @property
    def num_running(self) -> int:
        """Cores that the others use now."""

    def tell_running(self, num: int) -> None:
        """Says how many these lanes use."""


class Lanes:
    """Threads, started with the first work.

    Args:
        num: how many may run at any time: these lanes' own share of the cores.
        name: theirs.
        dropped: called for each call that was not wanted any more before it began.
        yields: whether they let the other threads of the process go first, where they want the same core.
        neighbours: who else shares the cores. Up to as many lanes again then run on what the others do not use.
        cores: by number, one a lane, which they keep to while as many images as lanes are under way; none: to none.
    """

    def __init__(
        self,
        num: int,
        name: str,
        dropped: Callable[[], None] = lambda: None,
        *,
        yields: bool = False,
        neighbours: Neighbours | None = None,
        cores: Sequence[int] = (),
    ) -> None:
        self.num, self._name, self._yields, self._neighbours = num, name, yields, neighbours
        self._cores = cores
        self._num_threads = num if neighbours is None else min(2 * num, neighbours.num_cores)
        self._is_looking = False  # whether a lane looks again and again if the others have left a core
        self.changed = LifoCondition()  # a lane that has only just run is the one that is warm
        self._calls = _Calls(dropped)
        self._sources: list[Source] = [self._calls]
        self._threads: list[threading.Thread] = []
        self._num_images = self._num_busy = self._num_lent = 0
        self._num_passed = 0  # runs that went before the call that waits
        self._crowded_at = -math.inf  # when as many images as cores were last under way
        self._telling: set[int] = set()  # lanes whose run is over, all but telling what came of it
        self._ending: set[int] = set()  # lanes that have queued work, and will be free for it at once
        self._is_closed = False

    @property
    def num_calls(self) -> int:
        """Calls that wait for a lane."""
        return len(self._calls)

    def add(self, source: Source) -> None:
        """Takes work from a source, too, from now on."""
        with self.changed:
            self._sources.append(source)

    def wake(self, num: int = 1) -> None:
        """Says that there is work for so many lanes. Under the lock (`with lanes.changed`).

        From a lane one fewer is woken: to queue work is the last that a run does, so its lane takes a share itself.
        """
        lane = threading.get_ident()
        if lane not in self._ending and threading.current_thread() in self._threads:
            self._ending.add(lane)
            num -= 1
        if not self._threads:
            # Daemons: a run that hangs in a library must not hold up the interpreter's end.
            self._threads = [
                threading.Thread(target=self._work, args=(number,), name=f"mien-{self._name}_{number}", daemon=True)
                for number in range(self._num_threads)
            ]
            for thread in self._threads:
                thread.start()
        self.changed.notify(num)

    def begin_image(self) -> None:
        """Says that one more image is under way. On the event loop, as `end_image`."""
        self._num_images += 1
        self._note_crowd()

    def end_image(self) -> None:
        """Says that an image is answered, or not wanted any more."""
        self._note_crowd()
        self._num_images -= 1

    def lend(self, idle_seconds: float) -> bool:
        """Lends the core of a lane without work to a run that is being taken, until `take_back`. Under the lock.

        One at a time: a graph that is opened for two threads has one helper. Images that are decoded, or whose crops
        are being cut, will want a core as well: each that is under way counts for one.

        Args:
            idle_seconds: how long not all cores must have been wanted: what comes next would have to wait for this one.

        Returns:
            Whether there is such a lane.
        """
        is_free = max(self._num_images, self._num_running + 1) < self._num_allowed
        if self._num_lent or not is_free or self._was_crowded(idle_seconds):
            return False
        self._num_lent = 1
        self._tell()
        return True

    def run_is_over(self) -> None:
        """Says that the calling lane's run is over, all but telling what came of it. Under the lock.

        Whoever is told may send the next at once, and it would seem to want for a core.
        """
        self._telling.add(threading.get_ident())

    def take_back(self) -> None:
        """Ends what `lend` began. Under the lock."""
        self._num_lent = 0
        self._tell()
        self.changed.notify()

    def submit(self, call: Run, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Runs a call in a lane, first come first served, unless it is not wanted any more when its turn comes."""
        with self.changed:
            self._calls.append(_Call(call, is_wanted, time.monotonic()))
            self.wake()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call in a lane and waits for what it gives. Cancelled before it began, it never runs."""
        reply = Reply[T]()

        def run() -> None:
            try:
                reply.give(call(*args, **kwargs))
            except Exception as error:
                reply.fail(error)
            except BaseException as error:  # it would end the event loop of everyone
                reply.fail(RuntimeError(f"{type(error).__name__} in a lane"))

        self.submit(run, reply.is_wanted)
        return await reply.future

    def close(self, *, wait: bool = True) -> None:
        """Ends the threads when what they run has finished, and waits for it; what has not begun never will."""
        with self.changed:
            self._is_closed = True
            self.changed.notify_all()
        for thread in self._threads if wait else ():
            thread.join()

    def _work(self, number: int) -> None:
        if self._yields:
            _yield()
        affinity = Affinity(number, self._cores)
        while (run := self._next()) is not None:
            affinity.keep(self._is_crowded or self._was_crowded(CROWD_SECONDS))
            try:
                run()
            except BaseException as error:  # whatever it is, the lane goes on: it belongs to everyone
                log_event("a lane's run failed", level=40, error=error, lanes=self._name)
            finally:
                with self.changed:
                    self._num_busy -= 1
                    self._tell()
                    self._ending.discard(threading.get_ident())
                    self._telling.discard(threading.get_ident())

    def _next(self) -> Run | None:
        """Waits for the next run; None once the lanes are closed."""
        with self.changed:
            while not self._is_closed:
                num_allowed = self._num_allowed
                if self._num_busy + self._num_lent >= num_allowed:
                    self._wait_for_core()
                    continue
                now = time.monotonic()
                waiting = [source for source in self._sources if source.since is not None]
                ready = [source for source in waiting if source.due <= now]
                if not ready:
                    self.changed.wait(min((source.due - now for source in waiting), default=None))
                    continue
                source = self._first(ready)
                run = source.take(num_allowed - self._num_busy - self._num_lent + len(self._ending) - 1)
                if source.since is not None:
                    self.changed.notify()
                if run is not None:
                    self._num_busy += 1
                    self._tell()
                    return run
        return None

    def _first(self, ready: list[Source]) -> Source:
        """What has waited longest. But for a few calls: what was begun goes before them, though not again and again.

        Where fewer calls wait than there are lanes, to begin another image keeps no core busy that would not be
        anyhow, and an image that is finished lets its caller send the next.
        """
        begun = [source for source in ready if source is not self._calls]
        may_pass = len(self._calls) < self.num and self._num_passed < self.num
        first = min(begun if begun and may_pass else ready, key=_oldest)
        self._num_passed = 0 if first is self._calls or not self._calls else self._num_passed + 1
        return first

    @property
    def _num_allowed(self) -> int:
        """Lanes that may run now."""
        if self._neighbours is None:
            return self.num
        return min(self._num_threads, max(self.num, self._neighbours.num_cores - self._neighbours.num_running))

    @property
    def _has_work(self) -> bool:
        return any(source.since is not None for source in self._sources)

    def _wait_for_core(self) -> None:
        """Waits until one of these lanes ends its run or, where work waits, the neighbours may have left a core."""
        if self._num_busy + self._num_lent >= self._num_threads or not self._has_work or self._is_looking:
            self.changed.wait()
            return
        self._is_looking = True
        self.changed.wait(_LOOK_SECONDS)
        self._is_looking = False

    def _tell(self) -> None:
        if self._neighbours is not None:
            self._neighbours.tell_running(self._num_busy + self._num_lent)

    @property
    def _num_running(self) -> int:
        return self._num_busy - len(self._telling)

    @property
    def _is_crowded(self) -> bool:
        """Whether there are as many images under way as cores."""
        return self._num_images >= self._num_allowed

    def _was_crowded(self, seconds: float) -> bool:
        """Whether there were, not longer ago than that."""
        return time.monotonic() - self._crowded_at < seconds

    def _note_crowd(self) -> None:
        if self._is_crowded:
            self._crowded_at = time.monotonic()


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    run: Run
    is_wanted: Callable[[], bool]
    since: float


class _Calls(deque[_Call]):
    """Calls that wait for a lane, first come first served."""

    def __init__(self, dropped: Callable[[], None]) -> None:
        super().__init__()
        self._dropped = dropped

    @property
    def since(self) -> float | None:
        return self[0].since if self else None

    @property
    def due(self) -> float:
        return _ALWAYS

    def take(self, num_idle: int) -> Run | None:  # noqa: ARG002 - one call is one run, whoever else is idle
        call = self.popleft()
        if call.is_wanted():
            return call.run
        self._dropped()
        return None


def _oldest(source: Source) -> float:
    return source.since or 0.0


def _yield() -> None:
    """Lowers this thread's priority: on Linux alone is it a thread's own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + _NICER, _NICEST))
