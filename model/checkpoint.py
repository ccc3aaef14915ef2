"""Checkpoints: a folder with `weights.safetensors` and `config.json`, enough to rebuild a network.

Holds what writes and reads one, whole or not at all. Never holds what only a training needs (see
`model.training.state`) and never unpickles anything.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor

from model.network import MultiTaskNetwork
from model.network_config import NetworkConfig

WEIGHTS: Final = "weights.safetensors"
CONFIG: Final = "config.json"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one clear line for the person who chose it."""


def save(folder: Path, network: MultiTaskNetwork, *, half: bool = False) -> None:
    """Writes a checkpoint folder, replacing one that is there.

    Args:
        folder: its path; parents are made.
        network: its weights and configuration are written.
        half: store floats in half precision (`load_network` casts them back).
    """
    with written_whole(folder) as beside:
        write_weights(beside, network, half=half)


def write_weights(folder: Path, network: MultiTaskNetwork, *, half: bool = False) -> None:
    """Writes `weights.safetensors` and `config.json` into a folder that exists."""
    save_tensors(folder / WEIGHTS, network.state_dict(), half=half)
    (folder / CONFIG).write_text(network.config.to_json() + "\n")


def load_network(path: Path) -> MultiTaskNetwork:
    """Rebuilds a network, in evaluation mode, float32, on the CPU.

    Args:
        path: a checkpoint folder.

    Raises:
        CheckpointError: if a file is missing or unreadable, or the weights are not the configuration's.
    """
    path = whole(path)
    try:
        config = NetworkConfig.from_json((path / CONFIG).read_text())
    except OSError as error:
        raise CheckpointError(f"no checkpoint at {path}: cannot read {CONFIG}") from error
    except ValueError as error:
        raise CheckpointError(f"{path / CONFIG}: {error}") from error
    network = MultiTaskNetwork(config)
    load_into(network, path / WEIGHTS)
    return network.eval()


def load_into(module: torch.nn.Module, path: Path) -> None:
    """Fills a module with the tensors of a file, strictly.

    Raises:
        CheckpointError: if the file is unreadable or its tensors are not the module's.
    """
    try:
        module.load_state_dict(load_tensors(path))
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit: {' '.join(str(error).split())[:200]}") from error


def save_tensors(path: Path, tensors: dict[str, Tensor], *, half: bool = False) -> None:
    """Writes named tensors, floats in half precision if asked."""
    kept = {name: value.half() if half and value.is_floating_point() else value for name, value in tensors.items()}
    # Not save_file: it makes the file readable for its owner alone.
    path.write_bytes(serialise({name: value.detach().cpu().contiguous() for name, value in kept.items()}))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads named tensors; half precision is cast to float32.

    Raises:
        CheckpointError: if the file is missing or is not safetensors.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Yields a folder beside `folder` to write into; when all went well it takes its place.

    A kill at any point leaves a whole folder that `recover` puts in place: the old one until the new one is complete.
    """
    recover(folder)
    beside, old = _beside(folder)
    beside.mkdir(parents=True)
    try:
        yield beside
    except BaseException:
        shutil.rmtree(beside)
        raise
    for file in beside.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Finishes or undoes a `written_whole` that was killed; does nothing where none was."""
    beside, old = _beside(folder)
    if not folder.exists() and old.exists():
        # The old folder makes way only for a complete new one.
        (beside if beside.exists() else old).rename(folder)
    for left in (beside, old):
        shutil.rmtree(left, ignore_errors=True)


def whole(folder: Path) -> Path:
    """Where to read a folder from: its own path, or where a `written_whole` between its two renames left it.

    Changes nothing, so that a reader never disturbs a writer that is alive.
    """
    beside, old = _beside(folder)
    if folder.exists() or not old.exists():
        return folder
    return beside if beside.exists() else old


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
