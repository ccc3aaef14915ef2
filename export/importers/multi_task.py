"""SwinFace's and TMLFA's checkpoints: one file, one network, every task but race.

Holds the choice of what is read out of the file. Never maps a key (see `model.published.swinface`).
"""

from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from export.errors import ExportError
from export.importers.networks import PublishedNetwork
from export.importers.published_file import read_published
from export.importers.systems import SYSTEMS
from model.config import SWINFACE
from model.network_config import NetworkConfig
from model.published.errors import PublishedError
from model.published.swinface import from_published

# What a checkpoint holds beside these (optimizer, schedule, the training's own softmax weights, counters) is let be.
PARTS: Final[tuple[str, ...]] = ("state_dict_backbone", "state_dict_fam", "state_dict_tss", "state_dict_om")


def read_multi_task(
    path: Path, system: Literal["swinface", "tmlfa"], config: NetworkConfig | None = None
) -> PublishedNetwork:
    """Reads a checkpoint of SwinFace or of TMLFA, whose networks are one and whose output layers' names are not.

    A checkpoint of the pretraining, which holds the backbone alone, gives a network that recognises faces.

    Args:
        path: the file.
        system: whose it is said to be.
        config: the network's make-up, where it is not SwinFace's as published.

    Raises:
        ExportError: if the file cannot be read, is another system's, or a tensor is missing, extra or misshapen.
    """
    file = read_published(path)
    if file.kind not in (system, "pretraining"):
        raise ExportError(f"{path}: no {SYSTEMS[system].title} checkpoint; it looks like {file.looks_like}")
    names, note, config = PARTS, "", config or SWINFACE
    if file.kind == "pretraining":
        names, note, config = PARTS[:1], "; it holds the backbone alone", replace(config, groups=())
    try:
        found, state = from_published({part: file.part(part) for part in names}, config)
    except PublishedError as error:
        raise ExportError(f"{path}: {error}") from error
    return PublishedNetwork(system, found, state, SYSTEMS[system].origin(file.source, note))
