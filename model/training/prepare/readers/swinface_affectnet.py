"""SwinFace's AffectNet list: an expression in the third column.

Layout (`ExpressionDataset` in SwinFace's analysis/datasets.py, MIT): a header line, then lines of at least three
words, the first the image's name, the third the expression from 0. SwinFace gives these labels and RAF-DB's less one
to one output, so that they count as RAF-DB does: surprise, fear, disgust, happiness, sadness, anger, neutral. Images
lie beside the list or in `data/`. Never shifts a label.
"""

from collections.abc import Iterator
from pathlib import Path

from model.runtime.labels import EXPRESSIONS
from model.training.data_error import DataError
from model.training.prepare.labels import LabelError, parse_class, part_of
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, FaceRow, FileImage, Labels, Reading
from model.training.prepare.sources import ImageFinder, Line, Sources, read_lines


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every line of the lists but their headers."""
    named = [path for path in sources.paths if path.is_file()]
    lists = [(path, read_lines(path)[1:]) for path in named or sources.matching(r".+\.txt")]
    if not any(lines for _, lines in lists):
        raise DataError(f"{sources.paths[0]} is not laid out as SwinFace's AffectNet: there is no list with rows")
    rows = (row for path, lines in lists for row in _rows(path, lines, sources))
    return Reading(rows, sum(len(lines) for _, lines in lists))


def _rows(path: Path, lines: list[Line], sources: Sources) -> Iterator[FaceRow | BadRow]:
    finder = ImageFinder(folder for parent in (path.parent, *sources.folders) for folder in (parent / "data", parent))
    for line in lines:
        name = line.words[0]
        try:
            if len(line.words) < 3:
                raise LabelError("no third column")
            labels = Labels(expression=parse_class(line.words[2], "expression", len(EXPRESSIONS)))
        except LabelError as error:
            yield BadRow(name, str(error), f"{path.name}, line {line.number}")
            continue
        image = finder.find(name)
        if image is None:
            yield BadRow(name, "no such image")
            continue
        yield FaceRow(name, FileImage(image), labels, part_of(path.stem))


LAYOUT = Layout("SwinFace's AffectNet", "affectnet", read)
