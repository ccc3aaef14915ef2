"""`mien-export`: from checkpoints to packs, and the care of packs.

Holds what reads the command line and turns errors into one clear line. Never does the work, and imports torch only when
a command needs it, so that `--help` and `check` answer without it.
"""

from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.table import Table

from export.importers.command import import_
from export.terminal import interruptible, one_line, require_name, say_made, typed_command
from export.twin.command import quantise
from export.twin.half_command import halve

_FOLDER = click.Path(file_okay=False, path_type=Path)
_WATTS = click.option(
    "--watts",
    multiple=True,
    metavar="[PART=]WATTS",
    help="Power drawn while training, for all or for analyzer= or detector=.  [default: assumed by the machine's kind]",
)
_GRID = click.option(
    "--grid-g-per-kwh",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Carbon of the electricity, grams of CO2 equivalents a kWh.  [default: 480, the world's mean]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Makes packs: what the service loads.

    `checkpoint`, `import`, `combine`, `calibrate`, `quantise`, `halve` and `card --data` need the train extra: pip
    install 'mien[train]'
    """


main.add_command(import_)
main.add_command(quantise)
main.add_command(halve)


@main.command()
@click.argument("checkpoint", type=_FOLDER)
@click.option(
    "--detector",
    required=True,
    metavar="PATH|NAME",
    help="A detector's checkpoint or training run, an SCRFD .onnx file, or a pack whose detector is taken.",
)
@click.option("--name", required=True, help="The pack's name, e.g. nano.")
@click.option("--version", "pack_version", default="0.1.0", show_default=True, help="The pack's version.")
@click.option("--out", type=_FOLDER, default=Path("packs"), show_default=True, help="Folder to put the pack into.")
@click.option(
    "--data", type=_FOLDER, default=None, help="Data folder to measure and calibrate on; without it, neither."
)
@click.option("--no-calibrate", is_flag=True, help="Fit neither temperatures nor verification thresholds.")
@click.option("--license", "license_text", default=None, help="Licence.  [default: what the training data allows]")
@click.option("--allowed-use", default=None, help="A sentence on allowed use.  [default: as for --license]")
@click.option("--trained-on", default=None, metavar="TEXT", help="The machine it was trained on, for the card.")
@click.option(
    "--earlier",
    multiple=True,
    metavar="RUN[=ROLE]",
    help="An earlier training that it rests on, 'runs/large=its answers were taught'; may be repeated, in order.",
)
@click.option(
    "--teacher", default=None, metavar="TEXT", help="Whose answers it was taught.  [default: what its run tells]"
)
@_WATTS
@_GRID
@click.option(
    "--photo",
    "photographs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check on the faces of this photograph; may be repeated.  [default: faces of --data]",
)
@click.option(
    "--alignment",
    type=click.Choice(["arcface-5pt", "celeba"]),
    default=None,
    help="Of the crops that it was trained on.  [default: what its run tells, else arcface-5pt]",
)
@click.option("--force", is_flag=True, help="Replace a folder of that name even if it is no pack.")
def checkpoint(
    checkpoint: Path,
    detector: str,
    name: str,
    pack_version: str,
    out: Path,
    data: Path | None,
    no_calibrate: bool,
    license_text: str | None,
    allowed_use: str | None,
    trained_on: str | None,
    earlier: tuple[str, ...],
    teacher: str | None,
    watts: tuple[str, ...],
    grid_g_per_kwh: float | None,
    photographs: tuple[Path, ...],
    alignment: Literal["arcface-5pt", "celeba"] | None,
    force: bool,
) -> None:
    """Makes a pack of CHECKPOINT (a checkpoint's folder or a training run's).

    The graph is compared with the network at several batch sizes, on real faces and on edge inputs; probabilities are
    calibrated on the validation rows, thresholds on every pair of LFW's validation images; every figure of the
    validation sets is measured, by group, against quality, by the detector's conditions, and beside a sample of the
    training rows. A check that fails leaves nothing behind.

    \b
    mien-export checkpoint runs/nano/ema --detector runs/detector/ema --name mine --data ../shared/data
    mien-export checkpoint runs/nano/ema --detector nano --name mine --license MIT
    """  # noqa: D301 - click needs the control character
    require_name(name)
    with one_line(), interruptible():
        from export.assembly import Order, export_checkpoint
        from export.energy import Power, parse_watts
        from export.progress import Stages

        order = Order(
            checkpoint=checkpoint,
            detector=detector,
            name=name,
            version=pack_version,
            out=out,
            data=data,
            license=license_text,
            allowed_use=allowed_use,
            trained_on=trained_on,
            photographs=photographs,
            calibrate=not no_calibrate,
            force=force,
            command=typed_command(),
            alignment=alignment,
            earlier=earlier,
            teacher=teacher,
            power=Power(parse_watts(watts), grid_g_per_kwh),
        )
        folder = export_checkpoint(order, Stages())
    say_made(folder)


@main.command("combine")
@click.argument("packs", nargs=-1, required=True, metavar="PACK[=TASK,TASK]...")
@click.option("--out", required=True, type=_FOLDER, help="The new pack's folder; its name is the pack's.")
@click.option(
    "--detector",
    default=None,
    metavar="PACK|FILE",
    help="A pack whose detector is copied, an SCRFD .onnx, or a detector's checkpoint.  [default: the first PACK's]",
)
@click.option("--version", "pack_version", default="0.1.0", show_default=True, help="The new pack's version.")
@click.option("--force", is_flag=True, help="Replace a folder of that name even if it is no pack.")
def combine_packs(packs: tuple[str, ...], out: Path, detector: str | None, pack_version: str, force: bool) -> None:
    """Makes one pack of several PACKs' analyzers, each at its own crop size and alignment.

    Of a PACK (a name or a path) every task is taken, or those that are named behind `=`. A task that is left out is cut
    out of its graph. Thresholds, measured figures, embedding space and licences go along with what is taken.

    \b
    mien-export combine packs/swinface=embedding,expression,age,gender packs/faer=attributes --out packs/both
    """  # noqa: D301 - click needs the control character
    require_name(out.name, "--out")
    with one_line(), interruptible():
        from export.combine import Combination, combine
        from export.progress import Stages

        folder = combine(Combination(packs, out, detector, pack_version, force, typed_command()), Stages())
    say_made(folder)


@main.command()
@click.argument("pack")
def check(pack: str) -> None:
    """Checks PACK (a name or a path): hashes, graphs, known answers, and its network where torch is installed."""
    with one_line():
        from export.pack_check import check_pack
        from model.runtime.pack import find_pack

        folder = find_pack(pack)
        findings = check_pack(folder)
    table = Table("checked", "found", title=str(folder), title_justify="left")
    for finding in findings:
        table.add_row(finding.what, finding.result)
    Console().print(table)


@main.command()
@click.argument("pack")
@click.option(
    "--data", type=_FOLDER, default=None, help="Measure everything again, and draw it.  [default: keep the figures]"
)
@click.option("--run", type=_FOLDER, default=None, help="The analyzer's training run, whose curves are drawn.")
@click.option("--detector-run", type=_FOLDER, default=None, help="The detector's.")
@_WATTS
@_GRID
def card(
    pack: str,
    data: Path | None,
    run: Path | None,
    detector_run: Path | None,
    watts: tuple[str, ...],
    grid_g_per_kwh: float | None,
) -> None:
    """Writes the card of PACK (a name or a path) anew, with its pictures, and its manifest.

    Graphs, weights and thresholds stay as they are. With --data every figure is measured again: for everyone, by group,
    against quality, and on a sample of the training rows.

    \b
    mien-export card packs/mine --data ../shared/data --run runs/mine --detector-run runs/detector
    mien-export card packs/mine --watts analyzer=700 --watts detector=20 --grid-g-per-kwh 300
    """  # noqa: D301 - click needs the control character
    with one_line(), interruptible():
        from export.energy import Power, parse_watts
        from export.measuring import refresh
        from model.runtime.pack import find_pack

        folder = find_pack(pack)
        runs = {"analyzer": run, "detector": detector_run}
        stated = {part: path for part, path in runs.items() if path is not None}
        made = refresh(folder, data, stated, Power(parse_watts(watts), grid_g_per_kwh))
    click.echo(f"{folder}: card of {len(made.measured)} figures and {len(made.pictures)} pictures")


@main.command()
@click.argument("pack")
@click.option("--data", type=_FOLDER, default=None, help="Data folder with the set to calibrate on: every pair of it.")
@click.option("--set", "dataset", default="lfw", show_default=True, help="The set: NAME-val.parquet in --data.")
@click.option(
    "--pairs",
    "lists",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Listed pairs instead: NAME.bin, LFW's pairs.txt, NAME-val-pairs.csv, or a folder of them; may be repeated.",
)
@click.option("--images", type=_FOLDER, default=None, help="LFW's photographs.  [default: beside pairs.txt]")
@click.option("--aligned", is_flag=True, help="LFW's photographs are aligned crops; else the pack's detector aligns.")
@click.option("--no-temperatures", is_flag=True, help="--data: leave the graph's probabilities as they are.")
def calibrate(
    pack: str,
    data: Path | None,
    dataset: str,
    lists: tuple[Path, ...],
    images: Path | None,
    aligned: bool,
    no_temperatures: bool,
) -> None:
    """Calibrates PACK (a name or a path) anew.

    Verification thresholds, their intervals and the confidence curve come of the pairs of --set, or of listed --pairs.
    With --data each task's temperature is fitted too, on the validation rows that label it, and written into the
    graph: probabilities then mean what they say, and the likeliest answer stays what it was.

    \b
    mien-export calibrate packs/mine --data ../shared/data
    mien-export calibrate packs/mine --pairs lfw.bin --pairs cfp_fp.bin
    mien-export calibrate packs/mine --pairs LFW/pairs.txt --images LFW/lfw
    """  # noqa: D301 - click needs the control character
    if (data is None) == (not lists):
        raise click.UsageError("state either --data or --pairs")
    if data is not None and (images is not None or aligned):
        raise click.UsageError("--images and --aligned go with --pairs")
    with one_line(), interruptible():
        from export.calibration_table import show
        from export.listed_pairs import Photographs
        from export.pair_calibration import recalibrate_on_pairs
        from export.progress import Stages
        from export.recalibrate import Recalibration, recalibrate
        from model.runtime.pack import find_pack

        with Stages().progress() as progress:
            if data is not None:
                found = recalibrate(pack, data, progress, dataset, temperatures=not no_temperatures)
            else:
                listed = recalibrate_on_pairs(find_pack(pack), lists, progress, Photographs(images, aligned))
                found = Recalibration(listed)
        show(found)
