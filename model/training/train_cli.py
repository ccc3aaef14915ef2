"""`mien-train train` and `mien-train recipes`.

Holds what reads their command lines. Never trains by itself, and imports torch only when a command runs.
"""

from pathlib import Path

import click

from model.training.evaluation.command import evaluate
from model.training.recipes.names import NAMES

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.pass_context
@click.argument("recipe", type=click.Choice([*NAMES, "detector"]), metavar="RECIPE")
@click.option("--data", required=True, type=_FOLDER, help="Folder with the parquet files.")
@click.option("--out", type=_FOLDER, default=None, help="The run's folder.  [default: runs/RECIPE]")
@click.option("--resume", is_flag=True, help="Go on from where the run in --out stopped or was killed.")
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    default=None,
    help="Start from a checkpoint's weights, e.g. runs/nano/ema; or a ConvNeXt's trunk from Meta's or timm's file.",
)
@click.option(
    "--distil", type=_FOLDER, default=None, help="Learn from this checkpoint's answers, too, e.g. runs/wide/ema."
)
@click.option("--cache", type=_FOLDER, default=None, help="Keep decoded pixels here; later starts are then quick.")
@click.option("--validate/--no-validate", default=True, help="Evaluate at the end.  [default: validate]")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe; may be repeated.")
def train(
    context: click.Context,
    recipe: str,
    data: Path,
    out: Path | None,
    resume: bool,
    init: Path | None,
    distil: Path | None,
    cache: Path | None,
    changes: tuple[str, ...],
    validate: bool,
) -> None:
    """Trains RECIPE: nano (the face analyzer that ships), detector, or one that `mien-train recipes` lists.

    The run's folder gets last/ (to resume from), ema/ (the checkpoint to evaluate and export), log.jsonl, tensorboard/
    and report/. A training that is killed goes on with --resume and ends with the same weights as one that ran through.

    \b
    mien-train train nano --data ../shared/data
    mien-train train nano --data ../shared/data --resume
    mien-train train nano --data ../shared/data --set rows=celeba:13,utkface:8,fer2013:11   (without a GPU)
    mien-train train ir-age --data ../shared/data --set rows=utkface:64
    torchrun --nproc_per_node 8 -m model.training train swinface --data DATA
    """  # noqa: D301 - click needs the control character
    if resume and init is not None:
        raise click.UsageError("--resume and --init exclude each other")
    out = out or Path("runs") / recipe
    try:
        from model.training.command import run_training
        from model.training.world import asked_world, leave
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    writes = run_training(recipe, data, out, resume=resume, init=init, cache=cache, changes=changes, distil=distil)
    if validate and writes:
        context.invoke(
            evaluate, target=str(out), data=data, out=None, device="auto", limit=None, batch_size=32, threads=0
        )
    leave(asked_world())


@click.command()
@click.argument("name", type=click.Choice(NAMES), metavar="[NAME]", required=False)
def recipes(name: str | None) -> None:
    """Lists the recipes and the scores to expect of them; with NAME, one recipe whole, as --set takes its keys.

    \b
    mien-train recipes
    mien-train recipes swinface
    """  # noqa: D301 - click needs the control character
    try:
        from model.training.recipes.listing import list_recipes, show_recipe
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    if name is None:
        list_recipes()
    else:
        show_recipe(name)


def _missing(error: ModuleNotFoundError) -> click.ClickException:
    return click.ClickException(f"{error.name} is missing; install the train extra: pip install 'mien[train]'")
