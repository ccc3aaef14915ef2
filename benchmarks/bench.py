"""The bench: how much of what this machine's cores can do the real service delivers.

The raw loop decodes, detects, aligns and infers with the same pack, on as many threads as there are usable cores,
without HTTP, queue or JSON. Rounds of both take turns, and the median of the rounds' ratios counts. Never compares with
figures of another machine or another time.
"""

import contextlib
import http.client
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import click
import numpy as np
from photographs import six_faces
from rich.console import Console
from rich.progress import track
from rich.table import Table

from model.runtime.alignment import five_point_matrix, warp
from model.runtime.pack import DEFAULT_PACK
from service.client import HOST, Service, free_port, serving
from service.cores import usable_cores
from service.imaging import decode
from service.onnx_engine import OnnxEngine, open_engine

MAX_PIXELS = 40_000_000


def raw(engine: OnnxEngine, data: bytes) -> int:
    """Analyses one image in the calling thread; the number of its faces."""
    pixels = decode(data, max_pixels=MAX_PIXELS).pixels
    (found,) = engine.detect([pixels], engine.pack.detector.min_score)
    side_px = engine.pack.analyzers[0].side_px
    crops = [warp(pixels, five_point_matrix(points, side_px), side_px) for points in found.landmarks]
    if crops:
        engine.analyze(0, np.stack(crops))
    return len(crops)


def over_http(service: Service, data: bytes, num_images: int) -> list[float]:
    """POSTs the image over and over on one connection; the seconds each answer took."""
    seconds = []
    with contextlib.closing(http.client.HTTPConnection(HOST, service.port, timeout=120)) as connection:
        for _ in range(num_images):
            began = time.perf_counter()
            connection.request("POST", "/analyze", data, {"content-type": "image/jpeg"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise click.ClickException(f"the service answered {answer.status}")
            seconds.append(time.perf_counter() - began)
    return seconds


def rate(work: Callable[[], object], num_images: int) -> float:
    """Images a second of something that analyses `num_images`."""
    began = time.perf_counter()
    work()
    return num_images / (time.perf_counter() - began)


@click.command(help=__doc__)
@click.option("--pack", default=DEFAULT_PACK, show_default=True)
@click.option("--rounds", "num_rounds", type=click.IntRange(min=3), default=5, show_default=True)
@click.option(
    "--images", "num_images", type=click.IntRange(min=8), default=64, show_default=True, help="In each round."
)
@click.option("--callers", "num_callers", type=click.IntRange(1, 64), default=8, show_default=True)
def main(pack: str, num_rounds: int, num_images: int, num_callers: int) -> None:
    """Runs the bench."""
    engine, data, num_cores = open_engine(pack), six_faces(), usable_cores()
    each = max(num_images // num_callers, 1)
    latencies: list[float] = []
    with serving(free_port(), pack) as service, ThreadPoolExecutor(max(num_cores, num_callers)) as threads:

        def all_raw() -> None:
            shares = [num_images // num_cores] * num_cores
            list(threads.map(lambda share: [raw(engine, data) for _ in range(share)], shares))

        def all_over_http() -> None:
            answers = threads.map(lambda _: over_http(service, data, each), range(num_callers))
            latencies.extend(second for part in answers for second in part)

        all_raw()
        all_over_http()
        latencies.clear()
        rounds = [
            (rate(all_raw, num_images // num_cores * num_cores), rate(all_over_http, each * num_callers))
            for _ in track(range(num_rounds), "rounds")
        ]
    _show(rounds, latencies, num_cores, num_callers)


def _show(rounds: list[tuple[float, float]], latencies: list[float], num_cores: int, num_callers: int) -> None:
    table = Table("", "min", "median", "max", title=f"{num_cores} cores, {num_callers} callers, six faces an image")
    for name, values, digits in (
        ("raw loop, images a second", [raw_rate for raw_rate, _ in rounds], 2),
        ("service, images a second", [served for _, served in rounds], 2),
        ("service by raw loop", [served / raw_rate for raw_rate, served in rounds], 3),
        ("an answer of the service, ms", [1000 * second for second in latencies], 0),
    ):
        stated = (min(values), statistics.median(values), max(values))
        table.add_row(name, *(f"{value:.{digits}f}" for value in stated))
    Console().print(table)


if __name__ == "__main__":
    main()
