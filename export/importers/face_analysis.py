"""face_analysis_pytorch's checkpoints: trunks and heads in files of their own, one analyzer a trunk.

Holds which head goes with which trunk. Which file is a trunk, how deep, and which a head, and of what, follows from
what is in the files and never from their names. Never maps a key (see `model.published.face_analysis`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export.errors import ExportError
from export.importers.networks import PublishedNetwork, one_each
from export.importers.published_file import PublishedFile, read_published
from export.importers.systems import SYSTEMS
from model.network_config import NetworkConfig
from model.published.errors import PublishedError
from model.published.face_analysis import from_published

_HEADS: Final = ("head", "margin")


@dataclass(frozen=True, slots=True)
class Model:
    """A trunk and the head that goes with it; without one, or with a margin head, it recognises faces."""

    trunk: PublishedFile
    head: PublishedFile | None


def read_face_analysis(paths: Sequence[Path], configs: Sequence[NetworkConfig] = ()) -> list[PublishedNetwork]:
    """Reads trunks and heads.

    Args:
        paths: the files.
        configs: make-ups other than the published ones, one a trunk in the order of the trunks; none for those.

    Raises:
        ExportError: if a file cannot be read or is neither, a head goes with no one trunk, or a tensor is missing,
            extra or misshapen.
    """
    models = pair([read_published(path) for path in paths])
    return [_network(model, config) for model, config in zip(models, one_each(configs, len(models)), strict=True)]


def pair(files: Sequence[PublishedFile]) -> list[Model]:
    """Gives each head its trunk: the only one, or where there are several the last one before it.

    Raises:
        ExportError: if a file is neither, there is no trunk, a head stands before every one of several trunks, or a
            trunk gets two heads.
    """
    for file in files:
        if file.kind not in ("trunk", *_HEADS):
            raise ExportError(
                f"{file.path}: neither a trunk nor a head of face_analysis_pytorch; it looks like {file.looks_like}"
            )
    places = [index for index, file in enumerate(files) if file.kind == "trunk"]
    if not places:
        raise ExportError(f"{files[0].path}: a head without its trunk; give the trunk's file (model_*.pth) too")
    heads: dict[int, PublishedFile] = {}
    for index, file in enumerate(files):
        if file.kind in _HEADS:
            place = _trunk_of(index, places, file)
            if place in heads:
                raise ExportError(
                    f"{files[place].path}: two heads go with this trunk, {heads[place].name} and {file.name}; "
                    "give each head behind a trunk of its own"
                )
            heads[place] = file
    return [Model(files[place], heads.get(place)) for place in places]


def _trunk_of(index: int, places: Sequence[int], head: PublishedFile) -> int:
    if len(places) == 1:
        return places[0]
    before = [place for place in places if place < index]
    if not before:
        raise ExportError(
            f"{head.path}: it stands before every trunk, and there are {len(places)}; give each head behind its trunk"
        )
    return before[-1]


def _network(model: Model, config: NetworkConfig | None) -> PublishedNetwork:
    parts = {"model": model.trunk.whole()}
    source, note = model.trunk.source, ""
    if model.head is not None and model.head.kind == "margin":
        note = "; its margin head, which only training needs, is left out"
    elif model.head is not None:
        parts["head"] = model.head.whole()
        source = f"{source} with {model.head.source}"
    try:
        found, state = from_published(parts, config)
    except PublishedError as error:
        named = model.trunk.path if model.head is None else f"{model.trunk.path} with {model.head.path}"
        raise ExportError(f"{named}: {error}") from error
    origin = SYSTEMS["face-analysis"].origin(source, note)
    return PublishedNetwork(f"face-analysis-{found.tasks[0]}", found, state, origin)
