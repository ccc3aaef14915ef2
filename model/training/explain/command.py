"""`mien-train explain`: the command line, and the files of pictures.

Holds options, the walk over images and the way from an error to one clear line. Never takes a gradient and never draws,
and imports torch only when it runs, so that `--help` answers at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from model.training.explain.request import Outcome, Request

_FILE = click.Path(path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_METHODS = click.Choice(["grad-cam", "hires-cam"])
_ALIGNMENTS = click.Choice(["arcface-5pt", "celeba"])


@click.command()
@click.argument("target", metavar="CHECKPOINT")
@click.argument("images", nargs=-1, required=True, type=_FILE, metavar="IMAGE...")
@click.option("--task", "tasks", multiple=True, required=True, help="What to explain (see above); may be repeated.")
@click.option("--out", required=True, type=_FOLDER, help="Folder for the pictures, made if absent.")
@click.option("--detector", default="nano", show_default=True, help="Pack whose detector finds the faces.")
@click.option("--aligned", is_flag=True, help="Each IMAGE is one aligned crop: find and align nothing.")
@click.option("--alignment", type=_ALIGNMENTS, help="Crops of photographs.  [default: as it was trained]")
@click.option("--max-faces", type=click.IntRange(min=1), default=8, show_default=True, help="Largest first.")
@click.option("--reference", type=_FILE, help="Photograph of who to compare with, for the task embedding.")
@click.option("--method", type=_METHODS, help="How a map is weighed.  [default: grad-cam for FAER, else hires-cam]")
@click.option("--level", type=int, default=-1, show_default=True, help="Which of the trunk's maps; 0 is the finest.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads on the CPU.  [default: one a core]")
def explain(
    target: str,
    images: tuple[Path, ...],
    tasks: tuple[str, ...],
    out: Path,
    detector: str,
    aligned: bool,
    alignment: Literal["arcface-5pt", "celeba"] | None,
    max_faces: int,
    reference: Path | None,
    method: Literal["grad-cam", "hires-cam"] | None,
    level: int,
    threads: int,
) -> None:
    """Draws where a network looked for an answer: Grad-CAM over its trunk's last map, or its place-by-place form.

    CHECKPOINT is a checkpoint's folder, a training run's, or a pack that carries one. A task is age, gender, race,
    expression, embedding or attributes.NAME; a class may follow (expression.fear, attributes.eyeglasses.yes,
    age.younger), else each face's predicted one is explained. Every IMAGE gets a picture of its name in --out, with a
    row a face: crop, map, answer.

    \b
    mien-train explain nano --task attributes.eyeglasses --task age photo.jpg --out maps
    mien-train explain runs/faer/ema --task expression.fear --alignment celeba *.jpg --out maps
    mien-train explain runs/swinface --task embedding --reference her.jpg also-her.jpg --out maps
    """  # noqa: D301 - click reads the backspace character, which a raw string would not hold
    try:
        from model.training.explain.request import Request
    except ModuleNotFoundError as error:
        message = f"{error.name} is missing; install the train extra: pip install 'mien[train]'"
        raise click.ClickException(message) from error
    done = _explained(
        Request(target, images, tasks, out, detector, aligned, alignment, max_faces, reference, method, level, threads)
    )
    for image in done.faceless:
        click.echo(f"note: no face found on {image}")
    click.echo(f"{len(done.pictures)} pictures and explanations.json: {out}")


def _explained(request: "Request") -> "Outcome":
    from rich.console import Console
    from rich.progress import Progress

    from model.checkpoint import CheckpointError
    from model.runtime.pack import PackError
    from model.runtime.session import SessionError
    from model.training.explain.aims import ExplainError
    from model.training.explain.request import explain_images

    hidden = not sys.stderr.isatty()
    try:
        with Progress(console=Console(stderr=True), disable=hidden, transient=True) as progress:
            bar = progress.add_task("explaining", total=len(request.images))
            return explain_images(request, lambda: progress.advance(bar))
    except (CheckpointError, ExplainError, PackError, SessionError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot write {request.out}: {error.strerror}") from error
