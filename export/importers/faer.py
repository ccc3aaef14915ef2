"""FAER's checkpoints: the attributes' network, the expressions' network, or both as two analyzers of one pack.

Holds the choice of what is read out of the files. Never maps a key (see `model.published.faer`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor

from export.errors import ExportError
from export.importers.networks import PublishedNetwork, one_each
from export.importers.published_file import PublishedFile, read_published
from export.importers.systems import SYSTEMS
from model.network_config import NetworkConfig
from model.published.errors import PublishedError
from model.published.faer import from_published
from model.runtime.labels import EXPRESSIONS

ExpressionOrder = Literal["raf-db", "affectnet"]
# What the rows of an expressions' head mean, by the set whose labels it was trained on. Its code publishes neither.
EXPRESSION_ORDERS: Final[dict[ExpressionOrder, tuple[str, ...]]] = {
    "raf-db": EXPRESSIONS,
    "affectnet": ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger"),
}
_HEAD: Final = ("head.weight", "head.bias")


def read_faer(
    paths: Sequence[Path], configs: Sequence[NetworkConfig] = (), expressions: ExpressionOrder = "raf-db"
) -> list[PublishedNetwork]:
    """Reads checkpoints of FAER, in any order; the width of its head says which of the two networks a file holds.

    Args:
        paths: the files.
        configs: make-ups other than the published one, one a file; none for the published one.
        expressions: the set in whose label order an expressions' network answers; it is put into RAF-DB's.

    Raises:
        ExportError: if a file cannot be read, is another system's, or a tensor is missing, extra or misshapen.
    """
    files = [read_published(path) for path in paths]
    for file in files:
        if file.kind != "faer":
            raise ExportError(f"{file.path}: no FAER checkpoint; it looks like {file.looks_like}")
    each = zip(files, one_each(configs, len(files)), strict=True)
    return [_network(file, config, EXPRESSION_ORDERS[expressions]) for file, config in each]


def _network(file: PublishedFile, config: NetworkConfig | None, expressions: Sequence[str]) -> PublishedNetwork:
    content = file.content
    saved_whole = isinstance(content, dict) and "state_dict" in content
    tensors = file.part("state_dict") if saved_whole else file.whole()
    try:
        found, state = from_published({"state_dict": _in_order(tensors, expressions)}, config)
    except PublishedError as error:
        raise ExportError(f"{file.path}: {error}") from error
    # CelebA's own aligned crops, resized straight to the network's side, are what it was trained on.
    origin = SYSTEMS["faer"].origin(file.source)
    return PublishedNetwork(f"faer-{found.tasks[0]}", found, state, origin, alignment="celeba")


def _in_order(tensors: Mapping[str, Tensor], expressions: Sequence[str]) -> dict[str, Tensor]:
    """The state dict with the rows of an expressions' head in RAF-DB's order; any other head as it is."""
    rows = torch.tensor([expressions.index(name) for name in EXPRESSIONS])

    def ordered(key: str, tensor: Tensor) -> Tensor:
        is_head = key.removeprefix("module.") in _HEAD and tensor.ndim > 0 and len(tensor) == len(rows)
        return tensor[rows] if is_head else tensor

    return {key: ordered(key, tensor) for key, tensor in tensors.items()}
