"""A training's state: network, average, objective, optimizer, watch and step, on disk as `last/`.

Everything random is a function of (seed, step), so no random state is kept. Never writes half a state: `last/` is
whole, the old or the new. Files: `weights`, `ema`, `objective` and `optimizer` (safetensors), `config.json`,
`state.json`. Where several processes train, the first one writes, and what is sharded is written whole: so a run goes
on with another number of processes, as long as a step has as many batches.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.checkpoint import (
    WEIGHTS,
    CheckpointError,
    load_into,
    load_tensors,
    save,
    save_tensors,
    write_weights,
    written_whole,
)
from model.network import MultiTaskNetwork
from model.training.dataset import ALIGNMENT
from model.training.ema import MovingAverage
from model.training.objective import Objective, judged_by
from model.training.optimizer import build_optimizer, optimizer_tensors, restore_optimizer
from model.training.precision import gradient_scaler
from model.training.pretrained import start_from
from model.training.recipes.recipe import CHANGEABLE, AnalyzerRecipe, as_stored, completed
from model.training.run_folder import EMA, LAST, check_same_recipe, read_state, write_state
from model.training.seeds import INITIALISE, seed_of
from model.training.selection import Watch
from model.training.world import World

_ALONE = World()


@dataclass(slots=True)
class TrainingState:
    """What a training is between two steps.

    `step` counts the steps done; `alignment` is that of its crops; `distilled_from` is the SHA-256 of the weights that
    are distilled.
    """

    network: MultiTaskNetwork
    average: MovingAverage[MultiTaskNetwork]
    objective: Objective
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None = None
    watch: Watch = field(default_factory=Watch)
    step: int = 0
    alignment: str = ALIGNMENT
    distilled_from: str | None = None


def new_state(
    recipe: AnalyzerRecipe,
    num_identities: int,
    device: torch.device,
    init: Path | None = None,
    *,
    class_weights: Mapping[str, Tensor] | None = None,
    world: World = _ALONE,
) -> TrainingState:
    """A training's start: weights drawn from the seed, or taken from a checkpoint as far as it fits.

    Args:
        recipe: says everything.
        num_identities: over all sets.
        device: where it trains.
        init: a checkpoint, or a file of a pretrained trunk, to start from.
        class_weights: by task, where the recipe weighs classes.
        world: the processes, which all start alike.

    Raises:
        CheckpointError: if `init` is unusable or holds quite another network.
        OptimizerError: if a multiplier names no module.
    """
    torch.manual_seed(seed_of(recipe.seed, INITIALISE))
    network = MultiTaskNetwork(recipe.network)
    if init is not None:
        start_from(network, init)
    network.set_gradient_checkpointing(recipe.gradient_checkpointing)
    network = network.train().to(device)
    judged = judged_by(recipe.network, num_identities, class_weights or {})
    objective = Objective(recipe.losses, recipe.margin, judged, recipe.forms).train().to(device)
    optimizer = build_optimizer(recipe.optimizer, network, objective, recipe.weight_decay)
    objective.narrow(optimizer)
    return TrainingState(
        network=network,
        average=MovingAverage(network, recipe.ema_decay),
        objective=objective,
        optimizer=optimizer,
        scaler=gradient_scaler(recipe.precision, device, world.size),
    )


def save_state(out: Path, recipe: AnalyzerRecipe, state: TrainingState, world: World = _ALONE) -> None:
    """Writes `last/` (to resume from) and `ema/` (the checkpoint to evaluate, export and ship).

    Every process must call it, and the first one writes.
    """
    objective, optimizer = _gathered(state)
    if world.writes:
        with written_whole(out / LAST) as folder:
            write_weights(folder, state.network)
            save_tensors(folder / "ema.safetensors", state.average.network.state_dict())
            save_tensors(folder / "objective.safetensors", objective)
            save_tensors(folder / "optimizer.safetensors", optimizer)
            write_state(folder, _described(recipe, state, world))
        save(out / EMA, state.average.network)
    world.wait()


def _described(recipe: AnalyzerRecipe, state: TrainingState, world: World) -> dict[str, Any]:
    scaler = {} if state.scaler is None else state.scaler.state_dict()
    return {
        "step": state.step,
        "alignment": state.alignment,
        "distilled_from": state.distilled_from,
        "batches_per_step": recipe.accumulation * world.size,
        "watch": asdict(state.watch),
        "scaler": scaler,
        "recipe": as_stored(recipe),
    }


def resume_state(
    out: Path,
    recipe: AnalyzerRecipe,
    num_identities: int,
    device: torch.device,
    *,
    class_weights: Mapping[str, Tensor] | None = None,
    world: World = _ALONE,
) -> TrainingState:
    """Reads `last/` back, so that the training goes on as if it had never stopped.

    Raises:
        CheckpointError: if there is none, it is unreadable, or its recipe differs in more than `CHANGEABLE`, or a step
            would have another number of batches.
    """
    stored = read_state(out)
    # Between processes and accumulation a run may choose anew: their product is what a step computes.
    own = as_stored(recipe) | {"accumulation": stored["recipe"].get("accumulation", 1)}
    check_same_recipe(completed(stored["recipe"]), own, CHANGEABLE)
    batches, now = stored.get("batches_per_step", 1), recipe.accumulation * world.size
    if batches != now:
        raise CheckpointError(
            f"the run was started with {batches} batches a step (processes times accumulation), not {now}"
        )
    state = new_state(recipe, num_identities, device, class_weights=class_weights, world=world)
    folder = out / LAST
    load_into(state.network, folder / WEIGHTS)
    load_into(state.average.network, folder / "ema.safetensors")
    load_into(state.objective, folder / "objective.safetensors")
    restore_optimizer(state.optimizer, _own(state, load_tensors(folder / "optimizer.safetensors")))
    if state.scaler is not None and stored.get("scaler"):
        state.scaler.load_state_dict(stored["scaler"])
    state.watch = Watch(**stored.get("watch", {}))
    state.step = stored["step"]
    state.distilled_from = stored.get("distilled_from")
    return state


def _gathered(state: TrainingState) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Objective and optimizer as tensors, the sharded ones whole; every process must call it."""
    objective, optimizer = state.objective.state_dict(), optimizer_tensors(state.optimizer)
    margin = state.objective.margin
    if margin is not None:
        objective["margin.weight"] = margin.whole(margin.weight)
        for name in _sharded(state, optimizer):
            optimizer[name] = margin.whole(optimizer[name])
    return objective, optimizer


def _own(state: TrainingState, optimizer: dict[str, Tensor]) -> dict[str, Tensor]:
    margin = state.objective.margin
    if margin is None:
        return optimizer
    return optimizer | {name: margin.own(optimizer[name]) for name in _sharded(state, optimizer)}


def _sharded(state: TrainingState, optimizer: Mapping[str, Tensor]) -> list[str]:
    """Names of the optimizer's tensors that stand row by row beside the identities' weights, sorted."""
    parameters = [value for group in state.optimizer.param_groups for value in group["params"]]
    sharded = {
        number
        for number, value in enumerate(parameters)
        for own in state.objective.sharded_parameters()
        if value is own
    }
    return sorted(name for name, value in optimizer.items() if int(name.split(".")[0]) in sharded and value.ndim > 0)
