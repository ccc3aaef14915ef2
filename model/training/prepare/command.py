"""`mien-train prepare`: the command line, and what a person sees of a preparation.

Holds options, the progress bar, the table at the end, and the way from an error to one clear line. Never reads a
source, and imports what does so only when it runs, so that `--help` answers at once.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from model.training.prepare.layout import KINDS
from model.training.prepare.rows import ALIGNMENTS, LABEL_NAMES, SPLITS, CropAlignment, LabelName

if TYPE_CHECKING:
    from model.training.prepare.preparation import Job, Summary

_PATH = click.Path(path_type=Path)
_NAME_PATTERN = "lower-case letters, digits, _ and -"
_DETECTOR = "nano"


def _kinds() -> str:
    """The kinds as a paragraph that click leaves as it is."""
    width = max(map(len, KINDS))
    return "\n".join(f"{kind:<{width}}  {what}" for kind, what in KINDS.items())


@click.command(
    help="""Prepares a published set for training: SOURCE, laid out as KIND, into parquet.

    Finds and aligns faces where the source is not aligned, and writes OUT/NAME-{train,val,test}[-NN].parquet
    (docs/data.md). Rows without a usable face are named in OUT/NAME-prepare-report.jsonl. A run that was stopped goes
    on with the same command.

    \b
    mien-train prepare celeba CelebA --out DATA
    mien-train prepare recordio faces_emore --out DATA --name ms1mv2
    mien-train prepare verification-bin faces_emore/cfp_fp.bin --out DATA
    mien-train prepare adience Adience --out DATA --take fold_4 --split val
    mien-train prepare list train.txt images --to lmdb --label age --out DATA

    \b
    {kinds}
    """.replace("{kinds}", _kinds().replace("\n", "\n    ")),
)
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@click.argument("sources", nargs=-1, required=True, type=_PATH, metavar="SOURCE...")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the set.")
@click.option("--name", help=f"The set's name: {_NAME_PATTERN}.  [default: by KIND, or the source's]")
@click.option(
    "--to",
    "form",
    type=click.Choice(["parquet", "lmdb"]),
    default="parquet",
    show_default=True,
    help="lmdb: face_analysis_pytorch's form, the source's own images with one --label.",
)
@click.option("--detector", default=_DETECTOR, show_default=True, metavar="PACK|FILE", help="What finds the faces.")
@click.option("--side", type=click.IntRange(16, 1024), default=112, show_default=True, help="Pixels of a crop's side.")
@click.option(
    "--alignment",
    type=click.Choice(ALIGNMENTS),
    default="arcface-5pt",
    show_default=True,
    help="none: the whole image, resized.",
)
@click.option(
    "--masks",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Blur what is around the face, by face parsers' masks: MASKS/NAME_mask.png of each image NAME.",
)
@click.option("--label", type=click.Choice(LABEL_NAMES), help="Which label counts (list, lmdb, --to lmdb).")
@click.option(
    "--take", multiple=True, metavar="PART", help="Only this part of the set, e.g. train, fold_4; repeatable."
)
@click.option("--split", type=click.Choice(SPLITS), help="Where every row goes.  [default: the set's own parts]")
@click.option(
    "--val-share",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of people held out for validation where a set has no parts.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Rows of the source at most: a quick look.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: one a usable core]")
@click.option("--shard-rows", type=click.IntRange(min=1), default=20_000, show_default=True, help="Rows a file.")
@click.option("--overwrite", is_flag=True, help="Replace a set of that name.")
def prepare(
    kind: str,
    sources: tuple[Path, ...],
    out: Path,
    name: str | None,
    form: str,
    detector: str,
    side: int,
    alignment: CropAlignment,
    masks: Path | None,
    label: LabelName | None,
    take: tuple[str, ...],
    split: str | None,
    val_share: float,
    limit: int | None,
    workers: int | None,
    shard_rows: int,
    overwrite: bool,
) -> None:
    """See `help` above: it is made, for it lists the kinds."""
    try:
        from model.training.prepare.preparation import Job
    except ModuleNotFoundError as error:
        message = f"{error.name} is missing; install the train extra: pip install 'mien[train]'"
        raise click.ClickException(message) from error
    job = Job(
        kind=kind,
        sources=sources,
        out=out,
        name=name,
        side_px=side,
        alignment=alignment,
        masks=masks,
        label=label,
        split=split,
        take=take,
        val_share=val_share,
        limit=limit,
        workers=workers or len(os.sched_getaffinity(0)),
        shard_rows=shard_rows,
        overwrite=overwrite,
    )
    _show(_run(job, detector, to_lmdb=form == "lmdb"))


def _run(job: "Job", detector: str, *, to_lmdb: bool) -> "Summary":
    from dataclasses import replace

    from model.runtime.pack import PackError
    from model.runtime.session import SessionError
    from model.training.data_error import DataError
    from model.training.prepare.conversion import convert
    from model.training.prepare.crops import Cutter
    from model.training.prepare.face_finder import open_detector
    from model.training.prepare.preparation import prepare as prepare_set

    try:
        with _progress(f"preparing {job.kind}") as progress:
            if to_lmdb:
                return convert(job, progress)
            # A whole image needs no face to be found.
            found, digest = (None, "") if job.alignment == "none" else open_detector(detector)
            job = replace(job, detector=digest)
            return prepare_set(job, Cutter(job.side_px, job.alignment, found), progress)
    except (DataError, PackError, SessionError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or job.out}: {error.strerror or error}") from error
    except KeyboardInterrupt as error:
        raise click.ClickException("stopped; the same command goes on from here") from error


@contextmanager
def _progress(title: str) -> "Iterator[Callable[[int, int | None], None]]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, disable=not terminal.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(summary: "Summary") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("split", "rows", "files")
    for split, files in summary.files.items():
        last = "" if len(files) == 1 else f" to {files[-1].name}"
        table.add_row(split, f"{summary.rows[split]:,}", f"{files[0].name}{last}")
    left = Table("left out", "rows")
    for reason, count in summary.left_out.most_common():
        left.add_row(reason, f"{count:,}")
    console = Console()
    console.print(table)
    kept, lost = summary.num_pairs
    if kept or lost:
        console.print(f"{kept:,} pairs" + (f"; {lost:,} left out with an image of theirs" if lost else ""))
    if summary.left_out:
        console.print(left)
        console.print(f"each of them by name: {summary.report}", soft_wrap=True)
