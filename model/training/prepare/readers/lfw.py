"""LFW: 13,233 photographs of 5,749 people, and the ten-fold pairs.

Layout (Huang et al. 2007; the set's own README.txt): `lfw/NAME/NAME_0001.jpg` (250 x 250; the funneled versions are
laid out alike) and `pairs.txt`: a line of folds and pairs a fold, then for each fold lines of `name n1 n2` (one
person) and as many of `name1 n1 name2 n2` (two). Everything is validation: LFW is never trained on.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from model.training.data_error import DataError
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import FaceRow, FileImage, Labels, Pair, Reading
from model.training.prepare.sources import Line, Sources, read_lines

_NAME = re.compile(r"(?P<person>.+)_\d{4}")


def read(sources: Sources, options: ReadOptions) -> Reading:
    """Every photograph in a folder of its person's name, and the pairs."""
    pairs = _read_pairs(sources.need("LFW", "pairs.txt"))
    paths = [path for path in sources.images() if _person(path) is not None]
    if not paths:
        raise DataError(f"{sources.paths[0]} is not laid out as LFW: there is no NAME/NAME_0001.jpg")
    return Reading(_rows(paths, options.name), len(paths), pairs)


def _person(path: Path) -> str | None:
    match = _NAME.fullmatch(path.stem)
    return match["person"] if match and match["person"] == path.parent.name else None


def _rows(paths: list[Path], name: str) -> Iterator[FaceRow]:
    for path in paths:
        yield FaceRow(path.name, FileImage(path), Labels(identity=f"{name}:{_person(path)}"))


def _read_pairs(path: Path) -> tuple[Pair, ...]:
    head, *lines = read_lines(path)
    if not all(word.isdecimal() for word in head.words) or len(head.words) > 2:
        raise DataError(f"{path}, line {head.number}: there are no folds and pairs a fold")
    # The development lists have one fold, and say the pairs alone.
    num_folds, num_pairs = (1, int(head.words[0])) if len(head.words) == 1 else map(int, head.words)
    if len(lines) != 2 * num_folds * num_pairs:
        raise DataError(f"{path} holds {len(lines)} pairs, not {2 * num_folds * num_pairs}")
    return tuple(_pair(line, number // (2 * num_pairs), path) for number, line in enumerate(lines))


def _pair(line: Line, fold: int, path: Path) -> Pair:
    words = line.words
    if len(words) == 3 and words[1].isdecimal() and words[2].isdecimal():
        return Pair(fold, _file(words[0], words[1]), _file(words[0], words[2]), same=True)
    if len(words) == 4 and words[1].isdecimal() and words[3].isdecimal():
        return Pair(fold, _file(words[0], words[1]), _file(words[2], words[3]), same=False)
    raise DataError(f"{path}, line {line.number}: neither `name n1 n2` nor `name1 n1 name2 n2`")


def _file(person: str, number: str) -> str:
    return f"{person}_{int(number):04d}.jpg"


LAYOUT = Layout("LFW", "lfw", read, default_split="val")
