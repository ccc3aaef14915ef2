"""CLAP2015 (ChaLearn Looking at People, ICCV 2015): 4,691 photographs with the age that people guessed.

Layout: `Train.csv`, `Valid.csv` or `Reference.csv`, `Test.csv`, each of lines `image_1.jpg;mean;sigma`, and the
images in a folder of the list's name or beside it. Source: `LAPDataset` in SwinFace's analysis/datasets.py (MIT),
which reads the organisers' files. The mean is the age, the standard deviation goes into the column `age_sigma`, which
the epsilon-error needs. A first line that is a header is passed over; commas separate as well as semicolons. Never
rounds an age: the mean is one of guesses.
"""

from collections.abc import Iterator
from pathlib import Path

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError, parse_age, part_of
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, FaceRow, FileImage, Labels, Reading
from model.training.prepare.sources import ImageFinder, Line, Sources, read_lines


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every line of the lists."""
    lists = [(path, _lines(path)) for path in sources.matching(r".+\.csv")]
    if not any(lines for _, lines in lists):
        raise DataError(f"{sources.paths[0]} is not laid out as CLAP2015: there is no csv of name;mean;sigma")
    rows = (row for path, lines in lists for row in _rows(path, lines, sources))
    return Reading(rows, sum(len(lines) for _, lines in lists))


def _lines(path: Path) -> list[Line]:
    lines = read_lines(path, ";")
    if lines and len(lines[0].words) == 1:
        lines = read_lines(path, ",")
    is_header = bool(lines) and len(lines[0].words) >= 3 and not lines[0].words[1].replace(".", "", 1).isdecimal()
    return lines[1:] if is_header else lines


def _rows(path: Path, lines: list[Line], sources: Sources) -> Iterator[FaceRow | BadRow]:
    parents = [path.parent, *sources.folders]
    named = [parent / name for parent in parents for name in (path.stem, path.stem.lower(), "images")]
    finder = ImageFinder([*named, *parents])
    for line in lines:
        name = line.words[0]
        image = finder.find(name)
        if image is None:
            yield BadRow(name, "no such image")
            continue
        try:
            labels = _labels(line)
        except LabelError as error:
            yield BadRow(name, str(error), f"{path.name}, line {line.number}")
            continue
        yield FaceRow(name, FileImage(image), labels, part_of(path.stem))


def _labels(line: Line) -> Labels:
    if len(line.words) < 3:
        raise LabelError("not name, mean and sigma")
    return Labels(age=parse_age(line.words[1]), age_sigma=parse_age(line.words[2]))


LAYOUT = Layout("CLAP2015", "clap2015", read, has_age_sigma=True)
