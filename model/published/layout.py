"""A published checkpoint's layout: which published key of which part holds which tensor of a network here.

Holds the table, and the strict reading and writing by it, alike for every published system. Never knows a system's
names (see the module of its name) and never opens a file.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.network import MultiTaskNetwork
from model.network_config import NetworkConfig
from model.published.errors import PublishedError

Parts = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor of a published checkpoint.

    Attributes:
        part: the state dict that holds it.
        key: its name there.
        own: its name in `MultiTaskNetwork.state_dict()`; None for one that no forward pass here reads, which may be
            absent and whose numbers are let go of.
        shape: what it must have.
        is_float: floating point numbers; else whole ones.
        fill: gives the numbers of a tensor without an own name when a checkpoint is written.
    """

    part: str
    key: str
    own: str | None
    shape: tuple[int, ...]
    is_float: bool = True
    fill: Callable[[], Tensor] | None = None


def rows_of(config: NetworkConfig, place: Callable[[str], tuple[str, str]]) -> list[Row]:
    """The rows of every tensor of a configuration's network.

    Args:
        config: the network; it is only described, so that the largest costs milliseconds and no memory.
        place: own key to part and published key.
    """
    with torch.device("meta"):
        state = MultiTaskNetwork(config).state_dict()
    return [
        Row(*place(own), own=own, shape=tuple(tensor.shape), is_float=tensor.is_floating_point())
        for own, tensor in state.items()
    ]


def read(rows: Sequence[Row], parts: Parts) -> dict[str, Tensor]:
    """A published checkpoint as the state of a network here.

    Keys may begin with `module.`, as a (Distributed)DataParallel model saves them. Floats of any precision become
    float32.

    Raises:
        PublishedError: if a part or a key is missing, extra, of another shape, or no tensor of its kind of number.
    """
    known = {part: {row.key: row for row in rows if row.part == part} for part in dict.fromkeys(r.part for r in rows)}
    extra = sorted(set(parts) - set(known))
    if extra:
        raise PublishedError(f"{extra[0]!r} is no part of this checkpoint; its parts are {', '.join(known)}")
    state: dict[str, Tensor] = {}
    for part, expected in known.items():
        if part not in parts:
            raise PublishedError(f"the part {part!r} is missing")
        state |= _read_part(part, expected, without_prefix(part, parts[part]))
    return state


def without_prefix(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A part with `module.` cut off its keys.

    Raises:
        PublishedError: if a key stands in it with and without the prefix.
    """
    cut: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = str(key).removeprefix("module.")
        if name in cut:
            raise PublishedError(f"{part}: {name!r} is there twice, with and without 'module.'")
        cut[name] = tensor
    return cut


def _read_part(part: str, expected: Mapping[str, Row], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    _refuse(part, "missing", [key for key, row in expected.items() if row.own is not None and key not in found])
    _refuse(part, "not expected", [key for key in found if key not in expected])
    state: dict[str, Tensor] = {}
    for key, tensor in found.items():
        row = expected[key]
        _check(row, tensor)
        if row.own is not None:
            state[row.own] = tensor.detach().to(torch.float32) if row.is_float else tensor.detach()
    return state


def _refuse(part: str, what: str, keys: Sequence[str]) -> None:
    if keys:
        more = f", and {len(keys) - 1} more" if len(keys) > 1 else ""
        raise PublishedError(f"{part}: {keys[0]!r} is {what}{more}")


def _check(row: Row, tensor: object) -> None:
    named = f"{row.part}: {row.key!r}"
    if not isinstance(tensor, Tensor):
        raise PublishedError(f"{named} is no tensor but a {type(tensor).__name__}")
    if tuple(tensor.shape) != row.shape:
        raise PublishedError(f"{named} has the shape {tuple(tensor.shape)}, not {row.shape}")
    if tensor.is_floating_point() != row.is_float:
        raise PublishedError(f"{named} holds {tensor.dtype}, not {'floats' if row.is_float else 'whole numbers'}")


def write(rows: Iterable[Row], state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The state of a network here as a published checkpoint; `read` gives the same state again.

    Raises:
        PublishedError: if the state lacks a tensor, or has one in another shape or one more than its configuration's.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    left = set(state)
    for row in rows:
        part = parts.setdefault(row.part, {})
        if row.own is None:
            assert row.fill is not None
            part[row.key] = row.fill()
            continue
        if row.own not in state:
            raise PublishedError(f"the network's state lacks {row.own!r}")
        _check(row, state[row.own])
        part[row.key] = state[row.own]
        left.discard(row.own)
    if left:
        raise PublishedError(f"the network's state holds {sorted(left)[0]!r}, which its configuration does not")
    return parts


def require(config: NetworkConfig, system: str, **values: object) -> None:
    """Refuses a configuration that a system's published code cannot hold.

    Args:
        config: what is asked for.
        system: whose layout it is.
        values: what fields must be, e.g. `head="fusion"`.

    Raises:
        PublishedError: if one is something else; the field is named.
    """
    for name, value in values.items():
        found = getattr(config, name)
        if found != value:
            raise PublishedError(f"{system} publishes no network whose {name} is {found!r}; it is {value!r}")
