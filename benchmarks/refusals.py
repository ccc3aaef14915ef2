"""What a refusal costs the service: processor time of each 429 while every permit is taken.

One caller holds the only permit with a body that never ends; clients in a closed loop send bodies meanwhile. Processor
time is the service's own, so that a machine that is shared moves it little. Never measures a service that works.
"""

import asyncio
import contextlib
import http
import socket
import statistics
from collections.abc import Iterator
from typing import Final

import click

from model.runtime.pack import DEFAULT_PACK
from service.bench.connections import Pool, connected
from service.bench.requests import post
from service.bench.usage import Tree
from service.client import HOST, free_port, serving

_POLL_SECONDS: Final = 0.05
_KIND: Final = {"content-type": "image/jpeg"}
_ONE: Final = {"MIEN_MAX_IN_FLIGHT": "1", "MIEN_MAX_FILES": "1", "MIEN_DEADLINE_MS": "600000"}


@click.command(help=__doc__)
@click.option("--pack", default=DEFAULT_PACK, show_default=True)
@click.option("--bytes", "num_bytes", type=click.IntRange(0), default=60_000, show_default=True, help="Of each body.")
@click.option("--clients", "num_clients", type=click.IntRange(1), default=8, show_default=True)
@click.option("--refusals", "num_refusals", type=click.IntRange(1), default=1000, show_default=True, help="A round.")
@click.option("--rounds", "num_rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--log-level", default="info", show_default=True, help="The service's; its log is thrown away.")
def main(pack: str, num_bytes: int, num_clients: int, num_refusals: int, num_rounds: int, log_level: str) -> None:
    """Runs the bench."""
    wire = post("/analyze", bytes(num_bytes), _KIND)
    each = max(num_refusals // num_clients, 1)
    port = free_port()
    with serving(port, pack, {**_ONE, "MIEN_LOG_LEVEL": log_level}) as service, _held(port):
        tree = Tree(service.process.pid)
        micros = [asyncio.run(_round(port, wire, num_clients, each, tree)) for _ in range(num_rounds)]
    click.echo(
        f"{num_bytes} bytes, {num_clients} clients, {each * num_clients} refusals a round: "
        f"{statistics.median(micros):.0f} us of processor time each ({min(micros):.0f} to {max(micros):.0f})"
    )


@contextlib.contextmanager
def _held(port: int) -> Iterator[None]:
    """Holds the permit until the block ends; begins once others are refused."""
    head = f"POST /analyze HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: image/jpeg\r\ncontent-length: 9\r\n\r\n"
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(head.encode())
        asyncio.run(_until_refused(port))
        yield


async def _until_refused(port: int) -> None:
    async with connected(port) as pool:
        while not await _is_refused(pool, post("/analyze", b"x", _KIND)):
            await asyncio.sleep(_POLL_SECONDS)


async def _round(port: int, wire: bytes, num_clients: int, each: int, tree: Tree) -> float:
    """Microseconds of the service's processor time a refusal."""

    async def client(pool: Pool) -> None:
        for _ in range(each):
            if not await _is_refused(pool, wire):
                raise click.ClickException("a client was not refused")

    async with connected(port) as pool:
        before = tree.cpu_seconds()
        await asyncio.gather(*(client(pool) for _ in range(num_clients)))
        return 1e6 * (tree.cpu_seconds() - before) / (each * num_clients)


async def _is_refused(pool: Pool, wire: bytes) -> bool:
    answered, _ = await pool.exchange(wire)
    return answered.status == http.HTTPStatus.TOO_MANY_REQUESTS


if __name__ == "__main__":
    main()
