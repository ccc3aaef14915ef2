"""FAER's CelebA lists: attributes of CelebA's official aligned crops.

Layout (`MyDataset` in github.com/XuJ1E/FAER, FaceAttribute/MtER/image_dataset.py): `train_label.txt` and
`test_label.txt`, no header, lines of `name` and 40 values in CelebA's order, over 0 for yes; images in `train/` and
`test/` beside them. There is no validation list: the test list is it. FAER was trained on these crops squeezed to 224
pixels: `--alignment celeba --side 224`. Never reads a header: there is none.
"""

from collections.abc import Iterator
from pathlib import Path

from model.runtime.labels import ATTRIBUTES
from model.training.data_error import DataError
from model.training.prepare.labels import LabelError, parse_attributes, part_of
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, FaceRow, FileImage, Labels, Reading
from model.training.prepare.sources import ImageFinder, Sources, read_lines

_MALE = ATTRIBUTES.index("male")


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every line of both lists."""
    lists = sources.matching(r"(train|test)_label\.txt")
    if not lists:
        raise DataError(f"{sources.paths[0]} is not laid out as FAER's lists: there is no train_label.txt")
    rows = (row for path in lists for row in _rows(path))
    return Reading(rows, sum(len(read_lines(path)) for path in lists))


def _rows(path: Path) -> Iterator[FaceRow | BadRow]:
    part = part_of(path.stem)
    finder = ImageFinder([path.parent / part, path.parent])
    for line in read_lines(path):
        name = line.words[0]
        try:
            attributes = parse_attributes(line.words[1:])
        except LabelError as error:
            yield BadRow(name, str(error), f"{path.name}, line {line.number}")
            continue
        image = finder.find(name)
        if image is None:
            yield BadRow(name, "no such image")
            continue
        labels = Labels(gender=attributes[_MALE], attributes=attributes)
        yield FaceRow(name, FileImage(image), labels, part, aligned="celeba")


LAYOUT = Layout("FAER's lists", "celeba", read, splits=(("train", "train"), ("test", "val")))
