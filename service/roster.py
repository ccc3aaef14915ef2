"""The roster: what the processes of one service know of each other, in memory that they share.

One writer a field: a worker writes of itself, the supervisor what holds for all, and of a worker that has ended.
Beats are on `time.monotonic`'s clock, which all processes of a machine share. Never holds anything of a request.
"""

import ctypes
import math
import multiprocessing
import os
import time
from collections.abc import Iterator
from enum import IntEnum
from multiprocessing.context import SpawnContext
from typing import Final

SPAWN: Final[SpawnContext] = multiprocessing.get_context(
    "spawn"
)  # a fork would take half of onnxruntime's threads along
_FIELDS: Final = 4  # of a worker: state, beat, open connections, cores in use


class WorkerState(IntEnum):
    """Where a worker is in its life, as far as others must know."""

    STARTING = 0
    WARM = 1
    STALLED = 2


class Roster:
    """The states of `num` workers, which have so many cores together. Passed to each when it is started."""

    def __init__(self, num: int, num_cores: int) -> None:
        self.num, self.num_cores = num, num_cores
        self.supervisor_pid = os.getpid()
        self._fields = SPAWN.RawArray(ctypes.c_double, _FIELDS * num + 2)

    def state(self, number: int) -> WorkerState:
        """A worker's state."""
        return WorkerState(int(self._fields[_FIELDS * number]))

    def silent_seconds(self, number: int) -> float:
        """Seconds since a worker's event loop last ran; 0 where it has never run yet."""
        beat = self._fields[_FIELDS * number + 1]
        return time.monotonic() - beat if beat else 0.0

    def beat(self, number: int, state: WorkerState) -> None:
        """A worker says that it lives, and how it is."""
        self._fields[_FIELDS * number] = state
        self._fields[_FIELDS * number + 1] = time.monotonic()

    def num_connections(self, number: int) -> int:
        """Connections that a worker has open."""
        return int(self._fields[_FIELDS * number + 2])

    def tell_connections(self, number: int, num: int) -> None:
        """A worker says how many connections it has open."""
        self._fields[_FIELDS * number + 2] = num

    def num_running(self, number: int) -> int:
        """Cores that a worker uses."""
        return int(self._fields[_FIELDS * number + 3])

    def tell_running(self, number: int, num: int) -> None:
        """A worker says how many cores it uses."""
        self._fields[_FIELDS * number + 3] = num

    def clear(self, number: int) -> None:
        """Forgets a worker that has ended."""
        self._fields[_FIELDS * number] = WorkerState.STARTING
        for field in range(1, _FIELDS):
            self._fields[_FIELDS * number + field] = 0.0

    @property
    def all_warm(self) -> bool:
        """Whether every worker takes work."""
        return all(self.state(number) is WorkerState.WARM for number in range(self.num))

    @property
    def is_ready(self) -> bool:
        """Whether all workers have been warm at once; stays so while one is restarted."""
        return bool(self._fields[-2])

    def set_ready(self) -> None:
        """All workers are warm."""
        self._fields[-2] = 1.0

    @property
    def is_stopping(self) -> bool:
        """Whether the whole service has been told to stop, not one worker alone."""
        return bool(self._fields[-1])

    def set_stopping(self) -> None:
        """The whole service was told to stop."""
        self._fields[-1] = 1.0


class Membership:
    """One worker's side of the roster."""

    def __init__(self, roster: Roster, number: int) -> None:
        self.number = number
        self._roster = roster

    def beat(self, state: WorkerState) -> None:
        """Says that this worker's event loop runs, and how it is."""
        self._roster.beat(self.number, state)

    def tell_connections(self, num: int) -> None:
        """Says how many connections this worker has open."""
        self._roster.tell_connections(self.number, num)

    @property
    def fewest_connections(self) -> float:
        """The fewest that any other worker has open that takes work; infinite where none does."""
        warm = (number for number in self._others if self._roster.state(number) is WorkerState.WARM)
        return min((self._roster.num_connections(number) for number in warm), default=math.inf)

    @property
    def num_cores(self) -> int:
        """As `lanes.Neighbours` has it."""
        return self._roster.num_cores

    @property
    def num_running(self) -> int:
        """As `lanes.Neighbours` has it."""
        return sum(self._roster.num_running(number) for number in self._others)

    def tell_running(self, num: int) -> None:
        """As `lanes.Neighbours` has it."""
        self._roster.tell_running(self.number, num)

    @property
    def _others(self) -> Iterator[int]:
        return (number for number in range(self._roster.num) if number != self.number)

    @property
    def is_group_ready(self) -> bool:
        """Whether all workers have been warm."""
        return self._roster.is_ready

    @property
    def leaves_alone(self) -> bool:
        """Whether this worker would leave while the others go on: what it accepts then should be theirs."""
        return not self._roster.is_stopping

    @property
    def is_orphan(self) -> bool:
        """Whether the supervisor is gone, so that nobody would ever stop or restart this worker."""
        return os.getppid() != self._roster.supervisor_pid
