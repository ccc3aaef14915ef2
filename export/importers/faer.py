"""FAER's checkpoints: the attributes' network, the expressions' network, or both as two analyzers of one pack.

Holds the choice of what is read out of the files. Never maps a key (see `model.published.faer`).
"""

from collections.abc import Sequence
from pathlib import Path

from export.errors import ExportError
from export.importers.networks import PublishedNetwork, one_each
from export.importers.published_file import PublishedFile, read_published
from export.importers.systems import SYSTEMS
from model.network_config import NetworkConfig
from model.published.errors import PublishedError
from model.published.faer import from_published


def read_faer(paths: Sequence[Path], configs: Sequence[NetworkConfig] = ()) -> list[PublishedNetwork]:
    """Reads checkpoints of FAER, in any order; the width of its head says which of the two networks a file holds.

    Args:
        paths: the files.
        configs: make-ups other than the published one, one a file; none for the published one.

    Raises:
        ExportError: if a file cannot be read, is another system's, or a tensor is missing, extra or misshapen.
    """
    files = [read_published(path) for path in paths]
    for file in files:
        if file.kind != "faer":
            raise ExportError(f"{file.path}: no FAER checkpoint; it looks like {file.looks_like}")
    return [_network(file, config) for file, config in zip(files, one_each(configs, len(files)), strict=True)]


def _network(file: PublishedFile, config: NetworkConfig | None) -> PublishedNetwork:
    content = file.content
    saved_whole = isinstance(content, dict) and "state_dict" in content
    tensors = file.part("state_dict") if saved_whole else file.whole()
    try:
        found, state = from_published({"state_dict": tensors}, config)
    except PublishedError as error:
        raise ExportError(f"{file.path}: {error}") from error
    # CelebA's own aligned crops, resized straight to the network's side, are what it was trained on.
    origin = SYSTEMS["faer"].origin(file.source)
    return PublishedNetwork(f"faer-{found.tasks[0]}", found, state, origin, alignment="celeba")
