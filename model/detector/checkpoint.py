"""A detector's checkpoint: a folder with `weights.safetensors` and `config.json`.

`config.json` holds the network's make-up and the operating point that was measured for these weights. Never holds what
only a training needs and never unpickles anything.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from model.checkpoint import CONFIG, WEIGHTS, CheckpointError, load_into, save_tensors, whole, written_whole
from model.detector.config import ConfigError, DetectorConfig
from model.detector.network import DetectorNetwork
from model.runtime.scales import check_scales

# Measured on the validation split: a second look, at half size, finds the faces that fill the frame (LOG.md).
SCALES: Final = (1.0, 0.5)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """How a detector is to be used, and what it then reaches.

    Attributes:
        min_score: the lowest score of a face.
        nms_iou: boxes that overlap a surer one by more are dropped.
        measured: figures at this point on the validation split, by name; empty where none were measured.
        scales: at which a picture is looked at, see `model.runtime.passes`.
        blend: key points come from all anchors that saw a face, see `model.runtime.blending`.
        trims: pictures are shown on canvases that end soon after them, see `model.runtime.passes`.
    """

    min_score: float = 0.5
    nms_iou: float = 0.4
    measured: dict[str, float] = field(default_factory=dict)
    scales: tuple[float, ...] = SCALES
    blend: bool = True
    trims: bool = True


def save_detector(folder: Path, network: DetectorNetwork, point: OperatingPoint, *, half: bool = False) -> None:
    """Writes a checkpoint folder whole, replacing one that is there; floats in half precision if asked."""
    with written_whole(folder) as beside:
        write_detector(beside, network, point, half=half)


def write_detector(folder: Path, network: DetectorNetwork, point: OperatingPoint, *, half: bool = False) -> None:
    """Writes both files into a folder that exists."""
    save_tensors(folder / WEIGHTS, network.state_dict(), half=half)
    text = json.dumps({"network": asdict(network.config), "operating_point": asdict(point)}, indent=2)
    (folder / CONFIG).write_text(text + "\n")


def load_detector(path: Path) -> tuple[DetectorNetwork, OperatingPoint]:
    """Rebuilds a detector, in evaluation mode, float32, on the CPU.

    Raises:
        CheckpointError: if a file is missing or unreadable, or the weights are not the description's.
    """
    path = whole(path)
    try:
        stored = json.loads((path / CONFIG).read_text())
        config = DetectorConfig.from_json(json.dumps(stored["network"]))
        told = stored["operating_point"]
        point = OperatingPoint(**{**told, "scales": check_scales(tuple(told.get("scales", SCALES)))})
    except OSError as error:
        raise CheckpointError(f"no checkpoint at {path}: cannot read {CONFIG}") from error
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path / CONFIG} describes no detector: {error}") from error
    network = DetectorNetwork(config)
    load_into(network, path / WEIGHTS)
    return network.eval(), point
