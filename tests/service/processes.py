"""A real service as a process of its own, with what a test does to that process before it serves.

Never waits for longer than a test does, and never leaves its process behind.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.service.serving import WAIT_SECONDS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import resource, sys
from service.app import serve
from service.settings import read_settings
from service.supervisor import supervise
settings, engine = read_settings(), None
{before}
announce = lambda url: print(url, flush=True)
if settings.workers == 1:
    serve(settings, announce, engine)
else:
    sys.exit(0 if supervise(settings, announce) else 1)
"""


@dataclass(frozen=True)
class Process:
    """A process that serves, where it does, and where its log goes."""

    running: "subprocess.Popen[str]"
    url: str
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        assert url.port is not None
        return url.host, url.port

    def events(self, name: str) -> list[dict[str, object]]:
        """The events whose text begins so, as far as it has logged them."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["event"].startswith(name)]

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self.running.wait(WAIT_SECONDS)


@contextlib.contextmanager
def process(pack: Path, log: Path, before: str = "", **variables: str) -> Iterator[Process]:
    """Runs a service until the block ends.

    Args:
        pack: what it serves.
        log: file that its standard error goes to.
        before: Python that runs in it before it serves.
        variables: its environment.
    """
    environ = {"PATH": "/usr/bin:/bin", "MIEN_PACK": str(pack), "MIEN_PORT": "0", "MIEN_LOG_LEVEL": "info", **variables}
    command = [sys.executable, "-c", SCRIPT.format(before=before)]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=errors, text=True) as running,
    ):
        try:
            assert running.stdout is not None
            url = running.stdout.readline().strip()
            assert url, f"it never served: {log.read_text() if log.is_file() else running.poll()}"
            yield Process(running, url, log)
        finally:
            if running.poll() is None:
                running.kill()
