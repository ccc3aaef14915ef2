"""Embedding: crops in, one vector a crop out, summed with that of its mirror image where a protocol says so.

Holds the batching and the flip that the published verification protocols share. Never opens a model (see `subjects`)
and never compares two vectors. Shape suffixes: N faces; S crop side; D embedding length.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.evaluation.validation import BATCH_SIZE, EvaluationError

# uint8 (N, S, S, 3) RGB crops to float32 (N, D), of unit length or as the network gives them (see `subjects.Subject`).
Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

CROP_PX: Final = 112  # of the published verification sets


def embed_batches(
    embed: Embed,
    crops: Iterable[NDArray[np.uint8]],
    *,
    flip: bool = True,
    batch_size: int = BATCH_SIZE,
) -> Iterator[NDArray[np.float32]]:
    """Embeds crops as they come, holding one batch at a time.

    Args:
        embed: the model.
        crops: uint8 (S, S, 3), all of one side.
        flip: add the embedding of each crop's mirror image, before any of them is brought to unit length, as the
            published protocols do.
        batch_size: crops a call.

    Yields:
        (batch, D), in the order of the crops.

    Raises:
        EvaluationError: if an answer has the wrong length, is not finite, or is a zero vector.
    """
    waiting = iter(crops)
    while batch := list(islice(waiting, batch_size)):
        images_NSSC = np.stack(batch)
        vectors_ND = _checked(embed(images_NSSC), len(batch))
        if flip:
            vectors_ND = vectors_ND + _checked(embed(np.ascontiguousarray(images_NSSC[:, :, ::-1])), len(batch))
        if not vectors_ND.any(axis=1).all():
            raise EvaluationError("the model gave an embedding of zeros, which has no direction to compare")
        yield vectors_ND


def _checked(vectors_ND: NDArray[np.float32], num_faces: int) -> NDArray[np.float32]:
    if len(vectors_ND) != num_faces:
        raise EvaluationError(f"the model gave {len(vectors_ND)} embeddings for {num_faces} faces")
    if not np.isfinite(vectors_ND).all():
        raise EvaluationError("the model's embedding is not finite: its weights are broken")
    return np.asarray(vectors_ND, np.float32)
