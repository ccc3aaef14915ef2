"""Sources: what SOURCE names, as paths that come one at a time: a list file, a folder, a glob, or one image.

Reads names and a file's first bytes. Never holds more names than one folder has, and never opens an image.
"""

import csv
import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from service.containers import sniff
from service.errors import UnsupportedImage

_WILD: Final = frozenset("*?[")
_HEAD_BYTES: Final = 32  # what tells formats apart stands in the first bytes
_ANY_DEPTH: Final = "**"


class SourceError(ValueError):
    """SOURCE names nothing that can be read; the message is one line."""


@dataclass(slots=True)
class Source:
    """Images to extract from, in an order that is the same every time.

    Attributes:
        text: SOURCE as it was given.
        root: what the relative paths of a list stand under; None for where the command runs.
        num_passed: files of a folder that were passed over so far because they are no images by their first bytes.
    """

    text: str
    root: Path | None = None
    num_passed: int = field(default=0, init=False)

    def paths(self) -> Iterator[Path]:
        """Every image's path.

        A list's are its lines' first columns, in its order. A folder's files are those under it at any depth that are
        images by their first bytes, by name, folder by folder; a glob's are those that fit it, in the same order.
        Hidden names are left out unless a glob asks for them. Links to folders are followed, never in circles.

        Raises:
            SourceError: if there is no such list or folder, or a list cannot be read as text.
        """
        place = Path(self.text)
        if place.is_dir():
            return self._images(place)
        if place.is_file():
            return iter((place,)) if _is_image(place) else self._listed(place)
        if _WILD & set(self.text):
            return _matching(self.text)
        raise SourceError(f"there is no list, folder or image {self.text}; a glob has one of * ? [")

    def count(self) -> int:
        """How many names there are to look at, for a bar: an upper bound of a folder's images."""
        place = Path(self.text)
        if place.is_dir():
            return sum(1 for _ in _walk(place, ()))
        if place.is_file() and not _is_image(place):
            return sum(1 for line in _lines(place) if line.strip())
        return sum(1 for _ in self.paths())

    def _images(self, folder: Path) -> Iterator[Path]:
        for names in _walk(folder, ()):
            path = folder.joinpath(*names)
            if _is_image(path):
                yield path
            else:
                self.num_passed += 1

    def _listed(self, file: Path) -> Iterator[Path]:
        for line in _lines(file):
            if line.strip():
                name = first_column(line)
                yield Path(name) if self.root is None else self.root / name


def first_column(line: str) -> str:
    """The path that a list's line begins with: all of it where a file of that name is there, else its first column.

    Columns end at a tab, where there is one, or else at a space; a path with spaces may stand in double quotes.
    """
    text = line.strip()
    if "\t" in text:
        return text.partition("\t")[0].strip()
    if " " not in text or _is_there(Path(text)):
        return text
    return next(csv.reader([text], delimiter=" ", skipinitialspace=True))[0]


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # longer than any name can be


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            yield from lines
    except UnicodeDecodeError:
        raise SourceError(f"{file} is neither an image nor a list in UTF-8") from None
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from None


def _is_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            sniff(file.read(_HEAD_BYTES))
    except UnsupportedImage:
        return False
    except OSError:
        return True  # named as an image that cannot be read, which is better than passed over in silence
    return True


def _matching(pattern: str) -> Iterator[Path]:
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if _WILD & set(part))
    folder, wanted = Path(*parts[:fixed]), parts[fixed:]
    for names in _walk(folder, (), wanted):
        if _fits(names, wanted):
            yield folder.joinpath(*names)


def _walk(
    folder: Path, above: tuple[str, ...], wanted: tuple[str, ...] = (_ANY_DEPTH, "*"), seen: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Every file under a folder as the parts of its path, by name; no deeper than what is wanted can lie."""
    here = folder.joinpath(*above)
    seen = (*seen, os.path.realpath(here))
    hidden = any(part.startswith(".") for part in wanted)
    try:
        with os.scandir(here) as entries:
            found = sorted((entry.name, entry.is_dir(), entry.is_file()) for entry in entries)
    except OSError as error:
        raise SourceError(f"{here} cannot be read: {error.strerror}") from None
    deeper = _ANY_DEPTH in wanted or len(above) + 1 < len(wanted)
    for name, is_folder, is_file in found:
        names = (*above, name)
        if name.startswith(".") and not hidden:
            continue
        if is_file:
            yield names
        elif is_folder and deeper and os.path.realpath(folder.joinpath(*names)) not in seen:
            yield from _walk(folder, names, wanted, seen)


def _fits(names: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether a path's parts fit a pattern's, where `**` stands for any number of folders."""
    if not wanted:
        return not names
    if wanted[0] == _ANY_DEPTH:
        rest = wanted[1:] or ("*",)
        return any(_fits(tuple(islice(names, start, None)), rest) for start in range(len(names)))
    return bool(names) and _one_fits(names[0], wanted[0]) and _fits(names[1:], wanted[1:])


def _one_fits(name: str, wanted: str) -> bool:
    return fnmatch.fnmatchcase(name, wanted) and (wanted.startswith(".") or not name.startswith("."))
