"""Contenders: mien's own service and its rivals, each started as processes of its own, asked the same, and stopped.

A rival is a script that answers with the same pipeline behind another server. Holds which there are and what each
needs. Never changes how one works once it runs, and leaves no process behind.
"""

import asyncio
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

import service
from service.bench.connections import LostAnswerError, connected
from service.bench.load import OK, LoadError
from service.bench.requests import Request
from service.bench.usage import Tree
from service.client import free_port, serving
from service.cores import usable_cores

SERVICE: Final = "mien"
READY_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Rival:
    """Another server: the package that it needs, and the script that puts the pipeline behind it."""

    name: str
    package: str
    script: str

    @property
    def is_installed(self) -> bool:
        """Whether its package is here."""
        return importlib.util.find_spec(self.package) is not None


RIVALS: Final = (
    Rival("thread pool", "fastapi", "thread_pool.py"),
    Rival("mosec", "mosec", "mosec_server.py"),
    Rival("LitServe", "litserve", "litserve_server.py"),
    Rival("BentoML", "bentoml", "bentoml_server.py"),
    Rival("Ray Serve", "ray", "ray_server.py"),
)


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that runs: where, its processes, how a request to it is written, and its memory before any load."""

    name: str
    port: int
    tree: Tree
    wire: Callable[[Request], bytes]
    fresh_mb: float


@contextlib.contextmanager
def running_service(pack: str, environment: Mapping[str, str] | None = None) -> Iterator[Contender]:
    """Mien's service on a free port.

    Raises:
        ServiceProcessError: if it does not start, or does not stop in order.
    """
    with serving(free_port(), pack, environment) as served:
        tree = Tree(served.process.pid)
        yield Contender(SERVICE, served.port, tree, Request.to_service, tree.resident_mb())


@contextlib.contextmanager
def running_rival(rival: Rival, folder: Path, pack: str, probe: Request) -> Iterator[Contender]:
    """A rival on a free port, ready: it has answered `probe` with as many faces as mien's pipeline finds.

    Raises:
        LoadError: if it does not start or answers otherwise; one line, its own last one.
    """
    port = free_port()
    environment = {
        **os.environ,
        "RIVAL_PORT": str(port),
        "RIVAL_PACK": pack,
        "RIVAL_CORES": str(usable_cores()),
        "PYTHONPATH": os.pathsep.join([str(Path(str(service.__file__)).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and script
            [sys.executable, str(folder.resolve() / rival.script)],
            stdout=log, stderr=log, env=environment, start_new_session=True,
        )  # fmt: skip
        tree = Tree(process.pid)
        try:
            try:
                asyncio.run(_until_ready(port, process, probe))
            except LoadError as error:
                log.seek(0)
                lines = log.read().decode(errors="replace").strip().splitlines()
                raise LoadError(f"{rival.name}: {error}: {lines[-1][:300] if lines else 'it said nothing'}") from None
            yield Contender(rival.name, port, tree, Request.to_rival, tree.resident_mb())
        finally:
            _stop(process, tree)


async def _until_ready(port: int, process: subprocess.Popen[bytes], probe: Request) -> None:
    end = time.monotonic() + READY_SECONDS
    async with connected(port) as pool:
        while time.monotonic() < end:
            if process.poll() is not None:
                raise LoadError("it did not start")
            with contextlib.suppress(LostAnswerError):
                answered, body = await pool.exchange(probe.to_rival(), keep_body=True)
                if answered.status == OK:
                    _check(body, probe)
                    return
            await asyncio.sleep(_POLL_SECONDS)
    raise LoadError(f"it was not ready after {READY_SECONDS:.0f} seconds")


def _check(body: bytes, probe: Request) -> None:
    num_faces = sum(len(image["faces"]) for image in orjson.loads(body)["images"])
    if num_faces != probe.num_faces:
        raise LoadError(f"it answered {num_faces} faces to {probe.name}, not {probe.num_faces}")


def _stop(process: subprocess.Popen[bytes], tree: Tree) -> None:
    """Asks it to stop, and ends what is left of it: some leave processes in groups of their own."""
    left = tree.pids()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
