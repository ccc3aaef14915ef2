"""The analyzers' speed: how many times as fast as the full SwinFace network a pack's graphs are, on one thread.

SwinFace is built with the weights that its reference outputs are of, which cost what trained ones do, and exported by
this project's own code. All run in turns and the ratios of each turn count. With `--data`, SwinFace in int8 runs too,
every large matrix quantised by ranges of real crops, and the cosine of its embeddings to the float graph's is taken on
other crops. Never compares with figures of another machine or another time.
"""

from pathlib import Path
from typing import Final

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from export.graph import trace
from export.twin.candidates import answers_of, cosines
from export.twin.crops import training_crops
from export.twin.quantisation import RANGE_METHODS, Quantiser
from export.twin.speed import BATCH_SIZES, measure_speeds
from model.analyzer import Analyzer
from model.config import SWINFACE
from model.runtime.pack import DEFAULT_PACK, PackError, find_pack, read_pack
from model.runtime.session import Session, open_session
from tests.model.published.answers import REFERENCES

_SIDE: Final = SWINFACE.backbone.side_px
_NUM_FOR_RANGES, _NUM_COMPARED = 128, 256  # crops
_INT8: Final = "SwinFace in int8"


def swinface() -> bytes:
    """The full SwinFace network as a graph."""
    return trace(Analyzer(REFERENCES["swinface"].network()))


def in_int8(graph: bytes, crops_NSSC: NDArray[np.uint8]) -> bytes:
    """A graph with every large matrix in int8, by ranges of crops."""
    quantiser = Quantiser(graph)
    ranges = quantiser.ranges(crops_NSSC, RANGE_METHODS[0])
    return quantiser.static(ranges, [matrix.name for matrix in quantiser.matrices])


def closeness(graph: bytes, twin: bytes, crops_NSSC: NDArray[np.uint8]) -> str:
    """How alike the embeddings of two graphs are, and how alike those of different crops, against which that counts."""
    one, other = (answers_of(each, crops_NSSC)["embedding"] for each in (graph, twin))
    found, between = cosines(other, one), cosines(one, np.roll(one, 1, 0))
    return (
        f"{_INT8}: cosine to float {found.mean():.4f} on average, {found.min():.4f} at least, over {len(found)} crops "
        f"that no range was measured on; of two different crops {between.mean():.4f} on average"
    )


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
    if any(part.side_px != _SIDE for part in parts):
        raise click.ClickException(f"{name} takes crops of another side than SwinFace's {_SIDE}")
    return {file: open_session(folder / file) for file in files}


@click.command()
@click.option("--pack", default=DEFAULT_PACK, show_default=True, help="Name or path of a pack.")
@click.option(
    "--rounds", type=click.IntRange(1), default=15, show_default=True, help="Turns of each pair and batch size."
)
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Data folder: SwinFace in int8 runs too."
)
def main(pack: str, rounds: int, data: Path | None) -> None:
    """Times a pack's analyzers beside the full SwinFace network, in turns, on one thread."""
    console, found = Console(), graphs(pack)
    console.print("exporting SwinFace at its full size, about a minute")
    plain = swinface()
    if data is not None:
        console.print("quantising it, about two minutes")
        crops = training_crops(data, _SIDE, "arcface-5pt", _NUM_FOR_RANGES + _NUM_COMPARED)
        twin = in_int8(plain, crops[:_NUM_FOR_RANGES])
        console.print(closeness(plain, twin, crops[_NUM_FOR_RANGES:]))
        found[_INT8] = open_session(twin)
    noise = np.random.default_rng(0).integers(0, 256, (max(BATCH_SIZES), _SIDE, _SIDE, 3), np.uint8)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("taking turns", total=rounds * len(BATCH_SIZES))
        speeds = measure_speeds(open_session(plain), found, noise, rounds, lambda: progress.advance(bar))
    table = Table("graph", "batch", "least", "median", "greatest", title="times as fast as SwinFace, one thread")
    for file, rows in speeds.items():
        for row in rows:
            ratios = (f"{ratio:.2f}" for ratio in (row.ratio_min, row.ratio_median, row.ratio_max))
            table.add_row(file, str(row.batch_size), *ratios)
    console.print(table)


if __name__ == "__main__":
    main()
