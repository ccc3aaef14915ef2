"""The folder in which IJB-B and IJB-C are distributed for the template protocol, read into arrays.

`meta/ijbc_face_tid_mid.txt` (image, template, media), `meta/ijbc_name_5pts_score.txt` (image, five landmarks, the
detector's score, one line a face in the same order), `meta/ijbc_template_pair_label.txt` (template, template, 1 or 0)
and `loose_crop/` with the images; `ijbb_` for IJB-B. Fields are parted by single spaces. Never decodes an image.
Shape suffixes: F faces; T templates; P pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from model.training.dataset import DataError

NAMES: Final = ("ijbb", "ijbc")
META: Final = "meta"
IMAGES: Final = "loose_crop"
_POINTS: Final = tuple(f"{axis}{number}" for number in range(5) for axis in "xy")


@dataclass(frozen=True, slots=True)
class TemplateSet:
    """A template protocol's lists.

    Attributes:
        name: `ijbb` or `ijbc`.
        images: the folder of loose crops.
        files: (F,) an image's name in it, a face.
        landmarks: float32 (F, 5, 2), pixels of that image.
        score: float32 (F,), the detector's.
        template: int64 (F,), a row of `template_ids`.
        media: int64 (F,), the media's number; equal ones within a template are one video, or one picture.
        template_ids: int64 (T,), ascending.
        first: int32 (P,), a row of `template_ids`.
        second: int32 (P,), as `first`.
        same: bool (P,), whether both templates are one person's.
    """

    name: str
    images: Path
    files: tuple[str, ...]
    landmarks: NDArray[np.float32]
    score: NDArray[np.float32]
    template: NDArray[np.int64]
    media: NDArray[np.int64]
    template_ids: NDArray[np.int64]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    same: NDArray[np.bool_]


def read_templates(folder: Path) -> TemplateSet:
    """Reads the lists; the 15.7 million pairs of IJB-C take 15 s, and 1.7 GB while they are read.

    Raises:
        DataError: if a file is missing or breaks the form, if both face lists disagree, or if a pair names a template
            without faces.
    """
    name = _which(folder)
    meta = folder / META
    faces_path, points_path = meta / f"{name}_face_tid_mid.txt", meta / f"{name}_name_5pts_score.txt"
    faces = _read(faces_path, {"file": pa.string(), "template": pa.int64(), "media": pa.int64()})
    points = _read(points_path, {"file": pa.string(), **dict.fromkeys((*_POINTS, "score"), pa.float32())})
    files = tuple(faces["file"].to_pylist())
    _check_order(files, tuple(points["file"].to_pylist()), faces_path, points_path)
    template_ids, template = np.unique(_column(faces, "template"), return_inverse=True)
    pairs_path = meta / f"{name}_template_pair_label.txt"
    first, second, same = _read_pairs(pairs_path, template_ids)
    landmarks = np.stack([np.asarray(_column(points, axis), np.float32) for axis in _POINTS], 1).reshape(-1, 5, 2)
    score = np.asarray(_column(points, "score"), np.float32)
    if not (np.isfinite(landmarks).all() and np.isfinite(score).all()):
        raise DataError(f"{points_path}: a landmark or a score is not finite")
    images = folder / IMAGES
    if not images.is_dir():
        raise DataError(f"{folder} holds no folder {IMAGES}/ with the images")
    media = _column(faces, "media").astype(np.int64)
    ids = template_ids.astype(np.int64)
    return TemplateSet(
        name, images, files, landmarks, score, template.astype(np.int64), media, ids, first, second, same
    )


def _which(folder: Path) -> str:
    if not (folder / META).is_dir():
        raise DataError(f"{folder} holds no folder {META}/ with the template protocol's lists")
    found = [name for name in NAMES if (folder / META / f"{name}_face_tid_mid.txt").is_file()]
    if len(found) != 1:
        have = "both" if found else "neither"
        names = " nor " if not found else " and "
        listed = names.join(f"{name}_face_tid_mid.txt" for name in NAMES)
        raise DataError(f"{folder / META} holds {have} {listed}; it must hold one of them")
    return found[0]


def _read(path: Path, columns: dict[str, pa.DataType]) -> pa.Table:
    try:
        table = pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(column_names=list(columns), use_threads=False),  # errors then name the row
            parse_options=pacsv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=pacsv.ConvertOptions(column_types=columns, null_values=[], strings_can_be_null=False),
        )
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DataError(f"cannot read {path}: {reason}") from error
    if not table.num_rows:
        raise DataError(f"{path} holds no lines")
    return table


def _column(table: pa.Table, name: str) -> NDArray[np.generic]:
    return cast("NDArray[np.generic]", table[name].to_numpy())


def _check_order(files: Sequence[str], points: Sequence[str], faces_path: Path, points_path: Path) -> None:
    if len(files) != len(points):
        raise DataError(f"{faces_path} has {len(files):,} lines and {points_path} {len(points):,}: one a face each")
    for line, (one, other) in enumerate(zip(files, points, strict=True), 1):
        if one != other:
            raise DataError(f"{faces_path}, line {line}: names {one} where {points_path.name} names {other}")


def _read_pairs(
    path: Path, template_ids: NDArray[np.generic]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
    table = _read(path, {"first": pa.int64(), "second": pa.int64(), "same": pa.int8()})
    same = np.asarray(_column(table, "same"), np.int8)
    if len(wrong := np.flatnonzero((same != 0) & (same != 1))):
        raise DataError(f"{path}, line {wrong[0] + 1}: a label is 0 or 1, not {same[wrong[0]]}")
    rows = [_rows(_column(table, side), template_ids, path) for side in ("first", "second")]
    return rows[0], rows[1], same == 1


def _rows(ids_P: NDArray[np.generic], template_ids: NDArray[np.generic], path: Path) -> NDArray[np.int32]:
    rows = np.searchsorted(template_ids, ids_P).clip(max=len(template_ids) - 1)
    if len(wrong := np.flatnonzero(template_ids[rows] != ids_P)):
        raise DataError(f"{path}, line {wrong[0] + 1}: template {ids_P[wrong[0]]} has no faces")
    return rows.astype(np.int32)
