"""Sources: the files and folders that a person named, and what is found in them.

Holds the search for a set's files by name and the reading of text lists. Never decodes an image and never knows one
set from another.
"""

import csv
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from model.training.data_error import DataError

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a text list: its number, from 1, and its words."""

    number: int
    words: tuple[str, ...]


class Sources:
    """What a person named after KIND.

    Attributes:
        paths: files and folders, each there.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Takes the paths.

        Raises:
            DataError: if one of them is not there.
        """
        missing = [path for path in paths if not path.exists()]
        if missing:
            raise DataError(f"no file or folder at {missing[0]}")
        self.paths = tuple(paths)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Each named folder, and the folder of each named file, once."""
        return tuple(dict.fromkeys(path if path.is_dir() else path.parent for path in self.paths))

    def find(self, *names: str) -> Path | None:
        """The folder, or file that is no image, of the first of these names that there is; the shallowest one.

        Case does not count.
        """
        wanted = [name.lower() for name in names]
        found: dict[str, Path] = {}
        for path in self._entries:
            if path.name.lower() in wanted:
                found.setdefault(path.name.lower(), path)
        return next((found[name] for name in wanted if name in found), None)

    def need(self, title: str, *names: str) -> Path:
        """`find`, where a set is not itself without the file.

        Raises:
            DataError: if there is none.
        """
        path = self.find(*names)
        if path is None:
            where = ", ".join(map(str, self.paths))
            raise DataError(f"{where} is not laid out as {title}: there is no {' and no '.join(names)}")
        return path

    def matching(self, pattern: str) -> list[Path]:
        """Every file but images whose whole name matches a regular expression, whatever its case; sorted by path."""
        expression = re.compile(pattern, re.IGNORECASE)
        return sorted(path for path in self._entries if expression.fullmatch(path.name) and path.is_file())

    def images(self) -> Iterator[Path]:
        """Every image file, in a fixed order, folder after folder."""
        for path in self.paths:
            yield from _images_below(path)

    @cached_property
    def _entries(self) -> list[Path]:
        """Folders and all files but images, shallow ones first, in the order of their names; sought once."""
        found, level = list(self.paths), [path for path in self.paths if path.is_dir()]
        while level:
            deeper: list[Path] = []
            for folder in level:
                for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                    if entry.is_dir():
                        deeper.append(Path(entry.path))
                        found.append(Path(entry.path))
                    elif Path(entry.name).suffix.lower() not in IMAGE_SUFFIXES:
                        found.append(Path(entry.path))
            level = deeper
        return found


class ImageFinder:
    """Finds images that a list names, in a few folders that may hold them."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = list(dict.fromkeys(root for root in roots if root.is_dir()))

    def find(self, *names: str) -> Path | None:
        """The file under the first root that has one of these names (each relative to a root, or absolute)."""
        for place, root in enumerate(self._roots):
            for name in names:
                if (root / name).is_file():
                    # The next image is most likely where this one was.
                    self._roots.insert(0, self._roots.pop(place))
                    return root / name
        return None


def read_lines(path: Path, separator: str | None = None) -> list[Line]:
    """The lines of a text list that are not blank, each cut into words.

    Args:
        path: the list.
        separator: between words; any white space by default.

    Raises:
        DataError: if it cannot be read as text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text: {error}") from error
    lines = enumerate(text.splitlines(), 1)
    return [Line(number, _words(line, separator)) for number, line in lines if line.strip()]


def read_table(path: Path, needed: Sequence[str], delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a table with a header, by column name in lower case, white space around names and values cut off.

    Raises:
        DataError: if it cannot be read, or lacks a column that is needed.
    """
    # One cell of FER2013's table holds 48 x 48 numbers, under the csv module's limit of 131,072 characters.
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=delimiter != "\t")
            header = [name.strip().lower() for name in next(reader, [])]
            missing = [name for name in needed if name not in header]
            if missing:
                raise DataError(f"{path} lacks the column {missing[0]!r}")
            for values in reader:
                yield dict(zip(header, (value.strip() for value in values), strict=False))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no table: {error}") from error


def count_lines(path: Path) -> int:
    """How many lines a file has, for a progress bar.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return sum(1 for _ in file)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _words(line: str, separator: str | None) -> tuple[str, ...]:
    words = (word.strip() for word in line.split(separator)) if separator else line.split()
    # A list of attributes holds the same few words millions of times.
    return tuple(map(sys.intern, words))


def _images_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            yield path
        return
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _images_below(Path(entry.path))
        elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
            yield Path(entry.path)
