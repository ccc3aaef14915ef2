"""SwinFace's age and gender lists: IMDB, WIKI, Adience and MORPH as its training reads them, and FG-NET's.

Layout (`AgeGenderDataset` and `FGnetDataset` in SwinFace's analysis/datasets.py, MIT): a folder a set, `label.txt` in
it with a header line and then `name age gender`, images in `data/` beside it. Gender 1.0 is male; rows with a `nan`
are skipped. FG-NET's list has a name and an age alone. Never takes one row's gender without its age.
"""

from collections.abc import Iterator
from pathlib import Path

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError, parse_age, parse_class, part_of
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, FaceRow, FileImage, Labels, Reading
from model.training.prepare.sources import ImageFinder, Line, Sources, read_lines


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every line of the lists but their headers."""
    named = [path for path in sources.paths if path.is_file()]
    lists = [(path, read_lines(path)[1:]) for path in named or sources.matching(r"label.*\.txt")]
    if not any(lines for _, lines in lists):
        raise DataError(f"{sources.paths[0]} is not laid out as SwinFace's ages: there is no label.txt with rows")
    rows = (row for path, lines in lists for row in _rows(path, lines))
    return Reading(rows, sum(len(lines) for _, lines in lists))


def _rows(path: Path, lines: list[Line]) -> Iterator[FaceRow | BadRow]:
    finder = ImageFinder([path.parent / "data", path.parent])
    for line in lines:
        name = f"{path.parent.name}/{line.words[0]}"
        try:
            labels = _labels(line)
        except LabelError as error:
            yield BadRow(name, str(error), f"{path.name}, line {line.number}")
            continue
        image = finder.find(line.words[0])
        if image is None:
            yield BadRow(name, "no such image")
            continue
        yield FaceRow(name, FileImage(image), labels, part_of(path.stem))


def _labels(line: Line) -> Labels:
    if len(line.words) == 2:
        return Labels(age=parse_age(line.words[1]))
    if len(line.words) != 3:
        raise LabelError("not name, age and gender")
    return Labels(age=parse_age(line.words[1]), gender=parse_class(line.words[2], "gender", 2))


LAYOUT = Layout("SwinFace's ages", "ages", read)
