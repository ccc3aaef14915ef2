"""`mien-train evaluate`: the command line, and what a person sees of a report.

Holds options, printing and the way from an error to one clear line. Never measures, and imports torch only when it
runs, so that `--help` answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from model.training.evaluation.examination import Request
    from model.training.evaluation.report import EvaluationReport

_FOLDER = click.Path(file_okay=False, path_type=Path)
_PATH = click.Path(path_type=Path)
_DEVICE = click.Choice(["auto", "cpu", "cuda"])
_TABLE_WIDTH = 150  # columns, where the output is no terminal that states its own


@click.command()
@click.argument("target", metavar="CHECKPOINT_OR_PACK")
@click.option("--data", type=_FOLDER, help="Folder with the parquet files.")
@click.option("--bin", "bins", multiple=True, type=_PATH, help="InsightFace .bin set, or a folder of them; repeatable.")
@click.option("--ijb", multiple=True, type=_FOLDER, help="Folder of IJB-B or IJB-C (meta/, loose_crop/); repeatable.")
@click.option("--flip/--no-flip", default=True, help="--bin, --ijb: add the mirror image's embedding.  [default: flip]")
@click.option("--feature-norm/--no-feature-norm", default=True, help="--ijb: longer embeddings weigh more.")
@click.option("--detector-score/--no-detector-score", default=True, help="--ijb: surer detections weigh more.")
@click.option("--robustness", is_flag=True, help="--data: the detector by size, close-ups, rotation, blur, light too.")
@click.option("--scales", metavar="1,0.5", help="At which the detector looks at a picture.  [default: its own]")
@click.option("--out", type=_FOLDER, help="Folder for the report.  [default: the training run's report/, else report/]")
@click.option("--device", type=_DEVICE, default="auto", show_default=True, help="Where the network runs.")
@click.option("--limit", type=click.IntRange(min=1), help="--data: about so many images a set, rough figures.")
@click.option("--quality", is_flag=True, help="--data: errors against sharpness, pose and face size, too.")
@click.option("--train-gap", is_flag=True, help="--data: the same figures on a sample of the training rows, too.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Crops a run.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads on the CPU.  [default: one a core]")
def evaluate(
    target: str,
    data: Path | None,
    bins: tuple[Path, ...],
    ijb: tuple[Path, ...],
    flip: bool,
    feature_norm: bool,
    detector_score: bool,
    robustness: bool,
    scales: str | None,
    out: Path | None,
    device: Literal["auto", "cpu", "cuda"],
    limit: int | None,
    quality: bool,
    train_gap: bool,
    batch_size: int,
    threads: int,
) -> None:
    """Measures a model on every validation set in --data, and by published protocols.

    CHECKPOINT_OR_PACK is a checkpoint's folder (runs/nano/ema), a training run's (runs/nano), a pack's folder, or the
    name of a shipped pack. Prints the figures, and writes report.json and pictures (ROC, DET, confusion matrices,
    attributes, groups, reliability diagrams, training curves) into --out.

    \b
    mien-train evaluate runs/nano --data ../shared/data
    mien-train evaluate runs/nano --data ../shared/data --limit 500
    mien-train evaluate nano --data ../shared/data --quality --train-gap --out /tmp/nano-report
    mien-train evaluate runs/detector --data ../shared/data --robustness --scales 1
    mien-train evaluate runs/swinface --bin lfw.bin --bin cfp_fp.bin --ijb IJBC
    """  # noqa: D301 - click reads the backspace character, which a raw string would not hold
    try:
        from model.training.evaluation.examination import Request
        from model.training.evaluation.ijb.protocol import TemplateOptions
        from model.training.evaluation.protocols import Protocols
    except ModuleNotFoundError as error:
        message = f"{error.name} is missing; install the train extra: pip install 'mien[train]'"
        raise click.ClickException(message) from error
    if data is None and not bins and not ijb:
        raise click.UsageError("say what to measure on: --data, --bin or --ijb")
    if data is None and (quality or train_gap):
        raise click.UsageError("--quality and --train-gap go with --data")
    protocols = Protocols(bins, ijb, TemplateOptions(flip, feature_norm, detector_score))
    if robustness and data is None:
        raise click.UsageError("--robustness is measured on the scenes in --data")
    request = Request(
        target,
        data,
        device,
        limit,
        batch_size,
        threads,
        protocols,
        quality=quality,
        train_gap=train_gap,
        robustness=robustness,
        scales=_scales(scales) if scales else None,
    )
    report, folder = _write(request, out)
    _show(report, folder)


def _scales(text: str) -> tuple[float, ...]:
    from model.runtime.scales import parse_scales

    try:
        return parse_scales(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--scales") from error


def _write(request: "Request", out: Path | None) -> tuple["EvaluationReport", Path]:
    from model.checkpoint import CheckpointError
    from model.runtime.pack import PackError
    from model.runtime.session import SessionError
    from model.training.dataset import DataError
    from model.training.evaluation.curves import draw_report
    from model.training.evaluation.examination import examine, run_folder
    from model.training.evaluation.history import LOG, HistoryError, draw_training
    from model.training.evaluation.quality.drawing import draw_quality
    from model.training.evaluation.reliability import draw_reliabilities
    from model.training.evaluation.report import write_report
    from model.training.evaluation.subjects import SubjectError
    from model.training.evaluation.validation import EvaluationError

    run = run_folder(request.target, LOG)
    folder = out or (Path("report") if run is None else run / "report")
    try:
        report = examine(request)
        write_report(report, folder)
        draw_report(report, folder)
        draw_quality(report.quality, folder)
        draw_reliabilities(report, folder)
        if run is not None:
            draw_training(run / LOG, folder / "training.png")
    except HistoryError as error:
        report = report.extended(notes=[f"no training curves: {error}"])
    except (CheckpointError, DataError, EvaluationError, PackError, SessionError, SubjectError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot write {folder}: {error.strerror}") from error
    return report, folder


def _show(report: "EvaluationReport", folder: Path) -> None:
    from rich.console import Console

    from model.training.evaluation.tables import tables

    console = Console()
    if not console.is_terminal:
        console = Console(width=_TABLE_WIDTH)
    for table in tables(report):
        console.print(table)
    for note in report.notes:
        click.echo(f"note: {note}")
    click.echo(f"report and pictures: {folder}")
