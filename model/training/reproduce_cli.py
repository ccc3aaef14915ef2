"""`mien-train reproduce`.

Holds what reads its command line. Never trains by itself, and imports torch only when the command runs.
"""

from pathlib import Path

import click

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("pack", type=click.Choice(["nano"]), metavar="PACK")
@click.option("--data", required=True, type=_FOLDER, help="Folder with the parquet files.")
@click.option(
    "--out", type=_FOLDER, default=Path("runs/reproduce"), show_default=True, help="Folder for runs and pack."
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Of each training's steps: 1 is what shipped, 0.01 shows on a CPU that all runs.",
)
def reproduce(pack: str, data: Path, out: Path, share: float) -> None:
    """Makes the shipped PACK again: trains detector and analyzer, exports, and prints figures beside the shipped ones.

    On a GPU the whole takes over half an hour, on a CPU days. A run that is stopped goes on with the same command.

    \b
    mien-train reproduce nano --data ../shared/data
    mien-train reproduce nano --data ../shared/data --share 0.01 --out runs/try
    """  # noqa: D301 - click needs the control character
    try:
        from model.training import reproduction
        from model.training.recipes.reproduction import NANO_STAGES
    except ModuleNotFoundError as error:
        message = f"{error.name} is missing; install the train extra: pip install 'mien[train]'"
        raise click.ClickException(message) from error
    reproduction.reproduce(NANO_STAGES, data, out, share, pack)
