"""A worker: one process of several that serve one port, started and watched by `service.supervisor`.

The app is the same as a single process's. What is its own: the socket comes from the supervisor, metrics are added up
over all workers, logs tell the worker, and readiness waits for the others. Never binds a port, and never outlives its
supervisor.
"""

import os
import shutil
import signal
import socket
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from service.app import run_app
from service.errors import StartupError
from service.logs import log_event, set_up_logs
from service.metrics import share_metrics
from service.roster import Membership, Roster
from service.settings import Settings
from service.shares import VISIBLE


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker is told when it is started.

    Attributes:
        number: its own, from 0; the one that follows it in its place has the same.
        settings: with its share of the cores.
        gpu: what it sees as its one GPU; None for what the machine has.
        listener: the port that all share.
        metrics_dir: where all count.
        roster: what all know of each other.
        is_late: whether the others serve already, so that it must not accept before it is warm.
    """

    number: int
    settings: Settings
    gpu: str | None
    listener: socket.socket
    metrics_dir: Path
    roster: Roster
    is_late: bool


def run_worker(plan: Plan, failure: "Connection[str, str]") -> None:
    """Serves until told to stop; tells `failure` why, where it could not start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the supervisor says what it means
    if plan.gpu is not None:
        os.environ[VISIBLE] = plan.gpu
    share_metrics(plan.metrics_dir, str(plan.number))
    set_up_logs(plan.settings.log_level, worker=plan.number)
    member = Membership(plan.roster, plan.number)
    try:
        run_app(plan.settings, plan.listener, member=member, is_late=plan.is_late)
    except StartupError as error:
        log_event("worker could not start", level=40, message=str(error))
        failure.send(str(error))
        raise SystemExit(1) from None
    finally:
        if member.is_orphan:  # nobody else is left to do it
            shutil.rmtree(plan.metrics_dir, ignore_errors=True)
