"""A detector training's state: network, average, optimizer and step, on disk as `last/`.

Everything random is a function of (seed, step), so random state is never kept. `last/` is whole, the old or the new.
Files: `weights`, `ema`, `optimizer` (safetensors), `config.json`, `state.json`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from model.checkpoint import WEIGHTS, CheckpointError, load_into, load_tensors, save_tensors, written_whole
from model.detector.checkpoint import OperatingPoint, load_detector, save_detector, write_detector
from model.detector.network import DetectorNetwork, with_level_norms
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
        CheckpointError: if `init` is unusable, or holds what the recipe's detector has no place for; or nothing learns.
    """
    torch.manual_seed(seed_of(recipe.seed, INITIALISE))
    network = DetectorNetwork(recipe.network)
    if init is not None:
        _take_over(network, init)
    hold(network, recipe.trained)
    network = network.to(device).to(memory_format=torch.channels_last)
    learnt = [value for value in network.parameters() if value.requires_grad]
    decayed = [value for value in learnt if value.ndim > 1]
    plain = [value for value in learnt if value.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    return DetectorState(network, MovingAverage(network, recipe.ema_decay), optimizer)


def _take_over(network: DetectorNetwork, init: Path) -> None:
    """Takes all of another detector's weights; what it has not keeps its fresh start."""
    start, _ = load_detector(init)
    if network.config.level_norms:
        start = with_level_norms(start)
    own, given = network.state_dict(), start.state_dict()
    if any(name not in own or own[name].shape != value.shape for name, value in given.items()):
        raise CheckpointError(f"{init} holds a detector of another make-up than the recipe's")
    network.load_state_dict(own | given)


def hold(network: DetectorNetwork, trained: Sequence[str]) -> None:
    """Readies a network for a training, of all of it or of some modules.

    Where some alone learn, every norm keeps its running statistics: what does not learn then answers as in service,
    and what does learns from that. In training mode one canvas of noise would shift what a batch's faces look like.

    Args:
        network: to be trained.
        trained: beginnings of the names of what learns; all of it where there is none.

    Raises:
        CheckpointError: if no parameter has such a name.
    """
    network.train(not trained)
    for name, value in network.named_parameters():
        value.requires_grad_(not trained or any(_within(name, prefix) for prefix in trained))
    if not any(value.requires_grad for value in network.parameters()):
        raise CheckpointError(f"a detector has nothing named {', '.join(trained)} to train")


def _within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


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
