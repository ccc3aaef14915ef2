"""Listed pairs: verification sets that say which two images to compare, as the field distributes them.

Holds the finding of the lists that a path names and the opening of each: InsightFace's `.bin` files, LFW's `pairs.txt`
beside its photographs, and this project's `NAME-val-pairs.csv` beside its Parquet files. Never embeds an image and
never compares two. Shape suffixes: P pairs; S crop side.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.errors import ExportError
from model.runtime.detection import Detector
from model.runtime.pack import AnalyzerPart
from model.training.data_error import DataError
from model.training.dataset import read_faces
from model.training.evaluation.pairs import read_pairs
from model.training.prepare.crops import CropError, Cutter
from model.training.prepare.layout import ReadOptions
from model.training.prepare.readers import lfw
from model.training.prepare.rows import FaceRow
from model.training.prepare.sources import Sources
from model.training.prepare.verification_bin import read_bin

LFW_LIST: Final = "pairs.txt"
_TABLE: Final = re.compile(r"(?P<name>.+)-(?P<split>[^-]+)-pairs\.csv")
_SET_ALIGNMENT: Final = "arcface-5pt"  # of the crops in `.bin` files and in this project's sets


@dataclass(frozen=True, slots=True, eq=False)
class ListedPairs:
    """One list of pairs, opened.

    Attributes:
        name: what people call it, by its file.
        crops: of each distinct image what gives its crop, uint8 (S, S, 3), square and of any side.
        first: int64 (P,), indices into `crops`.
        second: int64 (P,), likewise.
        same: bool (P,), whether a pair is one person's.
    """

    name: str
    crops: Sequence[Callable[[], NDArray[np.uint8]]]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Photographs:
    """How LFW's photographs become crops.

    Attributes:
        folder: where they are, if not beside `pairs.txt`.
        aligned: they are crops in the analyzer's alignment already; else the detector finds the face.
    """

    folder: Path | None = None
    aligned: bool = False


def find_lists(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The lists that paths name: files as they are; of a folder its `pairs.txt`, else every `.bin`, else every csv.

    Raises:
        ExportError: if a path is not there, or names no list.
    """
    found = [each for path in paths for each in _lists_of(path)]
    return tuple(dict.fromkeys(path.absolute() for path in found))


def open_list(path: Path, part: AnalyzerPart, detector: Detector, photographs: Photographs) -> ListedPairs:
    """Opens one list.

    Args:
        path: as `find_lists` gives it.
        part: the analyzer that its images are for.
        detector: finds the faces on photographs that are not aligned.
        photographs: LFW's.

    Raises:
        ExportError: if its crops are of another alignment than the analyzer's.
        DataError: if it breaks its form, or names an image that is not there.
    """
    if path.name == LFW_LIST:
        return _open_lfw(path, part, detector, photographs)
    if part.alignment != _SET_ALIGNMENT:
        raise ExportError(f"{path.name} holds {_SET_ALIGNMENT} crops, and {part.file} takes {part.alignment} ones")
    return _open_bin(path) if path.suffix == ".bin" else _open_table(path)


def _lists_of(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix != ".bin" and path.name != LFW_LIST and not _TABLE.fullmatch(path.name):
            raise ExportError(f"{path} is no list of pairs: NAME.bin, {LFW_LIST} and NAME-val-pairs.csv are read")
        return [path]
    if not path.is_dir():
        raise ExportError(f"no list of pairs at {path}")
    if (path / LFW_LIST).is_file():
        return [path / LFW_LIST]
    tables = sorted(each for each in path.glob("*-pairs.csv") if _TABLE.fullmatch(each.name))
    found = sorted(path.glob("*.bin")) or tables
    if not found:
        raise ExportError(f"{path} holds no {LFW_LIST}, no NAME.bin and no NAME-val-pairs.csv")
    return found


def _open_bin(path: Path) -> ListedPairs:
    """A `.bin` repeats an image in each of its pairs: equal bytes are one image here."""
    content = read_bin(path)
    rows: dict[bytes, int] = {}
    index = np.array([rows.setdefault(data, len(rows)) for data in content.images], np.int64)
    first_places = np.unique(index, return_index=True)[1]
    crops = [_crop_of(f"{path.name}: image {at}", data) for at, data in zip(first_places, rows, strict=True)]
    return ListedPairs(path.name, crops, index[0::2], index[1::2], content.same)


def _open_table(path: Path) -> ListedPairs:
    match = _TABLE.fullmatch(path.name)
    assert match is not None, "_lists_of takes no other name"
    table = read_faces(path.parent, match["name"], match["split"])
    pairs = read_pairs(path.parent, match["name"], table.names, match["split"])
    assert pairs is not None, "_lists_of takes no file that is not there"
    rows, index = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)

    def row(number: int) -> Callable[[], NDArray[np.uint8]]:
        return lambda: np.asarray(table.images[number])

    crops = [row(int(number)) for number in rows]
    return ListedPairs(path.name, crops, index[: len(pairs)], index[len(pairs) :], pairs.same)


def _open_lfw(path: Path, part: AnalyzerPart, detector: Detector, photographs: Photographs) -> ListedPairs:
    if part.alignment == "box":
        raise ExportError(f"{part.file} takes crops by the box, and {path.name} is compared on crops by landmarks")
    source = [path.parent] if photographs.folder is None else [path, photographs.folder]
    reading = lfw.LAYOUT.read(Sources(source), ReadOptions("lfw"))
    found = {Path(row.name).stem: row for row in reading.rows if isinstance(row, FaceRow)}
    wanted = list(dict.fromkeys(Path(name).stem for pair in reading.pairs for name in (pair.name_a, pair.name_b)))
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(f"{path} names {missing[0]}, and there is no such photograph ({len(missing)} are missing)")
    cutter = Cutter(part.side_px, part.alignment, None if photographs.aligned else detector)
    aligned = part.alignment if photographs.aligned else None
    crops = [_cut_of(cutter, replace(found[name], aligned=aligned)) for name in wanted]
    place = {name: number for number, name in enumerate(wanted)}
    first, second = (
        np.array([place[Path(getattr(pair, side)).stem] for pair in reading.pairs], np.int64)
        for side in ("name_a", "name_b")
    )
    return ListedPairs(path.name, crops, first, second, np.array([pair.same for pair in reading.pairs], np.bool_))


def _cut_of(cutter: Cutter, row: FaceRow) -> Callable[[], NDArray[np.uint8]]:
    def crop() -> NDArray[np.uint8]:
        try:
            return _decoded(cutter.cut(row))
        except CropError as error:
            raise CropError(f"{row.name}: {error.reason}", error.detail) from error

    return crop


def _crop_of(name: str, data: bytes) -> Callable[[], NDArray[np.uint8]]:
    def crop() -> NDArray[np.uint8]:
        try:
            pixels = _decoded(data)
        except (OSError, ValueError) as error:
            raise DataError(f"{name} cannot be decoded: {str(error).splitlines()[0]}") from error
        if pixels.shape[0] != pixels.shape[1]:
            raise DataError(f"{name} is {pixels.shape[1]} x {pixels.shape[0]}; an aligned crop is square")
        return pixels

    return crop


def _decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
