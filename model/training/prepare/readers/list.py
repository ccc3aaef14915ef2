"""face_analysis_pytorch's lists: `path race gender age`, or `path person`.

Layout (`ImageList` in github.com/vitoralbiero/face_analysis_pytorch, data/data_loader_train.py, MIT): no header,
words separated by one blank; races 0 to 4 (Caucasian, African-American, Asian, Indian, other), gender 0 female, 1
male, ages 0 to 100; paths from a folder of images, or absolute. The published loader reads one label at a time and
drops rows where it is negative or over the largest class. `--label` does so here; without it a row keeps the labels
that are in range, and is left out where none is. Never takes a label that is out of range.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError, part_of
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, FaceRow, FileImage, LabelName, Labels, Reading
from model.training.prepare.sources import IMAGE_SUFFIXES, ImageFinder, Line, Sources, read_lines

LARGEST: Final = {"race": 4, "gender": 1, "age": 100}
_FOUR: Final[tuple[LabelName, ...]] = ("race", "gender", "age")


def read(sources: Sources, options: ReadOptions) -> Reading:
    """Every line of the lists."""
    named = [path for path in sources.paths if path.is_file()]
    lists = [(path, read_lines(path)) for path in named or sources.matching(r".+\.(txt|lst|list)")]
    lists = [(path, lines) for path, lines in lists if lines and len(lines[0].words) in (2, 4) and _is_list(lines)]
    if not lists:
        raise DataError(f"{sources.paths[0]} holds no list of `path race gender age` or `path person`")
    rows = (row for path, lines in lists for row in _rows(path, lines, sources, options))
    return Reading(rows, sum(len(lines) for _, lines in lists))


def parse_labels(words: tuple[str, ...], set_name: str, label: LabelName | None) -> Labels:
    """Labels of a line's words after the path.

    Args:
        words: one (a person), or three (race, gender, age).
        set_name: goes before a person.
        label: the only one that counts; all by default.

    Raises:
        LabelError: if there is another number of words, one is no whole number, or none that counts is in range.
    """
    if len(words) not in (1, len(_FOUR)):
        raise LabelError("neither a person nor race, gender and age")
    names: tuple[LabelName, ...] = ("identity",) if len(words) == 1 else _FOUR
    try:
        numbers = {name: int(float(word)) for name, word in zip(names, words, strict=True)}
    except (ValueError, OverflowError) as error:
        raise LabelError("a label is no number") from error
    counted = {
        name: number
        for name, number in numbers.items()
        if label in (None, name) and 0 <= number <= LARGEST.get(name, number)
    }
    if not counted:
        raise LabelError("every label is out of range")
    age, person = counted.get("age"), counted.get("identity")
    return Labels(
        identity=None if person is None else f"{set_name}:{person}",
        age=None if age is None else float(age),
        gender=counted.get("gender"),
        race=counted.get("race"),
    )


def _is_list(lines: list[Line]) -> bool:
    return Path(lines[0].words[0]).suffix.lower() in IMAGE_SUFFIXES


def _rows(path: Path, lines: list[Line], sources: Sources, options: ReadOptions) -> Iterator[FaceRow | BadRow]:
    finder = ImageFinder([*sources.folders, path.parent])
    for line in lines:
        name = line.words[0]
        try:
            labels = parse_labels(line.words[1:], options.name, options.label)
        except LabelError as error:
            yield BadRow(name, str(error), f"{path.name}, line {line.number}")
            continue
        image = finder.find(name)
        if image is None:
            yield BadRow(name, "no such image")
            continue
        yield FaceRow(name, FileImage(image), labels, part_of(path.stem))


LAYOUT = Layout("a list", "", read)
