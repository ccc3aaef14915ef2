"""A detector training's state: network, average, optimizer and step, on disk as `last/`.

Everything random is a function of (seed, step), so random state is never kept. `last/` is whole, the old or the new.
Files: `weights`, `ema`, `optimizer` (safetensors), `config.json`, `state.json`.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from model.checkpoint import WEIGHTS, CheckpointError, load_into, load_tensors, save_tensors, written_whole
from model.detector.checkpoint import OperatingPoint, load_detector, save_detector, write_detector
from model.detector.network import DetectorNetwork
from model.training.detection.recipe import CHANGEABLE, DetectorRecipe
from model.training.ema import MovingAverage
from model.training.optimizer import optimizer_tensors, restore_optimizer
from model.training.run_folder import EMA, LAST, check_same_recipe, read_state, write_state
from model.training.seeds import INITIALISE, seed_of


@dataclass(slots=True)
class DetectorState:
    """What a training is between two steps. `step` counts the steps done."""

    network: DetectorNetwork
    average: MovingAverage[DetectorNetwork]
    optimizer: torch.optim.AdamW
    step: int = 0


def new_state(recipe: DetectorRecipe, device: torch.device, init: Path | None = None) -> DetectorState:
    """A training's start: weights drawn from the seed, or those of a checkpoint.

    Raises:
        CheckpointError: if `init` is unusable, or holds a detector of another make-up.
    """
    torch.manual_seed(seed_of(recipe.seed, INITIALISE))
    network = DetectorNetwork(recipe.network)
    if init is not None:
        start, _ = load_detector(init)
        if start.config != recipe.network:
            raise CheckpointError(f"{init} holds a detector of another make-up than the recipe's")
        network.load_state_dict(start.state_dict())
    network = network.train().to(device).to(memory_format=torch.channels_last)
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
        save_tensors(folder / "optimizer.safetensors", optimizer_tensors(state.optimizer))
        write_state(folder, {"step": state.step, "recipe": asdict(recipe)})
    save_detector(out / EMA, state.average.network, OperatingPoint())


def resume_state(out: Path, recipe: DetectorRecipe, device: torch.device) -> DetectorState:
    """Reads `last/` back, so that the training goes on as if it had never stopped.

    Raises:
        CheckpointError: if there is none, it is unreadable, or its recipe differs in more than `CHANGEABLE`.
    """
    folder = out / LAST
    stored = read_state(out)
    check_same_recipe(stored["recipe"], asdict(recipe), CHANGEABLE)
    state = new_state(recipe, device)
    load_into(state.network, folder / WEIGHTS)
    load_into(state.average.network, folder / "ema.safetensors")
    restore_optimizer(state.optimizer, load_tensors(folder / "optimizer.safetensors"))
    state.step = int(stored["step"])
    return state
