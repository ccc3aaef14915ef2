"""The command `mien extract`: images of any number into a folder of embeddings or a file of rows.

Holds options, what goes where, and what is said. Never analyses anything itself.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Final

import click

from model.runtime.labels import Task
from model.runtime.pack import Pack
from service import tables
from service.analysis import Options
from service.extract.extraction import Extraction
from service.extract.forms import CsvForm, JsonlForm, ParquetForm, PredictForm, RowForm
from service.extract.marks import Counts, MarkError
from service.extract.progress import progress_bar, say
from service.extract.rows import PREDICTED
from service.extract.sources import Source, SourceError
from service.extract.targets import NpyFolder, RowFile, Target, TargetError
from service.opening import DEADLINE_MS, chosen_tasks, opened, pack_option, settings_with, stated
from service.schemas import MIN_SCORE
from service.settings import Settings
from service.words import counted

_SUFFIXES: Final = (".csv", ".jsonl", ".parquet", ".txt")
_STOPPED: Final = 130  # as a shell tells of a command that Ctrl-C ended
# What is wrong with a run as a whole; each message is one line.
_REFUSALS: Final = (SourceError, TargetError, MarkError, tables.TablesError)


@dataclass(frozen=True, slots=True)
class _Wish:
    """Where results are to go, and how."""

    out: str
    resume: bool
    overwrite: bool

    @property
    def suffix(self) -> str:
        """`.csv`, `.jsonl`, `.parquet`, `.txt`, or nothing for a folder."""
        path = Path(self.out)
        if self.out.endswith("/") or path.is_dir() or not path.suffix:
            return ""
        if path.suffix.lower() not in _SUFFIXES:
            raise click.UsageError(
                f"--out {path}: a file of rows ends in one of {', '.join(_SUFFIXES)}; a folder's name ends in /"
            )
        return path.suffix.lower()


@click.command("extract")
@click.argument("source", metavar="SOURCE")
@click.option("--out", required=True, metavar="TARGET", help="A folder, or a .csv, .jsonl, .parquet or .txt file.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="What a list's paths stand under.  [default: where the command runs]",
)
@click.option(
    "--tasks",
    metavar="TASK,...",
    help="What to answer, such as embedding,age.  [default: all that the pack has and TARGET takes]",
)
@click.option(
    "--aligned", is_flag=True, help="Each image is one aligned crop, which is not searched for faces; the fastest."
)
@click.option(
    "--max-faces",
    type=click.IntRange(1),
    help="At most so many faces an image, largest first.  [default: all; of a folder and a .txt 1]",
)
@click.option("--min-score", type=click.FloatRange(MIN_SCORE, 1), help="Least detection score.  [default: the pack's]")
@click.option(
    "--min-face", type=click.FloatRange(0), default=0, help="Least length of a face's shorter side in pixels."
)
@click.option("--batch", type=click.IntRange(1, 64), help="Faces in one run.  [default: 8 on the CPU, 64 on a GPU]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where the graphs run.  [default: cpu]")
@click.option("--resume", is_flag=True, help="Go on where a run was stopped or killed; skip what is there.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@pack_option
def extract_command(
    source: str, out: str, root: Path | None, tasks: str | None, aligned: bool, max_faces: int | None,
    min_score: float | None, min_face: float, batch: int | None, device: str | None, resume: bool, overwrite: bool,
    pack: str | None,
) -> None:  # fmt: skip
    """Extract embeddings or full predictions from many images, in this process.

    SOURCE is a folder (every image under it, by content), a glob in quotes, a list file (a path a line; further
    columns are ignored), or one image. TARGET's form decides what is written, in SOURCE's order:

    \b
      FOLDER/        one .npy an image: FOLDER/<image's folder>/<stem>.npy, the largest face's embedding, float32;
                     with --max-faces over 1 <stem>_1.npy, <stem>_2.npy and so on, largest first
      .csv .parquet  a row a face: path, box, landmarks, score, quality, every task, embedding
      .jsonl         the same, each row as POST /analyze answers a face
      .txt           a row an image, of its largest face: path race gender age, as face_analysis_pytorch's lists

    A bad image is named on stderr and counted; the others are answered, and the exit code is 1.

    \b
    Examples:
      mien extract photos/ --out faces.parquet
      mien extract crops.txt --root crops --aligned --out features/
      mien extract 'photos/**/*.jpg' --out faces.csv --tasks embedding,age --resume
    """  # noqa: D301 - click needs the control character
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    wish = _Wish(out, resume, overwrite)
    settings = settings_with(pack=pack, device=device, max_batch=batch, deadline_ms=DEADLINE_MS)
    served = stated(settings.pack)
    chosen = _tasks_for(wish.suffix, chosen_tasks(tasks, served.tasks), served)
    one = wish.suffix in ("", ".txt")
    options = Options(chosen, max_faces or (1 if one else None), min_score, min_face, aligned)
    if wish.suffix == ".txt" and options.max_faces != 1:
        raise click.UsageError("a .txt has one row an image: --max-faces is 1")
    if wish.suffix and Path(out).exists() and Path(source).exists() and Path(out).samefile(source):
        raise click.UsageError("--out is SOURCE itself")
    _check_aligned(options, served)
    try:
        sys.exit(_run(Source(source, root), wish, options, settings, served))
    except _REFUSALS as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot write {out}: {error.strerror or error}") from None


def _tasks_for(suffix: str, chosen: tuple[Task, ...] | None, pack: Pack) -> tuple[Task, ...]:
    """What TARGET takes of what the pack has, or of what was asked for."""
    takes: dict[str, tuple[Task, ...]] = {"": ("embedding",), ".txt": PREDICTED}
    taken = takes.get(suffix, pack.tasks)
    form = "a folder" if suffix == "" else f"a {suffix} file"
    if chosen is not None and (other := [task for task in chosen if task not in taken]):
        raise click.UsageError(f"{form} holds {', '.join(taken)} alone, not {other[0]}")
    found = chosen or tuple(task for task in pack.tasks if task in taken)
    if not found:
        raise click.ClickException(f"the pack {pack.name} has nothing that {form} holds: {', '.join(taken)}")
    return found


def _check_aligned(options: Options, pack: Pack) -> None:
    """Refuses crops of one alignment for analyzers of several, before every image is found bad by itself."""
    tasks: dict[str, list[Task]] = {}
    for part in pack.analyzers:
        scale = "" if part.box_scale is None else f" at {part.box_scale:g}"
        tasks.setdefault(f"{part.alignment}{scale}", []).extend(task for task in part.tasks if task in options.tasks)
    needed = {alignment: names for alignment, names in tasks.items() if names}
    if options.aligned and len(needed) > 1:
        said = "; ".join(f"{alignment}: {','.join(names)}" for alignment, names in needed.items())
        raise click.UsageError(f"--aligned with tasks of several alignments: choose one's by --tasks ({said})")


def _target(wish: _Wish, options: Options, pack: Pack) -> Target:
    """Where results go.

    Raises:
        TablesError: if it is Parquet, and pyarrow is missing.
    """
    path = Path(wish.out)
    if not wish.suffix:
        several = options.max_faces != 1
        return NpyFolder(path, several=several, resume=wish.resume, overwrite=wish.overwrite)
    if wish.suffix == ".parquet":
        tables.check()
    facts = _facts(options, pack)
    space = pack.embedding_space
    forms: dict[str, Callable[[], RowForm]] = {
        ".csv": lambda: CsvForm(options.tasks, space),
        ".jsonl": lambda: JsonlForm(space),
        ".txt": PredictForm,
        ".parquet": lambda: ParquetForm(options.tasks, space, {f"mien.{name}": text for name, text in facts.items()}),
    }
    one = wish.suffix == ".txt"
    form = forms[wish.suffix]()
    return RowFile(path, form, facts, resume=wish.resume, overwrite=wish.overwrite, one_an_image=one)


def _facts(options: Options, pack: Pack) -> dict[str, str]:
    """What rows depend on, by name."""
    return {
        "pack": f"{pack.name} {pack.version}",
        "graphs": " ".join(part.sha256[:16] for part in (pack.detector, *pack.analyzers)),
        "tasks": ",".join(options.tasks),
        "aligned": str(options.aligned).lower(),
        "max-faces": str(options.max_faces or "all"),
        "min-score": str(options.min_score or "the pack's"),
        "min-face": f"{options.min_face:g}",
    }


def _run(source: Source, wish: _Wish, options: Options, settings: Settings, pack: Pack) -> int:
    """Extracts, says what became of it, and gives the exit code."""
    target = _target(wish, options, pack)
    paths = source.paths()
    first = next(paths, None)
    if first is None:
        raise SourceError(f"there is no image in {source.text}")
    paths = chain((first,), paths)
    started = time.monotonic()
    with ExitStack() as stack:
        analyzer = stack.enter_context(opened(settings))
        counts = target.begin(paths)
        if counts is None:
            click.echo(f"{wish.out} was finished before: nothing is left to do", err=True)
            return 0
        before = counts.images
        progress = stack.enter_context(progress_bar("images"))
        total = 0 if progress.disable else Source(source.text, source.root).count()
        bar = progress.add_task("extracting", total=total, completed=before)

        def told(path: Path, line: str | None) -> None:
            if line is not None:
                say(progress, f"{path}: {line}")
            progress.update(bar, completed=extraction.counts.images + extraction.counts.skipped + source.num_passed)

        extraction = Extraction(analyzer, options, target, counts, told)
        with _stopping(extraction.stop):
            through = extraction.run(paths)
        counts = extraction.counts
        if through:
            target.finish()
        else:
            target.stop(counts)
    click.echo(_summary(counts, counts.images - before, time.monotonic() - started, source.num_passed), err=True)
    if not through:
        click.echo("stopped; the same command with --resume goes on", err=True)
        return _STOPPED
    return 1 if counts.bad else 0


def _summary(counts: Counts, now: int, seconds: float, num_passed: int) -> str:
    parts = [counted(counts.images, "image"), counted(counts.faces, "face"), f"{counts.bad:,} bad"]
    parts += [f"{counts.faceless:,} without a face"] if counts.faceless else []
    parts += [f"{counts.skipped:,} there already"] if counts.skipped else []
    parts += [f"{counted(num_passed, 'file')} passed over: no images"] if num_passed else []
    return f"{', '.join(parts)}; {now:,} in {seconds:.1f} s, {now / max(seconds, 1e-9):.1f} images/s"


@contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the run in order; a second one ends it at once, as a kill would."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def once(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
        signal.signal(number, before[signal.Signals(number)])
        stop()

    for number in before:
        signal.signal(number, once)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
