"""Vectors: embeddings that a caller sends.

Never takes an embedding of another length or space than the pack's, nor one with a number that is not finite.
"""

import base64
import binascii

import numpy as np
from numpy.typing import NDArray

from model.runtime.pack import Pack
from service.errors import BadRequest, Incomparable, UnknownOption


def embedding_dim(pack: Pack) -> int:
    """Length of a pack's embeddings.

    Raises:
        UnknownOption: if the pack has none.
    """
    for part in pack.analyzers:
        if part.embedding_dim is not None:
            return part.embedding_dim
    raise UnknownOption(f"The pack {pack.name} has no embedding task, which a comparison needs.")


def check_space(sent: object, pack: Pack) -> None:
    """Holds a sent `embedding_space` against the pack's.

    Raises:
        Incomparable: if one was sent and it is another.
    """
    if sent is not None and sent != pack.embedding_space:
        raise Incomparable(f"The embeddings are of another space than this pack's, which is {pack.embedding_space}.")


def read_vector(value: object, dim: int, what: str) -> NDArray[np.float32]:
    """An embedding (dim,) from a list of numbers, or from base64 of little-endian float32.

    Raises:
        BadRequest: if it is neither, or holds a number that is not finite.
        Incomparable: if it has another length, or is all zeros.
    """
    vector = _from_text(value, what) if isinstance(value, str) else _from_list(value, what)
    if vector.shape != (dim,):
        raise Incomparable(f"{what} has {vector.size} numbers; this pack's embeddings have {dim}.")
    if not np.isfinite(vector).all():
        raise BadRequest(f"{what} holds a number that is not finite.")
    if not vector.any():
        raise Incomparable(f"{what} is all zeros.")
    return vector


def _from_text(text: str, what: str) -> NDArray[np.float32]:
    try:
        data = base64.b64decode(text, validate=True)
        return np.frombuffer(data, "<f4").astype(np.float32)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{what} is not base64 of float32 numbers.") from None


def _from_list(value: object, what: str) -> NDArray[np.float32]:
    # Kinds are checked first: numpy would take a list of texts or of true and false for numbers.
    if not isinstance(value, list) or not all(type(number) in (float, int) for number in value):
        raise BadRequest(f"{what} must be a list of numbers, or base64 of float32.")
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
            return np.array(value, np.float64).astype(np.float32)
    except OverflowError:
        raise BadRequest(f"{what} holds a number that is not finite.") from None
