"""RAF-DB, basic: 15,339 faces with one of seven expressions.

Layout (Li, Deng, Du 2017; the set's own readme): `basic/EmoLabel/list_patition_label.txt` of lines `train_00001.jpg
5`, labels from 1 (surprise, fear, disgust, happiness, sadness, anger, neutral), the part in the name;
`basic/Image/original/train_00001.jpg` or `basic/Image/aligned/train_00001_aligned.jpg` (100 x 100);
`basic/Annotation/manual/train_00001_manu_attri.txt`: five lines of a landmark on the original, then gender (0 male, 1
female, 2 unsure), race (0 Caucasian, 1 African-American, 2 Asian) and an age group, which is too wide to be an age.
Originals are taken where they are there, with these landmarks. There is no validation part: the test part is it.
Never makes an age of the set's age group.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from model.runtime.labels import EXPRESSIONS
from model.training.prepare.labels import LabelError, parse_class
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, FaceRow, FileImage, FivePoints, Labels, Reading
from model.training.prepare.sources import ImageFinder, Line, Sources, read_lines

_GENDERS: Final = {"0": 1, "1": 0}
_RACES: Final = {"0": 0, "1": 1, "2": 2}
_NUM_LINES: Final = 8


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every line of the list."""
    lines = read_lines(sources.need("RAF-DB", "list_patition_label.txt", "list_partition_label.txt"))
    return Reading(_rows(lines, sources), len(lines))


def _rows(lines: list[Line], sources: Sources) -> Iterator[FaceRow | BadRow]:
    images, manual = sources.find("Image"), sources.find("manual")
    roots = [*([images / "original", images / "aligned"] if images is not None else []), *sources.folders]
    finder = ImageFinder(roots)
    for line in lines:
        name = line.words[0]
        stem = Path(name).stem
        path = finder.find(name, f"{stem}_aligned.jpg")
        if path is None:
            yield BadRow(name, "no such image")
            continue
        try:
            labels = Labels(expression=_expression(line))
        except LabelError as error:
            yield BadRow(name, str(error), f"line {line.number}")
            continue
        points = None
        if manual is not None and not path.stem.endswith("_aligned"):
            points, labels = _annotation(manual / f"{stem}_manu_attri.txt", labels)
        yield FaceRow(name, FileImage(path), labels, name.split("_", 1)[0], points)


def _expression(line: Line) -> int:
    if len(line.words) != 2:
        raise LabelError("not a name and a label")
    label = parse_class(line.words[1], "expression", len(EXPRESSIONS) + 1)
    if label == 0:
        raise LabelError("expression is out of range")
    return label - 1


def _annotation(path: Path, labels: Labels) -> tuple[FivePoints | None, Labels]:
    """Landmarks and further labels of the file; nothing more than before where it is not there or broken."""
    if not path.is_file():
        return None, labels
    lines = read_lines(path)
    try:
        points = tuple((float(x), float(y)) for x, y in (line.words for line in lines[:5]))
    except ValueError:
        return None, labels
    if len(lines) < _NUM_LINES or len(points) != 5:
        return None, labels
    gender, race = _GENDERS.get(lines[5].words[0]), _RACES.get(lines[6].words[0])
    return (points[0], points[1], points[2], points[3], points[4]), replace(labels, gender=gender, race=race)


LAYOUT = Layout("RAF-DB", "rafdb", read, splits=(("train", "train"), ("test", "val")))
