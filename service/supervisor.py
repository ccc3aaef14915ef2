"""The supervisor: several workers behind one port, restarted when they end, stopped together.

It binds the port once and hands the listening socket to every worker: with one queue of connections for all, the
workers share them out (`service.acceptor`), and what nobody has taken is not lost with a worker (with `SO_REUSEPORT`
each worker has a queue of its own, which dies with it). Never answers a request, and never opens a pack.
"""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Final

from service.errors import StartupError
from service.logs import log_event, set_up_logs
from service.metrics import Metrics, forget_metrics, share_metrics
from service.roster import SPAWN, Roster, WorkerState
from service.server import address_of, listen
from service.settings import Settings
from service.shares import gpu_shares, shares
from service.worker import Plan, run_worker

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - metrics of processes that run, in a folder of mode 700
_POLL_SECONDS: Final = 0.1
_METRICS_BYTES: Final = 4 * 65_536  # of a process: counters, histograms and two kinds of gauges
_GRACE_SECONDS: Final = 10.0  # beyond the drain, for the end of threads
_STEADY_SECONDS: Final = 60.0  # a worker that has lived as long starts anew at once, however often it did before
_MOST_BACKOFF_SECONDS: Final = 30.0


@dataclass(slots=True)
class _Place:
    """One worker's place: the process that fills it, if one does, and when the next may."""

    number: int
    process: SpawnProcess | None = None
    failure: "connection.Connection[str, str] | None" = None
    started_at: float = 0.0
    num_quick_ends: int = 0
    due_at: float = 0.0
    kill_at: float | None = None
    reason: str = "died"


def supervise(settings: Settings, announce: Callable[[str], None] | None = None) -> bool:
    """Runs `settings.workers` processes behind one port until SIGTERM or SIGINT.

    Args:
        settings: what the operator chose.
        announce: told the service's address once every worker is ready.

    Returns:
        Whether every worker ended in order, with all that it had accepted answered.

    Raises:
        StartupError: one line, if the address, or a worker's pack or device, is not what it should be.
    """
    set_up_logs(settings.log_level)
    with _metrics_dir(settings.workers) as folder, contextlib.closing(listen(settings)) as listener:
        share_metrics(folder, "supervisor")
        return Supervisor(settings, listener, folder, announce).run()


class Supervisor:
    """See `supervise`. Belongs to the main thread, whose signals it takes."""

    def __init__(
        self, settings: Settings, listener: socket.socket, metrics_dir: Path, announce: Callable[[str], None] | None
    ) -> None:
        self._settings, self._listener, self._metrics_dir = settings, listener, metrics_dir
        self._announce = announce
        self._shares, self._gpus = shares(settings), gpu_shares(settings)
        self._roster = Roster(settings.workers, sum(share.num_lanes for share in self._shares))
        self._restarts = Metrics().worker_restarts
        self._places = [_Place(number) for number in range(settings.workers)]
        self._num_told = 0
        self._failure: str | None = None
        self._in_order = True
        self._stop_by: float | None = None

    def run(self) -> bool:
        """Starts the workers and watches them; whether all ended in order."""
        handlers = {number: signal.signal(number, self._told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while self._stop_by is None or any(place.process for place in self._places):
                self._turn()
        finally:
            for place in self._places:
                if place.process is not None:
                    place.process.kill()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if self._failure is not None:
            raise StartupError(self._failure)
        return self._in_order

    def _told(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._num_told += 1

    def _turn(self) -> None:
        connection.wait([place.process.sentinel for place in self._places if place.process], _POLL_SECONDS)
        for place in self._places:
            if place.process is not None and place.process.exitcode is not None:
                self._ended(place, place.process.exitcode)
        if self._num_told:
            self._stop()
        now = time.monotonic()
        for place in self._places:
            if place.process is not None:
                self._watch(place, now)
            elif self._stop_by is None and now >= place.due_at:
                self._start(place, now)
        if self._stop_by is None and not self._roster.is_ready and self._roster.all_warm:
            self._roster.set_ready()
            log_event("ready", workers=self._settings.workers)
            if self._announce is not None:
                self._announce(address_of(self._listener))

    def _start(self, place: _Place, now: float) -> None:
        number = place.number
        settings, gpu = self._shares[number], self._gpus[number]
        is_late = self._roster.is_ready
        plan = Plan(number, settings, gpu, self._listener, self._metrics_dir, self._roster, is_late)
        place.failure, told = SPAWN.Pipe(duplex=False)
        place.process = SPAWN.Process(target=run_worker, args=(plan, told), name=f"mien-worker-{number}", daemon=True)
        place.process.start()
        told.close()
        place.started_at, place.kill_at, place.reason = now, None, "died"
        log_event("worker started", worker=number, pid=place.process.pid)

    def _ended(self, place: _Place, code: int) -> None:
        assert place.process is not None
        place.process.close()
        place.process = None
        forget_metrics(self._metrics_dir, str(place.number))
        self._roster.clear(place.number)
        told = self._told_by(place)
        if self._stop_by is not None:
            # One that was told before it listened has accepted nothing, and dies of the signal.
            self._in_order = self._in_order and code in (0, -signal.SIGTERM)
            return
        log_event("worker ended", level=40, worker=place.number, exit_code=code, reason=place.reason)
        if not self._roster.is_ready:
            self._failure = told or f"worker {place.number} ended before it was ready ({_named(code)})"
            self._stop()
            return
        now = time.monotonic()
        place.num_quick_ends = 0 if now - place.started_at >= _STEADY_SECONDS else place.num_quick_ends + 1
        place.due_at = now + backoff_seconds(place.num_quick_ends)
        self._restarts.labels(place.reason).inc()

    def _told_by(self, place: _Place) -> str | None:
        assert place.failure is not None
        with contextlib.closing(place.failure) as failure, contextlib.suppress(EOFError, OSError):
            if failure.poll():
                return failure.recv()
        return None

    def _watch(self, place: _Place, now: float) -> None:
        """Replaces a worker that hangs; ends one that does not end."""
        process = place.process
        assert process is not None
        if place.kill_at is not None:
            if now >= place.kill_at:
                log_event("worker killed", level=40, worker=place.number)
                process.kill()
                place.kill_at = now + _GRACE_SECONDS
        elif self._roster.state(place.number) is WorkerState.STALLED:
            place.reason = "stalled"
            self._ask_to_end(place, now)
        elif self._roster.silent_seconds(place.number) > self._settings.watchdog_seconds:
            place.reason, place.kill_at = "silent", now

    def _stop(self) -> None:
        """Told to stop once: every worker finishes what it accepted. Told again: it does not."""
        now = time.monotonic()
        if self._stop_by is None:
            self._roster.set_stopping()
            self._listener.close()  # or what comes when the last worker has closed its own would wait in vain
            for place in self._places:
                if place.process is not None:
                    self._ask_to_end(place, now)
            self._stop_by = now
            self._num_told = 0
        elif self._num_told:
            for place in self._places:
                place.kill_at = now if place.process is not None else None
            self._num_told = 0

    def _ask_to_end(self, place: _Place, now: float) -> None:
        assert place.process is not None
        place.process.terminate()
        settings = self._settings
        # uvicorn waits for connections once more, for as long again.
        place.kill_at = now + settings.drain_delay_seconds + 2 * settings.drain_seconds + _GRACE_SECONDS


def backoff_seconds(num_quick_ends: int) -> float:
    """How long a place stays empty: not at all at first, then 1, 2, 4 seconds and so on, 30 at most."""
    return 0.0 if num_quick_ends <= 1 else min(2.0 ** min(num_quick_ends - 2, 16), _MOST_BACKOFF_SECONDS)


def _named(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@contextlib.contextmanager
def _metrics_dir(num_workers: int) -> Iterator[Path]:
    """A folder that all processes count in, in memory where the machine has such a place; gone afterwards."""
    parent = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    with contextlib.ExitStack() as stack:
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"mien-metrics-{os.getpid()}-", dir=parent))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            # The files are mapped: where one finds no room later, its process does not fail but dies.
            room = folder / "room"
            room.write_bytes(bytes(_METRICS_BYTES * num_workers))
            room.unlink()
        except OSError as error:
            raise StartupError(f"workers count in {parent}, where there is no room: {error.strerror}") from error
        yield folder
