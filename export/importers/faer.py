"""FAER's checkpoints: the attributes' network, the expressions' network, or both as two analyzers of one pack.

Holds the choice of what is read out of the files. Never maps a key (see `model.published.faer`).
"""

from collections.abc import Sequence
from pathlib import Path

from model.published.errors import PublishedError
from model.published.faer import from_published

from export.errors import ExportError
from export.importers.networks import PublishedNetwork
from export.importers.published_file import read_published
from export.importers.systems import SYSTEMS


def read_faer(paths: Sequence[Path]) -> list[PublishedNetwork]:
    """Reads checkpoints of FAER, in any order; the width of its head says which of the two networks a file holds.

    Raises:
        ExportError: if a file cannot be read, is another system's, or a tensor is missing, extra or misshapen.
    """
    return [_read(path) for path in paths]


def _read(path: Path) -> PublishedNetwork:
    file = read_published(path)
    if file.kind != "faer":
        raise ExportError(f"{path}: no FAER checkpoint; it looks like {file.looks_like}")
    content = file.content
    saved_whole = isinstance(content, dict) and "state_dict" in content
    try:
        config, state = from_published({"state_dict": file.part("state_dict") if saved_whole else file.whole()})
    except PublishedError as error:
        raise ExportError(f"{path}: {error}") from error
    # CelebA's own aligned crops, resized straight to the network's side, are what it was trained on.
    return PublishedNetwork(
        f"faer-{config.tasks[0]}", config, state, SYSTEMS["faer"].origin(file.source), alignment="celeba"
    )
