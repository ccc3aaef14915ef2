"""`mien-export quantise`: int8 twins of a pack's analyzers.

Holds what reads the command line and shows what was measured. Never does the work, and imports torch only when it runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.table import Table

from export.terminal import interruptible, one_line, require_name, say_made, typed_command
from export.twin.tables import figures, wide_console

if TYPE_CHECKING:
    from export.twin.making import Tried
    from export.twin.trials import Trial

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("pack")
@click.option("--data", type=_FOLDER, required=True, help="Data folder: training sets for ranges, validation to judge.")
@click.option(
    "--method",
    type=click.Choice(["auto", "static", "dynamic"]),
    default="auto",
    show_default=True,
    help="Ranges of activations: measured beforehand, measured in each run, or whichever wins.",
)
@click.option("--out", type=_FOLDER, default=None, help="Write a new pack into this folder.  [default: into PACK]")
@click.option("--keep-anyway", is_flag=True, help="Keep the best twin even if it is too slow or loses too much.")
@click.option("--limit", type=click.IntRange(8), help="About so many validation images a set, for a quick look.")
@click.option(
    "--crops",
    "num_crops",
    type=click.IntRange(8),
    default=128,
    show_default=True,
    help="Training crops for the ranges.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=15, show_default=True, help="Turns in which each graph is timed."
)
@click.option("--force", is_flag=True, help="Replace a folder at --out even if it is no pack.")
def quantise(
    pack: str,
    data: Path,
    method: Literal["auto", "static", "dynamic"],
    out: Path | None,
    keep_anyway: bool,
    limit: int | None,
    num_crops: int,
    rounds: int,
    force: bool,
) -> None:
    """Makes int8 twins of the analyzers of PACK (a name or a path), where they are worth it.

    Each candidate is timed beside the float graph on one thread, and compared with it on the validation sets. The
    fastest that is 1.4 times as fast at every batch size, loses less than 0.3 points (0.1 years of age) in every task,
    and whose embeddings keep a mean cosine of 0.995, is written as NAME.int8.onnx. If none is, no file is written and
    the exit code is 1.

    \b
    mien-export quantise packs/mine --data ../shared/data
    mien-export quantise nano --data ../shared/data --out packs/nano
    """  # noqa: D301 - click needs the control character
    if out is not None:
        require_name(out.name, "--out")
    with one_line(), interruptible():
        from export.progress import Stages
        from export.twin.making import TwinOrder
        from export.twin.making import quantise as make_twins
        from export.twin.subject import Plan
        from model.runtime.pack import find_pack

        plan = Plan(data, method, limit, num_crops, rounds)
        order = TwinOrder(find_pack(pack), plan, out, keep_anyway, force, typed_command())
        outcome = make_twins(order, Stages())
    console = wide_console()
    for tried in outcome.tried:
        console.print(_candidates(tried))
        if tried.kept is not None:
            console.print(figures(tried.kept.candidate.name, "int8", tried.kept.compared))
    if outcome.folder is None:
        raise click.ClickException(
            "no twin was written: none is fast enough and close enough (--keep-anyway keeps one)"
        )
    say_made(outcome.folder)


def _candidates(tried: "Tried") -> Table:
    table = Table(
        "candidate", "in int8", "MB", "times as fast, batch 1", "batch 8", "cosine", "largest loss", "verdict",
        title=f"{tried.part.file}: candidates (least, middle and greatest ratio to float32; mean and least cosine)",
        title_justify="left",
    )  # fmt: skip
    for trial in tried.trials:
        table.add_row(*_cells(trial, is_kept=trial is tried.kept))
    return table


def _cells(trial: "Trial", *, is_kept: bool) -> tuple[str, ...]:
    from export.twin.verdict import worst

    speeds = [f"{row.ratio_min:.2f}  {row.ratio_median:.2f}  {row.ratio_max:.2f}" for row in trial.speed]
    far = "" if trial.cosine_mean is None else f"{trial.cosine_mean:.4f}  {trial.cosine_min:.4f}"
    loss = worst(trial.compared)
    verdict = "; ".join(trial.reasons) or "preferred"
    return (
        trial.candidate.name,
        f"{trial.candidate.num_matrices} of {trial.candidate.num_possible}",
        f"{len(trial.candidate.graph) / 1e6:.1f}",
        *speeds,
        far,
        "" if loss is None else str(loss),
        f"kept; {verdict}" if is_kept else verdict,
    )
