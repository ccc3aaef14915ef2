"""Published verification protocols, asked for beside the parquet sets: `.bin` sets and IJB-B/C folders.

Holds what was asked for and the walk over it. Never reads a file's form (see `bins` and `ijb`) and never opens a model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import Progress

from model.training.evaluation.bins import find_bins, measure_bin
from model.training.evaluation.ijb.layout import read_templates
from model.training.evaluation.ijb.protocol import TemplateOptions, measure_templates
from model.training.evaluation.matching import Matching
from model.training.evaluation.subjects import Subject, SubjectError
from model.training.evaluation.validation import progress_bars


@dataclass(frozen=True, slots=True)
class Protocols:
    """What to measure beside the parquet sets.

    Attributes:
        bins: `.bin` files, or folders of them.
        templates: folders of IJB-B or IJB-C.
        options: how faces become vectors; `flip` holds for both kinds.
    """

    bins: tuple[Path, ...] = ()
    templates: tuple[Path, ...] = ()
    options: TemplateOptions = field(default_factory=TemplateOptions)

    def __bool__(self) -> bool:
        return bool(self.bins or self.templates)

    @property
    def arguments(self) -> str:
        """The same as a command line states it."""
        parts = [f"--bin {path}" for path in self.bins] + [f"--ijb {path}" for path in self.templates]
        off = {"flip": self.options.flip}
        if self.templates:
            off |= {"feature-norm": self.options.feature_norm, "detector-score": self.options.detector_score}
        return " ".join([*parts, *(f"--no-{name}" for name, on in off.items() if not on)])


def measure_protocols(subject: Subject, asked: Protocols, batch_size: int) -> Matching:
    """Measures every set that was asked for.

    Raises:
        SubjectError: if the model has no embedding.
        DataError: if a set cannot be used.
        EvaluationError: if an embedding cannot be compared.
    """
    if subject.embed is None:
        raise SubjectError(f"{subject.name} answers no embedding, so it has nothing to verify by")
    found = Matching()
    with progress_bars() as progress:
        for file in [file for path in asked.bins for file in find_bins(path)]:
            _add(found, _bin(file, subject, asked.options.flip, batch_size, progress))
        for folder in asked.templates:
            _add(found, _templates(folder, subject, asked.options, batch_size, progress))
    if not asked.options.flip:
        found.notes.append("embeddings are of the crops alone; the published figures add their mirror images'")
    return found


def _bin(path: Path, subject: Subject, flip: bool, batch_size: int, progress: Progress) -> Matching:
    assert subject.embed is not None
    bar = progress.add_task(path.name, total=None)

    def advance(num: int, total: int) -> None:
        progress.update(bar, advance=num, total=total)

    return measure_bin(path, subject.embed, flip=flip, batch_size=batch_size, progress=advance)


def _templates(
    folder: Path, subject: Subject, options: TemplateOptions, batch_size: int, progress: Progress
) -> Matching:
    assert subject.embed is not None
    with _shown(progress, f"reading {folder}"):
        lists = read_templates(folder)
    faces = progress.add_task(f"{lists.name}, faces", total=len(lists.files))
    pairs = progress.add_task(f"{lists.name}, pairs", total=len(lists.first))
    found = measure_templates(
        lists,
        subject.embed,
        options,
        batch_size=batch_size,
        on_faces=lambda num: progress.advance(faces, num),
        on_pairs=lambda num: progress.advance(pairs, num),
    )
    if options.feature_norm and subject.unit_length:
        found.notes.append(
            f"{lists.name}: a pack's embeddings are of unit length, so their lengths cannot weigh faces as in the "
            "published figures; a checkpoint's can"
        )
    weighed = [name for name, on in (("feature norms", options.feature_norm), ("scores", options.detector_score)) if on]
    found.notes.append(f"{lists.name}: faces weighed by {' and '.join(weighed) or 'nothing'}")
    return found


def _add(found: Matching, more: Matching) -> None:
    found.measures += more.measures
    found.curves += more.curves
    found.notes += more.notes


@contextmanager
def _shown(progress: Progress, text: str) -> Iterator[None]:
    bar = progress.add_task(text, total=None)
    yield
    progress.remove_task(bar)
