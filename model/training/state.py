"""A training's state: network, average, objective, optimizer and step, on disk as `last/`.

Everything random is a function of (seed, step), so no random state is kept. Never writes half a state: `last/` is
whole, the old or the new. Files: `weights`, `ema`, `objective` and `optimizer` (safetensors), `config.json`,
`state.json`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from model.checkpoint import (
    WEIGHTS,
    CheckpointError,
    load_into,
    load_network,
    load_tensors,
    recover,
    save,
    save_tensors,
    write_weights,
    written_whole,
)
from model.network import MultiTaskNetwork
from model.training.ema import MovingAverage
from model.training.objective import Objective
from model.training.recipes import CHANGEABLE, AnalyzerRecipe
from model.training.seeds import INITIALISE, seed_of

LAST: Final = "last"
EMA: Final = "ema"
_STATE: Final = "state.json"


@dataclass(slots=True)
class TrainingState:
    """What a training is between two steps. `step` counts the steps done."""

    network: MultiTaskNetwork
    average: MovingAverage[MultiTaskNetwork]
    objective: Objective
    optimizer: torch.optim.AdamW
    step: int = 0


def new_state(
    recipe: AnalyzerRecipe, num_identities: int, device: torch.device, init: Path | None = None
) -> TrainingState:
    """A training's start: weights drawn from the seed, or taken from a checkpoint as far as it fits.

    Raises:
        CheckpointError: if `init` is unusable or holds quite another network.
    """
    torch.manual_seed(seed_of(recipe.seed, INITIALISE))
    network = MultiTaskNetwork(recipe.network)
    if init is not None:
        _take_over(network, load_network(init))
    network = network.train().to(device)
    embedding_dim = recipe.network.embedding_dim or 0
    objective = Objective(recipe.losses, recipe.margin, embedding_dim, num_identities).to(device)
    return TrainingState(
        network=network,
        average=MovingAverage(network, recipe.ema_decay),
        objective=objective,
        optimizer=_optimizer(recipe, network, objective),
    )


def _take_over(network: MultiTaskNetwork, start: MultiTaskNetwork) -> None:
    """Takes every tensor of another network that has this one's name and shape; the rest keep their fresh start.

    Raises:
        CheckpointError: if the two share less than half of their numbers: they are then no relatives.
    """
    own = network.state_dict()
    shared = {
        name: value for name, value in start.state_dict().items() if own.get(name, value[None]).shape == value.shape
    }
    size, fits = (sum(value.numel() for value in tensors.values()) for tensors in (own, shared))
    if fits < size / 2:
        raise CheckpointError(f"the network to start from shares only {fits:,} of {size:,} numbers")
    network.load_state_dict(own | shared)


def _optimizer(recipe: AnalyzerRecipe, network: nn.Module, objective: nn.Module) -> torch.optim.AdamW:
    """AdamW; only matrices decay. Class weights are normalised where they are used, so decay would do nothing good."""
    named = [*network.named_parameters()]
    plain = [value for name, value in named if value.ndim < 2 or "relative_position_bias" in name]
    decayed = [value for name, value in named if not (value.ndim < 2 or "relative_position_bias" in name)]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": [*plain, *objective.parameters()], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def save_state(out: Path, recipe: AnalyzerRecipe, state: TrainingState) -> None:
    """Writes `last/` (to resume from) and `ema/` (the checkpoint to evaluate, export and ship)."""
    with written_whole(out / LAST) as folder:
        write_weights(folder, state.network)
        save_tensors(folder / "ema.safetensors", state.average.network.state_dict())
        save_tensors(folder / "objective.safetensors", state.objective.state_dict())
        save_tensors(folder / "optimizer.safetensors", _optimizer_tensors(state.optimizer))
        text = json.dumps({"step": state.step, "recipe": asdict(recipe)}, indent=2)
        (folder / _STATE).write_text(text + "\n")
    save(out / EMA, state.average.network)


def has_state(out: Path) -> bool:
    """Whether a run's folder holds a state to resume from."""
    recover(out / LAST)
    return (out / LAST / _STATE).is_file()


def resume_state(out: Path, recipe: AnalyzerRecipe, num_identities: int, device: torch.device) -> TrainingState:
    """Reads `last/` back, so that the training goes on as if it had never stopped.

    Raises:
        CheckpointError: if there is none, it is unreadable, or its recipe differs in more than `CHANGEABLE`.
    """
    folder = out / LAST
    if not has_state(out):
        raise CheckpointError(f"nothing to resume: {folder} holds no {_STATE}")
    stored = json.loads((folder / _STATE).read_text())
    _same_training(stored["recipe"], recipe)
    state = new_state(recipe, num_identities, device)
    load_into(state.network, folder / WEIGHTS)
    load_into(state.average.network, folder / "ema.safetensors")
    load_into(state.objective, folder / "objective.safetensors")
    _restore_optimizer(state.optimizer, load_tensors(folder / "optimizer.safetensors"))
    state.step = stored["step"]
    return state


def _same_training(stored: dict[str, Any], recipe: AnalyzerRecipe) -> None:
    # Through JSON, so that tuples and lists compare alike.
    wanted: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    for key in sorted(set(stored) | set(wanted)):
        if key not in CHANGEABLE and stored.get(key) != wanted.get(key):
            raise CheckpointError(f"the run was started with another {key}; only {_changeable()} may change on resume")


def _changeable() -> str:
    return ", ".join(sorted(CHANGEABLE))


def _optimizer_tensors(optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{number}.{name}": value for number, values in state.items() for name, value in values.items()}


def _restore_optimizer(optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
