"""Networks of published weights: from a configuration and its tensors to a traced analyzer, ready to be packed.

Holds the filling and the tracing. Never reads a foreign file and never writes one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from export.errors import ExportError
from export.graph import predict_with, trace
from export.importers.packing import ForeignAnalyzer, Target, pack_analyzers, require_distinct
from export.ordinal_age import clear_seed, wavering
from export.precision import embedding_space
from export.progress import Stages
from model.analyzer import Analyzer
from model.checkpoint import WEIGHTS, save
from model.network import MultiTaskNetwork
from model.network_config import NetworkConfig
from model.runtime.pack import Alignment


@dataclass(frozen=True, slots=True, eq=False)
class PublishedNetwork:
    """A network with weights from a published file.

    Attributes:
        file_stem: of its graph in the pack.
        config: its make-up.
        state: every tensor of a `MultiTaskNetwork` of it.
        origin: whose weights these are, in words.
        alignment: the crops that they were trained on.
    """

    file_stem: str
    config: NetworkConfig
    state: dict[str, Tensor]
    origin: str
    alignment: Alignment = "arcface-5pt"


def import_networks(networks: Sequence[PublishedNetwork], target: Target, stages: Stages) -> Path:
    """Makes a pack of published networks, an analyzer each.

    Returns:
        The pack's folder.

    Raises:
        ExportError: as `pack_analyzers`, or if a network cannot be traced; nothing is left then.
    """
    require_distinct([(network.file_stem, network.config.tasks) for network in networks])
    return pack_analyzers(target, _traced(networks, stages), stages)


def keep_networks(networks: Sequence[PublishedNetwork], folder: Path) -> tuple[Path, ...]:
    """Writes each network as a checkpoint in float32, to train on from, to evaluate or to explain.

    Args:
        networks: one is written as the folder itself, several as folders of their graphs' names in it.
        folder: as `require_keepable` found it.

    Returns:
        The checkpoints' folders.
    """
    places = _places(networks, folder)
    for network, place in zip(networks, places, strict=True):
        save(place, _filled(network))
    return places


def require_keepable(networks: Sequence[PublishedNetwork], folder: Path) -> None:
    """Refuses to replace what is no checkpoint, before any work is done.

    Raises:
        ExportError: if something else than a checkpoint lies where one is to be written.
    """
    for place in _places(networks, folder):
        if place.exists() and not (place / WEIGHTS).is_file() and (place.is_file() or any(place.iterdir())):
            raise ExportError(f"{place} is there and is no checkpoint, so it is not replaced by one")


def one_each(configs: Sequence[NetworkConfig], num: int) -> Sequence[NetworkConfig | None]:
    """A configuration for each of some networks: those that were given, or None for each where none was.

    Raises:
        ExportError: if some were given and not as many as there are networks.
    """
    if configs and len(configs) != num:
        raise ExportError(f"--config is given {len(configs)} times for {num} networks: once a network, or not at all")
    return configs or [None] * num


def to_analyzer(network: PublishedNetwork) -> ForeignAnalyzer:
    """Traces a network; its weights stay in float32.

    Raises:
        ExportError: if its tensors are not the configuration's, or it cannot be traced with a dynamic batch.
    """
    module = _filled(network)
    twin = Analyzer(module.requires_grad_(False)).eval()
    has_embedding = "embedding" in twin.tasks
    return ForeignAnalyzer(
        file_stem=network.file_stem,
        graph=trace(twin),
        side_px=twin.side_px,
        tasks=twin.tasks,
        origin=network.origin,
        alignment=network.alignment,
        embedding_dim=network.config.embedding_dim if has_embedding else None,
        embedding_space=embedding_space(module.state_dict()) if has_embedding else None,
        network=predict_with(twin),
        wavering=wavering(twin),
        known_seed=clear_seed(twin),
    )


def _traced(networks: Sequence[PublishedNetwork], stages: Stages) -> Iterator[ForeignAnalyzer]:
    for network in networks:
        yield _traced_one(network, stages)


def _traced_one(network: PublishedNetwork, stages: Stages) -> ForeignAnalyzer:
    with stages.stage(f"{network.file_stem}: tracing"):
        return to_analyzer(network)


def _filled(network: PublishedNetwork) -> MultiTaskNetwork:
    module = MultiTaskNetwork(network.config)
    try:
        module.load_state_dict({name: _widened(tensor) for name, tensor in network.state.items()})
    except RuntimeError as error:
        raise ExportError(f"{network.file_stem}: {' '.join(str(error).split())[:200]}") from error
    return module


def _places(networks: Sequence[PublishedNetwork], folder: Path) -> tuple[Path, ...]:
    return (folder,) if len(networks) == 1 else tuple(folder / network.file_stem for network in networks)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor
