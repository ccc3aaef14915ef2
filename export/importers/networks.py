"""Networks of published weights: from a configuration and its tensors to a traced analyzer, ready to be packed.

Holds the filling, the tracing, and what an ordinal age needs to be compared fairly. Never reads a foreign file and
never writes one. Shape suffixes: N faces; S crop side; K ranks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.check import Wavering
from export.errors import ExportError
from export.graph import predict_with, trace
from export.importers.packing import KNOWN_SEED, ForeignAnalyzer, Target, pack_analyzers, require_distinct
from export.precision import embedding_space
from export.progress import Stages
from model.analyzer import Analyzer, normalise
from model.checkpoint import WEIGHTS, save
from model.network import MultiTaskNetwork
from model.network_config import NetworkConfig
from model.runtime.known_answer import known_crops
from model.runtime.pack import Alignment

# A logit this near to 0 may stand on either side of it once the same numbers are added in another order.
_AT_BORDER: Final = 1e-4
_NUM_SEEDS: Final = 16


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
    is_ordinal = "age" in twin.tasks and network.config.age_form == "ordinal"
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
        wavering=wavering(twin) if is_ordinal else None,
        known_seed=_clear_seed(twin) if is_ordinal else KNOWN_SEED,
    )


def wavering(twin: Analyzer) -> Wavering:
    """How many of an ordinal age's logits lie so near to 0 that the order of additions decides their side."""

    def count(images_NSSC: NDArray[np.uint8]) -> NDArray[np.integer]:
        near_NK = np.abs(_age_logits(twin, images_NSSC)) <= _AT_BORDER
        return np.asarray(near_NK.sum(1))

    return count


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


def _clear_seed(twin: Analyzer) -> int:
    """Of several seeds the one whose known crop keeps furthest from every border: no processor rounds it over one."""
    crops_NSSC = np.concatenate([known_crops(seed, twin.side_px) for seed in range(1, _NUM_SEEDS + 1)])
    clearance_N = np.abs(_age_logits(twin, crops_NSSC)).min(1)
    return 1 + int(np.argmax(clearance_N))


def _age_logits(twin: Analyzer, images_NSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, K), one crop at a time, as the network is compared."""
    pixels = twin.network.config.pixels
    with torch.inference_mode():
        rows = [
            twin.network(normalise(torch.from_numpy(image[None].copy()), pixels))["age"].numpy()
            for image in images_NSSC
        ]
    return np.concatenate(rows)
