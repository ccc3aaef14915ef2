"""`mien-train`: the command group, and `train`.

Holds what reads the command line. Never trains by itself, and imports torch only when a command runs, so that `--help`
answers at once.
"""

from pathlib import Path

import click

from model.training.evaluation.command import evaluate

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Trains and evaluates mien's networks.

    Needs the train extra: pip install 'mien[train]'
    """


@main.command()
@click.pass_context
@click.argument("recipe", type=click.Choice(["nano", "detector"]))
@click.option("--data", required=True, type=_FOLDER, help="Folder with the parquet files.")
@click.option("--out", type=_FOLDER, default=None, help="The run's folder.  [default: runs/RECIPE]")
@click.option("--resume", is_flag=True, help="Go on from where the run in --out stopped or was killed.")
@click.option("--init", type=_FOLDER, default=None, help="Start from a checkpoint's weights, e.g. runs/nano/ema.")
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
    cache: Path | None,
    changes: tuple[str, ...],
    validate: bool,
) -> None:
    r"""Trains RECIPE: nano (the face analyzer) or detector.

    The run's folder gets last/ (to resume from), ema/ (the checkpoint to evaluate and export), log.jsonl, tensorboard/
    and report/. A training that is killed goes on with --resume and ends with the same weights as one that ran through.

    \b
    mien-train train nano --data ../shared/data
    mien-train train nano --data ../shared/data --resume
    mien-train train nano --data ../shared/data --set total_steps=5000 --set rows.celeba=32
    """
    if resume and init is not None:
        raise click.UsageError("--resume and --init exclude each other")
    out = out or Path("runs") / recipe
    try:
        from model.training.command import run_training
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is missing; install the train extra: pip install 'mien[train]'"
        ) from error
    run_training(recipe, data, out, resume=resume, init=init, cache=cache, changes=changes)
    if validate:
        context.invoke(
            evaluate, target=str(out), data=data, out=None, device="auto", limit=None, batch_size=32, threads=0
        )


main.add_command(evaluate)
