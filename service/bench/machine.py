"""The machine: what a result must name to mean anything: processor, cores, memory, system, versions, pack, command.

Never names the host, a user or a folder.
"""

import datetime
import importlib.metadata
import os
import platform
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from model.runtime.pack import Pack
from service.bench.results import Machine, Made
from service.cores import usable_cores

_PACKAGES: Final = (
    "mien", "onnxruntime", "numpy", "pillow", "opencv-python-headless", "fastapi", "starlette", "uvicorn", "httptools",
    "uvloop", "h11", "orjson", "mosec", "litserve", "bentoml", "ray",
)  # fmt: skip


def machine(pack: Pack) -> Machine:
    """This machine, and what is installed on it."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        processor=_processor(),
        num_cores=usable_cores(),
        memory_gb=round(memory_bytes / 1e9, 1),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        versions={name: version for name in _PACKAGES if (version := _version(name)) is not None},
        pack=f"{pack.name} {pack.version}",
        precision=pack.precision,
        load_before=round(os.getloadavg()[0], 2),
    )


def made(arguments: Sequence[str]) -> Made:
    """Now, by this command."""
    now = datetime.datetime.now(datetime.UTC)
    return Made(date=now.strftime("%Y-%m-%d %H:%M UTC"), command=shlex.join(["mien", "bench", *arguments]))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
