"""The commands `mien analyze` and `mien verify`: photographs analysed and compared without a server.

Holds options and what is printed. Never analyses anything itself, and never shows a traceback for a user's mistake: one
clear line on stderr and a non-zero exit.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.runtime.pack import Pack
from service.analysis import Analysis, ImageResult, Options
from service.answers import analysis_answer
from service.drawing import annotate
from service.imaging import decode
from service.opening import DEADLINE_MS, chosen_tasks, opened, or_exit, pack_option, settings_with, stated
from service.photos import Answered, Photo, analyze_photos, read_photo
from service.schemas import MIN_SCORE, AnalyzeAnswer, ImageAnswer
from service.words import counted, faces_table, marks, verdict

_TABLE_WIDTH: Final = 160  # where the output is no terminal, which has a width of its own
_PICTURES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


@click.command("analyze")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PHOTO...")
@click.option("--json", "as_json", is_flag=True, help="Print the answer in JSON, exactly as POST /analyze gives it.")
@click.option(
    "--draw",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Write the photograph with its faces marked; for several photographs, a folder or a numbered name.",
)
@click.option("--tasks", metavar="TASK,...", help="What to answer, such as age,expression.  [default: all but race]")
@click.option("--max-faces", type=click.IntRange(1), help="At most so many faces a photograph, largest first.")
@click.option("--min-score", type=click.FloatRange(MIN_SCORE, 1), help="Least detection score.  [default: the pack's]")
@click.option(
    "--min-face", type=click.FloatRange(0), default=0, help="Least length of a face's shorter side in pixels."
)
@pack_option
def analyze_command(
    photos: tuple[Path, ...], as_json: bool, draw: Path | None, tasks: str | None, max_faces: int | None,
    min_score: float | None, min_face: float, pack: str | None,
) -> None:  # fmt: skip
    """Analyse photographs in this process, without a server.

    A photograph that cannot be read gets one line on stderr, the others are answered, and the exit code is 1.

    \b
    Examples:
      mien analyze group.jpg
      mien analyze group.jpg --draw marked.png --tasks age,gender
      mien analyze *.jpg --json > answers.json
    """  # noqa: D301 - click needs the control character
    settings = settings_with(pack=pack, deadline_ms=DEADLINE_MS)
    chosen = chosen_tasks(tasks, stated(settings.pack).tasks)
    target = None if draw is None else _targets(draw, photos)
    with opened(settings) as analyzer, _progress(len(photos)) as progress:
        options = Options(chosen or analyzer.default_options.tasks, max_faces, min_score, min_face)
        bar = progress.add_task("analysing", total=len(photos))

        def done(number: int, photo: Photo, result: ImageResult) -> None:
            progress.advance(bar)
            if target is not None and result.error is None:
                _draw(photo, _answer(result, analyzer.pack), target(number))

        answered = or_exit(lambda: analyze_photos(analyzer, photos, options, done))
        served = analyzer.pack
    if as_json:
        click.echo(analysis_answer(answered.analysis, served, "float", answered.total_seconds))
    _report(photos, answered, served, tables=not as_json)


@click.command("verify")
@click.argument("first", type=click.Path(path_type=Path), metavar="A")
@click.argument("second", type=click.Path(path_type=Path), metavar="B")
@click.option(
    "--fmr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Decide at the pack's threshold for this false-match rate.  [default: 0.001]",
)
@click.option("--threshold", type=click.FloatRange(-1, 1), help="Decide at this similarity instead.")
@pack_option
def verify_command(first: Path, second: Path, fmr: float | None, threshold: float | None, pack: str | None) -> None:
    """Say whether the largest faces of two photographs are one person's.

    \b
    Examples:
      mien verify passport.jpg selfie.jpg
      mien verify passport.jpg selfie.jpg --fmr 0.0001
    """  # noqa: D301 - click needs the control character
    settings = settings_with(pack=pack, deadline_ms=DEADLINE_MS)
    photos = [read_photo(path) for path in (first, second)]
    for photo in photos:
        if photo.error is not None:
            raise click.ClickException(f"{photo.path}: {photo.error.detail}")
    with opened(settings) as analyzer:
        found = or_exit(lambda: analyzer.verify(photos[0].data, photos[1].data, fmr=fmr, threshold=threshold))
    decided = found.criterion
    click.echo(verdict(found.same, found.similarity, decided.threshold, decided.fmr, found.confidence))


def _progress(num_photos: int) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    hidden = num_photos < 2 or not console.is_terminal
    return Progress(*columns, console=console, transient=True, disable=hidden)


def _answer(result: ImageResult, pack: Pack) -> ImageAnswer:
    """One result in the shape of the HTTP answer."""
    body = analysis_answer(Analysis((result,)), pack, "base64", 0.0)
    return AnalyzeAnswer.model_validate_json(body).images[0]


def _report(photos: Sequence[Path], answered: Answered, pack: Pack, *, tables: bool) -> None:
    """Tables on stdout, a line for each photograph that was not analysed on stderr, and the exit code."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _TABLE_WIDTH
    failed = False
    for path, result in zip(photos, answered.analysis.images, strict=True):
        if result.error is not None:
            failed = True
            click.echo(f"{path}: {result.error.detail}", err=True)
        elif tables:
            click.echo(f"{counted(len(result.faces), 'face')} in {path}")
            if result.faces:
                console.print(faces_table(_answer(result, pack)))
    if failed:
        sys.exit(1)


def _targets(draw: Path, photos: Sequence[Path]) -> Callable[[int], Path]:
    """Where each photograph's picture goes: the named file, a numbered one, or the photograph's name in a folder."""
    is_file = draw.suffix.lower() in _PICTURES and not draw.is_dir()
    if is_file and len(photos) == 1:
        return lambda _: draw
    if is_file:
        return lambda number: draw.with_stem(f"{draw.stem}-{number + 1}")
    if draw.suffix and not draw.is_dir():
        raise click.UsageError(f"--draw {draw}: a picture's name ends in one of {', '.join(sorted(_PICTURES))}")
    stems = [path.stem for path in photos]
    return lambda number: (
        draw / (f"{stems[number]}.png" if stems.count(stems[number]) == 1 else f"{stems[number]}-{number + 1}.png")
    )


def _draw(photo: Photo, answer: ImageAnswer, target: Path) -> None:
    marked = annotate(decode(photo.data, max_pixels=(answer.width or 1) * (answer.height or 1)).pixels, marks(answer))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(marked).save(target)
    except OSError as error:
        raise click.ClickException(f"cannot write {target}: {error.strerror or 'not a picture'}") from None
    click.echo(f"marked: {target}", err=True)
