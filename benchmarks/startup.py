"""The start: seconds from a process' begin to its first `/readyz` of 200, and what they went into.

Each round starts the real service once, and once a process that does the same steps one after the other and tells what
each took. `--cold` has the kernel forget the files of Python, its packages and this project before each start, as after
a boot. Never compares with figures of another machine or another time.
"""

import contextlib
import http
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from model.runtime.pack import DEFAULT_PACK
from service.bench.usage import Tree
from service.client import HOST, Service, free_port

_PROJECT: Final = Path(__file__).resolve().parents[1]
_POLL_SECONDS: Final = 0.002
_MOST_SECONDS: Final = 120.0
_UNSERVED: Final = ("torch", "nvidia", "triton")  # large packages of the other extras, which serving never opens
_STEPS: Final = """
import json, sys, time
laps = {}
last = float(sys.argv[2])  # the same clock as of the process that started this one
def lap(name):
    global last
    now = time.monotonic()
    laps[name], last = now - last, now
lap("Python itself")
from service.cli import main
main.get_command(None, "serve")
lap("imports")
from service.app import create_app
from service.onnx_engine import open_engine
from service.settings import read_settings
settings = read_settings(None, pack=sys.argv[1])
lap("settings")
engine = open_engine(settings.pack)
lap("pack: hashes, graphs opened")
create_app(settings, engine)
lap("wiring")
engine.warm_up()
lap("warm-up, known answer")
print(json.dumps(laps))
"""


@click.command(help=__doc__)
@click.option("--pack", default=DEFAULT_PACK, show_default=True)
@click.option("--rounds", "num_rounds", type=click.IntRange(min=1), default=15, show_default=True)
@click.option("--cold", is_flag=True, help="Forget the files before each start.")
def main(pack: str, num_rounds: int, cold: bool) -> None:
    """Runs the bench."""
    ready: list[float] = []
    processor: list[float] = []
    steps: dict[str, list[float]] = {}
    for number in track(range(num_rounds + 1), "starting", transient=True):
        if cold:
            _forget(_files())
        found = _start(pack)
        if cold:
            _forget(_files())
        laps = _laps(pack)
        if number > 0:  # the first has compiled this project's modules, where nobody had imported them
            ready.append(found[0])
            processor.append(found[1])
            for name, seconds in laps.items():
                steps.setdefault(name, []).append(seconds)
    table = Table(
        "seconds", "median", "least", "most", title=f"{pack}, {num_rounds} starts, {'cold' if cold else 'warm'}"
    )
    for name, values in {"to /readyz 200": ready, "processor time of it": processor, **steps}.items():
        table.add_row(name, *(f"{each:.2f}" for each in (statistics.median(values), min(values), max(values))))
    Console().print(table)


def _start(pack: str) -> tuple[float, float]:
    """Seconds until the service was ready, by the clock and of the processor."""
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--host", HOST, "--port", str(port), "--pack", pack]
    begin = time.perf_counter()
    with _process(command) as process:
        service = Service(port, process)
        while not _is_ready(service):
            if process.poll() is not None or time.perf_counter() - begin > _MOST_SECONDS:
                raise click.ClickException(f"the service did not start; try: {' '.join(command)}")
            time.sleep(_POLL_SECONDS)
        return time.perf_counter() - begin, Tree(process.pid).cpu_seconds()


def _laps(pack: str) -> dict[str, float]:
    """What each step takes."""
    with _process([sys.executable, "-c", _STEPS, pack, repr(time.monotonic())]) as process:
        answer, _ = process.communicate()
    laps: dict[str, float] = json.loads(answer)
    return laps


@contextlib.contextmanager
def _process(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        command, cwd=_PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def _is_ready(service: Service) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return service.ask("GET", "/readyz").status == http.HTTPStatus.OK
    return False


def _files() -> Iterator[Path]:
    """Python's, its packages' and this project's."""
    places = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")}
    for place in {*places, *(_PROJECT / name for name in ("service", "model"))}:
        for folder, inside, files in os.walk(place):
            inside[:] = [name for name in inside if name not in _UNSERVED]
            yield from (Path(folder, name) for name in files)


def _forget(files: Iterable[Path]) -> None:
    for file in files:
        with contextlib.suppress(OSError), file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
