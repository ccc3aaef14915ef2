"""Sets whose labels stand in the images' own names.

Holds what their readers share. Never knows a naming by itself: each reader brings its own.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError
from model.training.prepare.rows import BadRow, FaceRow, FileImage, Labels, Reading
from model.training.prepare.sources import Sources


def read_by_name(sources: Sources, title: str, parse: Callable[[str], tuple[Labels, str | None]]) -> Reading:
    """Reads a set by its images' names.

    Args:
        sources: folders of images, or images.
        title: what people call the set.
        parse: labels and group of a file name; raises LabelError if it is none of the set's.

    Raises:
        DataError: if there is no image, or none is named as the set's are.
    """
    paths = list(sources.images())
    if not paths:
        raise DataError(f"{', '.join(map(str, sources.paths))} is not laid out as {title}: there is no image")
    if not any(_is_one(path.name, parse) for path in paths):
        raise DataError(f"{paths[0]} is not laid out as {title}: no image is named as its images are")
    return Reading(_rows(paths, parse), len(paths))


def _is_one(name: str, parse: Callable[[str], tuple[Labels, str | None]]) -> bool:
    try:
        parse(name)
    except LabelError:
        return False
    return True


def _rows(paths: list[Path], parse: Callable[[str], tuple[Labels, str | None]]) -> Iterator[FaceRow | BadRow]:
    for path in paths:
        try:
            labels, group = parse(path.name)
        except LabelError as error:
            yield BadRow(path.name, str(error))
        else:
            yield FaceRow(path.name, FileImage(path), labels, group=group)
