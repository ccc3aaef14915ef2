"""A detector training's state: network, average, optimizer and step, on disk as `last/`.

Everything random is a function of (seed, step), so random state is never kept. `last/` is whole, the old or the new.
Files: `weights`, `ema`, `optimizer` (safetensors), `config.json`, `state.json`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from model.checkpoint import WEIGHTS, CheckpointError, load_into, load_tensors, recover, save_tensors, written_whole
from model.detector.checkpoint import OperatingPoint, save_detector, write_detector
from model.detector.network import DetectorNetwork
from model.training.detection.recipe import CHANGEABLE, DetectorRecipe
from model.training.ema import MovingAverage
from model.training.seeds import INITIALISE, seed_of

LAST: Final = "last"
EMA: Final = "ema"
_STATE: Final = "state.json"


@dataclass(slots=True)
class DetectorState:
    """What a training is between two steps. `step` counts the steps done."""

    network: DetectorNetwork
    average: MovingAverage[DetectorNetwork]
    optimizer: torch.optim.AdamW
    step: int = 0


def new_state(recipe: DetectorRecipe, device: torch.device) -> DetectorState:
    """A training's start: weights drawn from the seed."""
    torch.manual_seed(seed_of(recipe.seed, INITIALISE))
    network = DetectorNetwork(recipe.network).train().to(device).to(memory_format=torch.channels_last)
    decayed = [value for value in network.parameters() if value.ndim > 1]
    plain = [value for value in network.parameters() if value.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    return DetectorState(network, MovingAverage(network, recipe.ema_decay), optimizer)


def save_state(out: Path, recipe: DetectorRecipe, state: DetectorState) -> None:
    """Writes `last/` (to resume from) and `ema/` (the checkpoint to evaluate, export and ship)."""
    with written_whole(out / LAST) as folder:
        write_detector(folder, state.network, OperatingPoint())
        save_tensors(folder / "ema.safetensors", state.average.network.state_dict())
        save_tensors(folder / "optimizer.safetensors", _optimizer_tensors(state.optimizer))
        text = json.dumps({"step": state.step, "recipe": asdict(recipe)}, indent=2)
        (folder / _STATE).write_text(text + "\n")
    save_detector(out / EMA, state.average.network, OperatingPoint())


def has_state(out: Path) -> bool:
    """Whether a run's folder holds a state to resume from."""
    recover(out / LAST)
    return (out / LAST / _STATE).is_file()


def resume_state(out: Path, recipe: DetectorRecipe, device: torch.device) -> DetectorState:
    """Reads `last/` back, so that the training goes on as if it had never stopped.

    Raises:
        CheckpointError: if there is none, it is unreadable, or its recipe differs in more than `CHANGEABLE`.
    """
    folder = out / LAST
    if not has_state(out):
        raise CheckpointError(f"nothing to resume: {folder} holds no {_STATE}")
    stored = json.loads((folder / _STATE).read_text())
    wanted = json.loads(json.dumps(asdict(recipe)))  # tuples become lists, as in the stored one
    for key in sorted((set(stored["recipe"]) | set(wanted)) - CHANGEABLE):
        if stored["recipe"].get(key) != wanted.get(key):
            changeable = ", ".join(sorted(CHANGEABLE))
            raise CheckpointError(f"the run was started with another {key}; only {changeable} may change on resume")
    state = new_state(recipe, device)
    load_into(state.network, folder / WEIGHTS)
    load_into(state.average.network, folder / "ema.safetensors")
    _restore_optimizer(state.optimizer, load_tensors(folder / "optimizer.safetensors"))
    state.step = int(stored["step"])
    return state


def _optimizer_tensors(optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{number}.{name}": value for number, values in state.items() for name, value in values.items()}


def _restore_optimizer(optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        # In its parameter's memory order, which a file does not keep: the fused step walks both side by side.
        like = parameters[int(number)]
        ordered = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        state.setdefault(int(number), {})[key] = ordered
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
