"""`mien-export halve`: float16 twins of a pack's analyzers.

Holds what reads the command line and shows what was measured. Never does the work, and imports torch only when it runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from export.terminal import interruptible, one_line, require_name, say_made, typed_command
from export.twin.tables import figures, wide_console

if TYPE_CHECKING:
    from export.twin.halving import HalfOutcome, Judged

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("pack")
@click.option("--data", type=_FOLDER, help="Data folder: answers are compared on its training and validation sets.")
@click.option("--out", type=_FOLDER, help="Write a new pack into this folder.  [default: into PACK]")
@click.option("--keep-anyway", is_flag=True, help="Keep a twin even if it loses too much.")
@click.option("--limit", type=click.IntRange(8), help="About so many validation images a set, for a quick look.")
@click.option("--force", is_flag=True, help="Replace a folder at --out even if it is no pack.")
def halve(pack: str, data: Path | None, out: Path | None, keep_anyway: bool, limit: int | None, force: bool) -> None:
    """Makes float16 twins of the analyzers of PACK (a name or a path), for a GPU.

    A twin multiplies and adds in half precision; what is done to crops before the first matrix, means, norms, softmax
    and the last steps to each answer stay in float32. With --data it is compared with the float graph on the
    validation sets: one that loses less than 0.3 points (0.1 years of age) in every task, and whose embeddings keep a
    mean cosine of 0.995, is written as NAME.float16.onnx. Without --data it is compared on inputs that are no faces,
    and its embeddings, of which nobody knows how far they moved, are of a space of their own. Speed is not measured: a
    processor gains none by half precision. The service takes a twin with MIEN_PRECISION=float16 and MIEN_DEVICE=cuda.
    If none is good enough, no file is written and the exit code is 1.

    \b
    mien-export halve packs/mine --data ../shared/data
    mien-export halve nano --data ../shared/data --out packs/nano
    """  # noqa: D301 - click needs the control character
    if out is not None:
        require_name(out.name, "--out")
    with one_line(), interruptible():
        from export.progress import Stages
        from export.twin.halving import HalfOrder
        from export.twin.halving import halve as make_twins
        from model.runtime.pack import find_pack

        order = HalfOrder(find_pack(pack), data, limit, out, keep_anyway, force, typed_command())
        outcome = make_twins(order, Stages())
    _show(outcome, anyway=keep_anyway)
    if outcome.folder is None:
        raise click.ClickException("no twin was written: none answers closely enough (--keep-anyway keeps sound ones)")
    say_made(outcome.folder)


def _show(outcome: "HalfOutcome", *, anyway: bool) -> None:
    console = wide_console()
    table = Table(
        "analyzer", "in float16", "MB", "answers moved, of what is allowed", "cosine", "largest loss", "verdict",
        title="float16 twins (mean and least cosine to float32 on validation rows)", title_justify="left",
    )  # fmt: skip
    for judged in outcome.judged:
        table.add_row(*_cells(judged, anyway=anyway))
    console.print(table)
    for judged in outcome.judged:
        if judged.compared:
            console.print(figures(judged.part.file, "float16", judged.compared))


def _cells(judged: "Judged", *, anyway: bool) -> tuple[str, ...]:
    from export.twin.verdict import worst

    twin, loss = judged.twin, worst(judged.compared)
    is_known = judged.cosine_mean is not None
    verdict = "; ".join(judged.reasons) or "as good"
    return (
        judged.part.file,
        "" if twin is None else f"{twin.num_matrices} of {twin.num_possible}",
        "" if twin is None else f"{len(twin.graph) / 1e6:.1f}",
        "" if judged.moved is None else f"{judged.moved:.3f}",
        f"{judged.cosine_mean:.5f}  {judged.cosine_min:.5f}" if is_known else "",
        "" if loss is None else str(loss),
        f"kept; {verdict}" if judged.is_kept(anyway=anyway) else verdict,
    )
