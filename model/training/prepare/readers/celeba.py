"""CelebA: 202,599 faces of 10,177 people with 40 attributes and five landmarks.

Layout (Liu et al. 2015; the set's own README.txt): `Img/img_align_celeba/000001.jpg` (178 x 218, aligned) or
`Img/img_celeba/000001.jpg` (in the wild), `Anno/list_attr_celeba.txt` (a count, the 40 names, then a name and 40
values of 1 or -1), `Anno/identity_CelebA.txt` (name, person), `Eval/list_eval_partition.txt` (name; 0 training, 1
validation, 2 test), `Anno/list_landmarks_align_celeba.txt` or `Anno/list_landmarks_celeba.txt` (a count, names, then
a name and ten pixels: left eye, right eye, nose, left and right mouth corner, the viewer's left),
`Anno/list_bbox_celeba.txt` (x, y, width, height). Kaggle's copy has the same tables as `.csv` in one folder. Only
images and attributes must be there: where the landmarks are not, faces are found by the detector, at the box where
that is known. Never trusts the columns' order: attributes are taken by the names in the list's own header.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model.runtime.labels import ATTRIBUTES
from model.training.data_error import DataError
from model.training.prepare.labels import LabelError, parse_attributes
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, Box, FaceRow, FileImage, FivePoints, Labels, Reading
from model.training.prepare.sources import ImageFinder, Sources, read_lines

_PARTS = {"0": "train", "1": "val", "2": "test"}
_ALIGNED = ("img_align_celeba_png", "img_align_celeba")
_WILD = ("img_celeba",)
_MALE = ATTRIBUTES.index("male")


@dataclass(frozen=True, slots=True)
class _Table:
    """One of the set's lists: its columns' names in lower case, and the values of each image."""

    names: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Lists:
    attributes: _Table
    identities: _Table
    parts: _Table
    landmarks: _Table
    boxes: _Table


def read(sources: Sources, options: ReadOptions) -> Reading:
    """Every image that the attributes' list names."""
    attributes = sources.need("CelebA", "list_attr_celeba.txt", "list_attr_celeba.csv")
    aligned = sources.find(*_ALIGNED)
    wild = sources.find(*_WILD)
    is_aligned = aligned is not None or wild is None
    folder = aligned if is_aligned else wild
    # Kaggle's archive holds the folder in a folder of the same name.
    roots = [*([folder, folder / folder.name] if folder is not None else []), *sources.folders]
    points = "list_landmarks_align_celeba" if is_aligned else "list_landmarks_celeba"
    lists = _Lists(
        _read_table(attributes),
        _optional(sources, "identity_CelebA"),
        _optional(sources, "list_eval_partition"),
        _optional(sources, points),
        _Table() if is_aligned else _optional(sources, "list_bbox_celeba"),
    )
    if set(lists.attributes.names) != set(ATTRIBUTES):
        raise DataError(f"{attributes} does not name CelebA's 40 attributes")
    rows = _rows(lists, ImageFinder(roots), options.name, is_aligned=is_aligned)
    return Reading(rows, len(lists.attributes.values))


def _rows(lists: _Lists, finder: ImageFinder, name: str, *, is_aligned: bool) -> Iterator[FaceRow | BadRow]:
    for image, values in lists.attributes.values.items():
        path = finder.find(image, str(Path(image).with_suffix(".png")))
        if path is None:
            yield BadRow(image, "no such image")
            continue
        try:
            attributes = parse_attributes(values, lists.attributes.names)
        except LabelError as error:
            yield BadRow(image, str(error))
            continue
        person = lists.identities.values.get(image)
        labels = Labels(
            identity=f"{name}:{person[0]}" if person else None, gender=attributes[_MALE], attributes=attributes
        )
        part = _PARTS.get("".join(lists.parts.values.get(image, ())), "")
        points, box = _points(lists.landmarks.values.get(image)), _box(lists.boxes.values.get(image))
        yield FaceRow(image, FileImage(path), labels, part, points, box, aligned="celeba" if is_aligned else None)


def _points(texts: tuple[str, ...] | None) -> FivePoints | None:
    if texts is None or len(texts) != 10 or not all(text.lstrip("-").isdecimal() for text in texts):
        return None
    x1, y1, x2, y2, x3, y3, x4, y4, x5, y5 = map(float, texts)
    return ((x1, y1), (x2, y2), (x3, y3), (x4, y4), (x5, y5))


def _box(texts: tuple[str, ...] | None) -> Box | None:
    if texts is None or len(texts) != 4 or not all(text.isdecimal() for text in texts):
        return None
    x, y, width, height = map(float, texts)
    # Some of the set's boxes are empty.
    return (x, y, x + width, y + height) if width and height else None


def _optional(sources: Sources, stem: str) -> _Table:
    path = sources.find(f"{stem}.txt", f"{stem}.csv")
    return _Table() if path is None else _read_table(path)


def _read_table(path: Path) -> _Table:
    names: tuple[str, ...] = ()
    values: dict[str, tuple[str, ...]] = {}
    for line in read_lines(path, "," if path.suffix.lower() == ".csv" else None):
        first, *rest = line.words
        if Path(first).suffix.lower() in (".jpg", ".png"):
            values[first] = tuple(rest)
        elif rest:
            names = tuple(word.lower() for word in line.words if word.lower() != "image_id")
    return _Table(names, values)


LAYOUT = Layout("CelebA", "celeba", read)
