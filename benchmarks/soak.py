"""The soak: thousands of good, bad and hung-up requests of mixed sizes at the real service, and what it then holds.

Fails where an answer is not the one that its request must get, where memory, file descriptors or threads keep growing,
or where the service does not stop in order. Never talks to a service that it did not start.
"""

import collections
import contextlib
import http.client
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import click
from photographs import sizes
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from service.client import HOST, Service, free_port, serving

HUNG_UP: Final = 0
_LOOKS: Final = 9  # at what the service holds, after the warm-up


@dataclass(frozen=True, slots=True)
class Shot:
    """One request, and the statuses that are right for it; `HUNG_UP` if the caller leaves before the answer."""

    name: str
    body: bytes
    right: frozenset[int]
    query: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """What the service's process holds."""

    memory_mb: float
    num_files: int
    num_threads: int


def shots() -> tuple[Shot, ...]:
    """Every kind of request. 429 is right for any: the soak asks for more than the service takes."""
    good = [Shot(name, body, frozenset({200, 429})) for name, body in sizes().items()]
    photo = good[0].body
    return (
        *good,
        Shot("few tasks", photo, frozenset({200, 429}), "?tasks=age&max_faces=1"),
        Shot("crops", photo, frozenset({200, 429}), "?crops=true&embedding=base64"),
        Shot("aligned", photo, frozenset({200, 429}), "?aligned=true"),
        Shot("truncated", photo[: len(photo) // 2], frozenset({200, 422, 429})),
        Shot("text", b"no picture at all", frozenset({415, 429})),
        Shot("empty", b"", frozenset({400, 429})),
        Shot("unknown task", photo, frozenset({422}), "?tasks=mood"),
        Shot("short deadline", photo, frozenset({200, 429, 503, 504})),
        Shot("hung up", photo, frozenset({HUNG_UP})),
    )


def fire(service: Service, shot: Shot) -> int:
    """Sends one request on a connection of its own; its status."""
    headers = {"content-type": "image/jpeg"}
    if shot.name == "short deadline":
        headers["x-deadline-ms"] = "20"
    with contextlib.closing(http.client.HTTPConnection(HOST, service.port, timeout=120)) as connection:
        connection.request("POST", f"/analyze{shot.query}", shot.body, headers)
        if HUNG_UP in shot.right:
            return HUNG_UP
        answer = connection.getresponse()
        answer.read()
        return answer.status


def held(service: Service) -> Held:
    """Resident memory in MB of 1,000,000 bytes, open files and threads of the service's process (Linux)."""
    process = Path("/proc") / str(service.process.pid)
    stated = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
    kilobytes, threads = int(stated["VmRSS"].split()[0]), int(stated["Threads"])
    return Held(kilobytes * 1024 / 1e6, len(list((process / "fd").iterdir())), threads)


@click.command(help=__doc__)
@click.option("--requests", "num_requests", type=click.IntRange(min=200), default=20_000, show_default=True)
@click.option("--warm", "num_warm", type=click.IntRange(min=100), default=2_000, show_default=True,
              help="Requests after which memory is to stay as it is.")  # fmt: skip
@click.option("--callers", "num_callers", type=click.IntRange(1, 256), default=16, show_default=True)
@click.option("--growth", type=click.FloatRange(0), default=0.05, show_default=True,
              help="Share by which memory may grow from then on.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
def main(num_requests: int, num_warm: int, num_callers: int, growth: float, seed: int) -> None:
    """Runs the soak."""
    if num_warm >= num_requests:
        raise click.UsageError("there must be more requests than those that warm the service up")
    kinds = {shot.name: shot for shot in shots()}
    order = random.Random(seed).choices(list(kinds.values()), k=num_requests)  # noqa: S311 - a repeatable order
    outcomes: collections.Counter[tuple[str, int]] = collections.Counter()
    states: dict[int, Held] = {}
    step = max((num_requests - num_warm) // _LOOKS, 1)
    ends = [num_warm, *range(num_warm + step, num_requests, step), num_requests]
    with serving(free_port()) as service, ThreadPoolExecutor(num_callers) as callers, Progress() as bar:
        task = bar.add_task("requests", total=num_requests)
        states[0] = held(service)
        for begin, end in pairwise([0, *ends]):
            part = order[begin:end]
            for shot, status in zip(part, callers.map(lambda shot: fire(service, shot), part), strict=True):
                outcomes[shot.name, status] += 1
                bar.advance(task)
            states[end] = held(service)
    _show(outcomes, states)
    wrong = {key: count for key, count in outcomes.items() if key[1] not in kinds[key[0]].right}
    if wrong:
        raise click.ClickException(f"wrong answers: {wrong}")
    _judge(states[num_warm], [states[end] for end in ends[1:]], growth, num_callers)


def _judge(warm: Held, later: list[Held], growth: float, num_callers: int) -> None:
    """Fails where anything kept growing."""
    most = max(state.memory_mb for state in later) / warm.memory_mb - 1
    click.echo(f"memory after the warm-up grew by {most:.1%} at most; {growth:.1%} is allowed")
    if most > growth:
        raise click.ClickException(f"memory grew by {most:.1%}")
    last = later[-1]
    if last.num_threads > warm.num_threads + 1 or last.num_files > warm.num_files + num_callers:
        raise click.ClickException(f"threads or open files grew: {warm} then {last}")


def _show(outcomes: collections.Counter[tuple[str, int]], states: dict[int, Held]) -> None:
    console = Console()
    answers = Table("request", "status", "count", title="answers")
    for (name, status), count in sorted(outcomes.items()):
        answers.add_row(name, "hung up" if status == HUNG_UP else str(status), str(count))
    console.print(answers)
    process = Table("after", "memory MB", "open files", "threads", title="the service's process")
    for num, state in states.items():
        process.add_row(f"{num:,} requests", f"{state.memory_mb:.0f}", str(state.num_files), str(state.num_threads))
    console.print(process)


if __name__ == "__main__":
    main()
