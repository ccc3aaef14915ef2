"""The analyzers' speed: how many times as fast as the full SwinFace network a pack's graphs are, on one thread.

SwinFace is built with weights drawn by lot, which cost what trained ones do, and exported by this project's own code.
Both run in turns and the ratios of each turn count. Never compares with figures of another machine or another time.
"""

import click
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from export.graph import trace
from export.twin.speed import BATCH_SIZES, measure_speeds
from model.analyzer import Analyzer
from model.config import SWINFACE
from model.network import MultiTaskNetwork
from model.runtime.pack import DEFAULT_PACK, PackError, find_pack, read_pack
from model.runtime.session import Session, open_session


def swinface() -> Session:
    """The full SwinFace network as a graph, one thread."""
    torch.manual_seed(0)
    return open_session(trace(Analyzer(MultiTaskNetwork(SWINFACE)).eval()))


def graphs(name: str) -> dict[str, Session]:
    """A pack's analyzers by file name, quantised twins among them, one thread each.

    Raises:
        click.ClickException: if the pack cannot be used, or takes other crops than SwinFace.
    """
    try:
        folder = find_pack(name)
        parts = read_pack(folder).analyzers
    except PackError as error:
        raise click.ClickException(str(error)) from error
    files = [each.file for part in parts for each in (part, part.int8) if each is not None]
    if any(part.side_px != SWINFACE.backbone.side_px for part in parts):
        raise click.ClickException(f"{name} takes crops of another side than SwinFace's {SWINFACE.backbone.side_px}")
    return {file: open_session(folder / file) for file in files}


@click.command()
@click.option("--pack", default=DEFAULT_PACK, show_default=True, help="Name or path of a pack.")
@click.option(
    "--rounds", type=click.IntRange(1), default=15, show_default=True, help="Turns of each pair and batch size."
)
def main(pack: str, rounds: int) -> None:
    """Times a pack's analyzers beside the full SwinFace network, in turns, on one thread."""
    console, found = Console(), graphs(pack)
    console.print("exporting SwinFace at its full size, about a minute")
    plain = swinface()
    crops = np.random.default_rng(0).integers(0, 256, (max(BATCH_SIZES), 112, 112, 3), np.uint8)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("taking turns", total=rounds * len(BATCH_SIZES))
        speeds = measure_speeds(plain, found, crops, rounds, lambda: progress.advance(bar))
    table = Table("graph", "batch", "least", "median", "greatest", title="times as fast as SwinFace, one thread")
    for file, rows in speeds.items():
        for row in rows:
            ratios = (f"{ratio:.1f}" for ratio in (row.ratio_min, row.ratio_median, row.ratio_max))
            table.add_row(file, str(row.batch_size), *ratios)
    console.print(table)


if __name__ == "__main__":
    main()
