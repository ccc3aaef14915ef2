"""The floor: a server that gives a constant answer, under the service's own HTTP protocol and histogram.

What a client sees of it during a flood is what the machine and the client take, whatever a service does. Never does
any work.
"""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

import click
import uvicorn
from starlette.types import Receive, Scope, Send

from service.bench.connections import LostAnswerError, connected
from service.bench.load import LoadError
from service.bench.requests import get
from service.client import HOST, free_port
from service.metrics import Metrics
from service.protocol import ARRIVED, PROTOCOL

CONSTANT: Final = "/constant"
_BODY: Final = b'{"status":"alive"}'
_READY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05


class Floor:
    """An ASGI app of two answers: the constant, and how long that took, as `/metrics` states it."""

    def __init__(self) -> None:
        self._metrics = Metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        del receive
        if scope["type"] != "http":
            return
        body = self._metrics.render() if scope["path"] == "/metrics" else _BODY
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._metrics.answer_seconds.labels(scope["path"], "200").observe(time.monotonic() - scope[ARRIVED])


@contextlib.contextmanager
def running_floor() -> Iterator[int]:
    """The floor as a process of its own; its port.

    Raises:
        LoadError: if it does not start.
    """
    port = free_port()
    command = [sys.executable, "-m", "service.bench.floor", "--port", str(port)]
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - our own interpreter and module
    try:
        asyncio.run(_until_ready(port))
        yield port
    finally:
        process.terminate()
        process.wait()


async def _until_ready(port: int) -> None:
    end = time.monotonic() + _READY_SECONDS
    async with connected(port) as pool:
        while time.monotonic() < end:
            with contextlib.suppress(LostAnswerError):
                await pool.exchange(get(CONSTANT))
                return
            await asyncio.sleep(_POLL_SECONDS)
    raise LoadError("the constant answer's server did not start")


@click.command(help=__doc__)
@click.option("--port", type=int, required=True)
def main(port: int) -> None:
    """Serves until it is told to stop."""
    uvicorn.run(Floor(), host=HOST, port=port, http=PROTOCOL, lifespan="off", ws="none", log_config=None)


if __name__ == "__main__":
    main()
