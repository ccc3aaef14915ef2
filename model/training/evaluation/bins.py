"""Verification sets in InsightFace's `.bin` form: LFW, CFP-FP, AgeDB-30, CALFW and CPLFW as the field reports them.

Holds the way from a file to the report's rows: decode, embed each crop and its mirror image, sum, compare, ten folds in
the file's order. Never reads the pickle itself (see `model.training.prepare.verification_bin`).
Shape suffixes: P pairs; D embedding length; S crop side.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.training.dataset import DataError
from model.training.evaluation.embedding import CROP_PX, Embed, embed_batches
from model.training.evaluation.folds import folds_in_order, grid_accuracy, squared_distance
from model.training.evaluation.groups import ALL
from model.training.evaluation.matching import Matching, curve_of
from model.training.evaluation.report import Measure
from model.training.evaluation.validation import BATCH_SIZE
from model.training.evaluation.verification import (
    PairScores,
    equal_error_rate,
    pair_similarity,
    ten_fold_accuracy,
)
from model.training.prepare.verification_bin import read_bin

SUFFIX: Final = ".bin"


def find_bins(path: Path) -> tuple[Path, ...]:
    """The verification sets that a path names: the file itself, or every `.bin` in a folder, by name.

    Raises:
        DataError: if there is none.
    """
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise DataError(f"no verification set at {path}")
    found = tuple(sorted(path.glob(f"*{SUFFIX}")))
    if not found:
        raise DataError(f"{path} holds no NAME{SUFFIX}")
    return found


def measure_bin(
    path: Path,
    embed: Embed,
    *,
    flip: bool = True,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int, int], None] | None = None,
) -> Matching:
    """Measures one set; it is named in the report by its file, `lfw.bin`.

    `accuracy_10fold_grid` is the published figure: the file's pairs in ten consecutive folds, thresholds of squared
    distance searched in hundredths. `accuracy_10fold` is the same at the exact best threshold, as everywhere else here.

    Args:
        path: the file.
        embed: the model.
        flip: sum with the mirror image's embedding, as published.
        batch_size: crops a call.
        progress: told how many crops were done, and of how many, after each batch.

    Raises:
        DataError: if the file cannot be used; an image that cannot be decoded is named by its number.
        EvaluationError: if an embedding cannot be compared.
    """
    content = read_bin(path)
    parts = []
    for vectors in embed_batches(embed, _crops(content.images, path), flip=flip, batch_size=batch_size):
        parts.append(vectors)
        if progress is not None:
            progress(len(vectors), len(content.images))
    try:
        return _measured(np.concatenate(parts), content.same, path.name)
    except ValueError as error:  # folds that hold no pair, or one kind of pair alone
        raise DataError(f"{path}: {error}") from error


def _measured(embeddings_ND: NDArray[np.float32], same: NDArray[np.bool_], name: str) -> Matching:
    first, second = embeddings_ND[0::2], embeddings_ND[1::2]
    fold = folds_in_order(len(same))
    grid = grid_accuracy(squared_distance(first, second), same, fold)
    similarity = pair_similarity(first, second)
    exact = ten_fold_accuracy(similarity, same, fold)
    scores = PairScores(similarity[same], similarity[~same])
    rate, _ = equal_error_rate(scores.impostor, scores.genuine)
    values = {
        "accuracy_10fold_grid": grid.mean,
        "accuracy_10fold_grid_std": grid.std,
        "accuracy_10fold": exact.mean,
        "accuracy_10fold_std": exact.std,
        "eer": rate,
    }
    measures = [Measure("embedding", metric, value, name, len(same)) for metric, value in values.items()]
    return Matching(measures, [curve_of(name, ALL, scores)])


def _crops(images: Sequence[bytes], path: Path) -> Iterator[NDArray[np.uint8]]:
    for number, data in enumerate(images):
        try:
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: image {number} cannot be decoded: {str(error).splitlines()[0]}") from error
        height, width = pixels.shape[:2]
        if height != width:
            raise DataError(f"{path}: image {number} is {width} x {height}; an aligned crop is square")
        yield pixels if width == CROP_PX else np.asarray(cv2.resize(pixels, (CROP_PX, CROP_PX)), np.uint8)
