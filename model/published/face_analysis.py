"""face_analysis_pytorch's checkpoints: a trunk's state dict and a head's, and which tensor of them is which here.

Holds the names (github.com/vitoralbiero/face_analysis_pytorch, MIT). Never opens a file and never holds a weight.

The parts are `model`, the trunk with its output layer, and `head`, one linear layer `fc1`. How deep the trunk is,
whether it squeezes and excites, and what the head answers follow from the keys and shapes alone.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal

from torch import Tensor

from model.config import iresnet
from model.network_config import NetworkConfig
from model.published.errors import PublishedError
from model.published.layout import Parts, Row, read, require, rows_of, without_prefix, write
from model.trunk_config import IResNetConfig

MODEL: Final = "model"
HEAD: Final = "head"

_SYSTEM: Final = "face_analysis_pytorch"
_MARGIN: Final = {"kernel"}  # a margin head's class centres: training's alone
_DEPTHS: Final[dict[int, Literal[50, 100, 152]]] = {24: 50, 49: 100, 50: 152}  # by residual units
_TASKS: Final[dict[int, Literal["age", "gender", "race"]]] = {100: "age", 2: "gender", 5: "race"}  # by the head's rows
_RECOGNITION: Final = {"norm": 0, "linear": 3, "feature_norm": 4}  # 1 is the dropout, 2 the flattening
_GATE_PLACE: Final = 6  # behind the six layers of a unit's body


def from_published(parts: Parts, config: NetworkConfig | None = None) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """Reads a checkpoint of face_analysis_pytorch.

    Args:
        parts: `model`, and `head` unless the network recognises faces. A margin head is let go of: only training
            needs it.
        config: what the checkpoint is of; None finds it by the keys and shapes.

    Returns:
        The configuration and the state of its `MultiTaskNetwork`, float32.

    Raises:
        PublishedError: if a key is missing, extra or misshapen, or no published network has the configuration.
    """
    if HEAD in parts and set(without_prefix(HEAD, parts[HEAD])) == _MARGIN:
        parts = {part: tensors for part, tensors in parts.items() if part != HEAD}
    config = _found(parts) if config is None else config
    return config, read(_rows(config), parts)


def to_published(state: Mapping[str, Tensor], config: NetworkConfig) -> dict[str, dict[str, Tensor]]:
    """Writes the state of a `MultiTaskNetwork` as the published code loads it, strictly; `head` only if it has one.

    Raises:
        PublishedError: if the state is not the configuration's, or no published network has the configuration.
    """
    return write(_rows(config), state)


def _found(parts: Parts) -> NetworkConfig:
    if MODEL not in parts:
        raise PublishedError(f"the part {MODEL!r} is missing")
    keys = list(without_prefix(MODEL, parts[MODEL]))
    numbers = [int(match[1]) for key in keys if (match := re.match(r"body\.(\d+)\.", key))]
    num_units = max(numbers, default=-1) + 1
    if num_units not in _DEPTHS:
        wanted = ", ".join(f"{units} (depth {depth})" for units, depth in _DEPTHS.items())
        raise PublishedError(f"{MODEL}: 'body' has {num_units} units; published are {wanted}")
    gated = any(f".res_layer.{_GATE_PLACE}." in key for key in keys)
    return iresnet(_DEPTHS[num_units], gated, _task(parts) if HEAD in parts else "embedding")


def _task(parts: Parts) -> Literal["age", "gender", "race"]:
    weight = without_prefix(HEAD, parts[HEAD]).get("fc1.weight")
    if weight is None:
        raise PublishedError(f"{HEAD}: 'fc1.weight' is missing")
    num_outputs = len(weight) if isinstance(weight, Tensor) and weight.ndim else 0
    if num_outputs not in _TASKS:
        wanted = ", ".join(f"{rows} ({task})" for rows, task in _TASKS.items())
        raise PublishedError(f"{HEAD}: 'fc1.weight' has {num_outputs} rows; published are {wanted}")
    return _TASKS[num_outputs]


def _rows(config: NetworkConfig) -> list[Row]:
    require(config, _SYSTEM, head="embedding", recognition="flat", pixels="symmetric", age_form=_form(config))
    trunk = config.backbone
    if not isinstance(trunk, IResNetConfig) or config.embedding_dim is None:
        raise PublishedError(f"{_SYSTEM}'s networks are IR ResNets with an embedding")
    if len(config.outputs) > 1:
        raise PublishedError(f"{_SYSTEM} publishes no network that answers more than one task")
    starts = [sum(trunk.units[:stage]) for stage in range(len(trunk.units))]

    def place(own: str) -> tuple[str, str]:
        root, rest = own.split(".", 1)
        if root == "groups":
            return HEAD, f"fc1.{rest.rsplit('.', 1)[1]}"
        if root == "recognition":
            name, leaf = rest.split(".")
            return MODEL, f"output_layer.{_RECOGNITION[name]}.{leaf}"
        if rest.startswith("stem."):
            return MODEL, f"input_layer.{rest.removeprefix('stem.')}"
        _, stage, unit, layer = rest.split(".", 3)
        return MODEL, f"body.{starts[int(stage)] + int(unit)}.{_unit_key(layer)}"

    return rows_of(config, place)


def _form(config: NetworkConfig) -> str:
    return "ordinal" if "age" in config.outputs else config.age_form


def _unit_key(layer: str) -> str:
    kind, rest = layer.split(".", 1)
    return {
        "body": f"res_layer.{rest}",
        "gate": f"res_layer.{_GATE_PLACE}.{rest}",
        "shortcut": f"shortcut_layer.{rest}",
    }[kind]
