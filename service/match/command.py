"""The command `mien match`: score files of authentic and impostor pairs, and how well they are told apart.

Holds options, the report, and what is printed. Never scores anything itself.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from service import tables
from service.extract.progress import progress_bar
from service.match.accuracy import Accuracy, Tally
from service.match.features import Features, FeaturesError, check_comparable, read_features
from service.match.roc import write_curve, write_picture
from service.match.score_files import BYTES_A_ROW, ScoreFile, write_labels
from service.match.scores import most_pairs, score_blocks
from service.words import counted

_TABLE_WIDTH: Final = 120  # where the output is no terminal, which has a width of its own
_FEW: Final = 10  # a rate that rests on fewer false matches is printed with a warning


class MatchError(ValueError):
    """There is nothing to match, or no room for it; the message is one line."""


@click.command("match")
@click.option("--probe", required=True, type=click.Path(path_type=Path), metavar="FILE", help="What is matched.")
@click.option(
    "--gallery",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What it is matched with.  [default: the probe, each pair once]",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Where the files go.")
@click.option("--group", metavar="NAME", help="What the files' names begin with.  [default: the probe's name]")
def match_command(probe: Path, gallery: Path | None, out: Path, group: str | None) -> None:
    """Match embeddings: every pair's cosine, and TAR at FMR, EER and AUC over all of them.

    FILE is a list of .npy files (one a line), a folder of them, or a .csv, .jsonl or .parquet of `mien extract`.
    A subject is a file's name up to its first _, or what a table's column `subject` says. What has the same
    FOLDER/STEM is not matched with itself.

    \b
    Written to FOLDER, as face_analysis_pytorch's feature_match does:
      NAME_authentic.npy  NAME_impostor.npy     float64 rows: probe index, gallery index, cosine to six decimals
      NAME_labels.txt  NAME_gallery_labels.txt  index and FOLDER/STEM
    and beside them:
      NAME_report.json  NAME_roc.csv  NAME_roc.svg

    \b
    Examples:
      mien extract photos/ --out features/
      mien match --probe features/ --out scores --group all
      mien match --probe women.txt --gallery women_masked.txt --out scores --group women
    """  # noqa: D301 - click needs the control character
    name = group or probe.stem
    if not name or "/" in name:
        raise click.UsageError(f"--group {name}: a group's name is the beginning of file names, without /")
    try:
        probes = read_features(probe)
        against = None if gallery is None else read_features(gallery)
        accuracy = _match(probes, against, out, name)
    except (FeaturesError, MatchError, tables.TablesError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot write to {out}: {error.strerror or error}") from None
    _report(accuracy, probes, against, out, name)
    _show(accuracy, probes, against, out / f"{name}_report.json")


def _match(probe: Features, gallery: Features | None, out: Path, name: str) -> Accuracy:
    """Scores every pair, writes score and label files, and says how well the pairs are told apart."""
    if gallery is not None:
        check_comparable(probe, gallery)
    _check_room(most_pairs(probe, gallery) * BYTES_A_ROW, out)
    tally = Tally()
    with _files(out, name) as (authentic, impostor), progress_bar("probes") as progress:
        bar = progress.add_task("matching", total=len(probe))
        for block in score_blocks(probe, gallery):
            authentic.append(block.authentic)
            impostor.append(block.impostor)
            tally.add(block.authentic[:, 2], block.impostor[:, 2])
            progress.advance(bar, block.num_probes)
        accuracy = tally.accuracy()
        if not accuracy.num_authentic + accuracy.num_impostor:
            raise MatchError("there is no pair to match: all have one label")
    write_labels(out / f"{name}_labels.txt", probe.labels)
    if gallery is not None:
        write_labels(out / f"{name}_gallery_labels.txt", gallery.labels)
    return accuracy


@contextmanager
def _files(out: Path, name: str) -> Iterator[tuple[ScoreFile, ScoreFile]]:
    """Both score files, put in their places at the end, or discarded."""
    files = ScoreFile(out / f"{name}_authentic.npy"), ScoreFile(out / f"{name}_impostor.npy")
    try:
        yield files
        for file in files:
            file.finish()
    finally:
        for file in files:
            file.discard()


def _check_room(num_bytes: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    if num_bytes > free:
        raise MatchError(f"the score files take {num_bytes / 1e9:,.1f} GB, and {out} has {free / 1e9:,.1f} GB left")


def _report(accuracy: Accuracy, probe: Features, gallery: Features | None, out: Path, name: str) -> None:
    """Writes the report, and the curve where there is one."""
    against = gallery or probe
    report = {
        "group": name,
        "num_probe": len(probe),
        "num_gallery": None if gallery is None else len(gallery),
        "num_subjects": len({*probe.subjects, *against.subjects}),
        "embedding_dim": probe.units.shape[1],
        "embedding_space": probe.space,
        "num_authentic": accuracy.num_authentic,
        "num_impostor": accuracy.num_impostor,
        "eer": accuracy.eer,
        "eer_threshold": accuracy.eer_threshold,
        "auc": accuracy.auc,
        "tar_at_fmr": [asdict(point) for point in accuracy.points],
    }
    (out / f"{name}_report.json").write_bytes(
        orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    )
    for suffix in ("roc.csv", "roc.svg"):
        (out / f"{name}_{suffix}").unlink(missing_ok=True)  # an earlier run's, if any
    if accuracy.curve is not None:
        write_curve(accuracy.curve, out / f"{name}_roc.csv")
        write_picture(accuracy.curve, f"ROC: {name}", "; ".join(_words(accuracy)), out / f"{name}_roc.svg")


def _words(accuracy: Accuracy) -> list[str]:
    said = [f"{counted(accuracy.num_authentic, 'authentic pair')}, {counted(accuracy.num_impostor, 'impostor pair')}"]
    if accuracy.eer is not None:
        said.append(f"EER {100 * accuracy.eer:.3f} % at {accuracy.eer_threshold:.6f}, AUC {accuracy.auc:.6f}")
    return said


def _show(accuracy: Accuracy, probe: Features, gallery: Features | None, report: Path) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _TABLE_WIDTH
    with_what = "each other" if gallery is None else f"a gallery of {len(gallery):,}"
    click.echo(f"{counted(len(probe), 'probe')} with {with_what}: {'; '.join(_words(accuracy))}")
    if accuracy.eer is None:
        missing = "authentic" if not accuracy.num_authentic else "impostor"
        click.echo(f"no {missing} pairs: TAR at FMR, EER and AUC cannot be computed", err=True)
    else:
        console.print(_points_table(accuracy))
    click.echo(f"report: {report}")


def _points_table(accuracy: Accuracy) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("FMR", "threshold", "TAR", "false matches"):
        table.add_column(name, justify="right")
    table.add_column("")
    for point in accuracy.points:
        if point.tar is None:
            table.add_row(f"{point.fmr:.0e}", "", "", "", f"needs {1 / point.fmr:,.0f} impostor pairs")
            continue
        note = f"rests on fewer than {_FEW}" if point.num_false_matches < _FEW else ""
        cells = (f"{point.threshold:.6f}", f"{100 * point.tar:.3f} %", f"{point.num_false_matches:,}")
        table.add_row(f"{point.fmr:.0e}", *cells, note)
    return table
