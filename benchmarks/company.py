"""What the service answers beside other busy processes of the same cores, by what it answers alone.

Rounds alone and in company take turns, so that whatever else the machine does befalls both; the median of the rounds'
ratios counts. The company does nothing but keep cores busy, at the priority that any process has. Never measures what
becomes of the company.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import click
from named import named_request
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rounds import HEAD, add_row

from model.runtime.pack import DEFAULT_PACK
from service.bench.contenders import Contender, running_service
from service.bench.load import closed_loop
from service.bench.requests import Request
from service.cores import usable_cores

_WARM_SECONDS: Final = 2.0
_BUSY: Final = "while True: pass"


@click.command(help=__doc__)
@click.option("--pack", default=DEFAULT_PACK, show_default=True)
@click.option("--busy", "num_busy", type=click.IntRange(min=1), default=1, show_default=True, help="Other processes.")
@click.option("--clients", "num_clients", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--rounds", "num_rounds", type=click.IntRange(min=3), default=7, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.5), default=3.0, show_default=True, help="A round.")
@click.option(
    "--request", "name", default="one face", show_default=True, help="What is asked, as `mien bench` names it."
)
def main(pack: str, num_busy: int, num_clients: int, num_rounds: int, seconds: float, name: str) -> None:
    """Runs the bench."""
    request = named_request(pack, name)
    alone: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    with running_service(pack, {"MIEN_MAX_IN_FLIGHT": str(max(2 * num_clients, 64))}) as service:
        _load(service, request, num_clients, _WARM_SECONDS)
        for _ in track(range(num_rounds), "rounds"):
            alone.append(_load(service, request, num_clients, seconds))
            with _company(num_busy):
                beside.append(_load(service, request, num_clients, seconds))
    table = Table(*HEAD, title=f"{usable_cores()} cores, {num_clients} clients, {name}")
    for words, rounds in (("alone", alone), (f"beside {num_busy} busy processes", beside)):
        add_row(table, f"{words}, requests a second", [rate for rate, _ in rounds], 1)
        add_row(table, f"{words}, the service's cores", [cores for _, cores in rounds], 2)
    add_row(table, "beside them by alone", [more[0] / less[0] for less, more in zip(alone, beside, strict=True)], 3)
    Console().print(table)


def _load(service: Contender, request: Request, num_clients: int, seconds: float) -> tuple[float, float]:
    """Requests a second, and cores that the service used."""
    told = asyncio.run(closed_loop(service.port, service.wire(request), num_clients, seconds, service.tree))
    return told.requests_a_second, told.cpu_cores


@contextlib.contextmanager
def _company(num: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(num):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", _BUSY]))  # noqa: S603 - our own words
            stack.callback(process.kill)
        yield


if __name__ == "__main__":
    main()
