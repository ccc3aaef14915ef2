"""The optimizer: which kind, and which parameter stands in which group, with its share of the rate and its decay.

Holds the grouping, the clipping and what is kept of an optimizer on disk. Never holds a schedule.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from model.training.world import World

_NORMS = (nn.modules.batchnorm._BatchNorm,)


class OptimizerError(ValueError):
    """A multiplier for a module that the network does not have; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """The optimizer and its groups.

    Attributes:
        kind: AdamW, or SGD with momentum.
        momentum: of SGD.
        decay: which parameters the weight decay acts on: `matrices` leaves out norms, biases, relative position biases
            and the objective's own weights; `all` is what an optimizer does that is given everything;
            `all_but_batch_norm` is face_analysis_pytorch's.
        position_decay: whether a learnt absolute position decays with the matrices.
        multipliers: of the learning rate, by the beginning of a parameter's name, e.g. `backbone`; the longest that
            fits counts, 0 leaves a module untrained. The objective's parameters have names that begin with `objective`.
        published_multipliers: what the published code does in place of `multipliers`, where the two differ.
        as_published: take `published_multipliers`.
        clip: whose gradient is scaled down to `max_grad_norm`, by the beginning of a parameter's name; everyone's where
            there is no name.
        rate_batch: scale the learning rate by a step's rows over this; 0 leaves it as it is.
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    decay: Literal["matrices", "all", "all_but_batch_norm"] = "matrices"
    position_decay: bool = True
    multipliers: Mapping[str, float] = field(default_factory=dict)
    published_multipliers: Mapping[str, float] = field(default_factory=dict)
    as_published: bool = False
    clip: tuple[str, ...] = ()
    rate_batch: int = 0

    @property
    def active_multipliers(self) -> Mapping[str, float]:
        """The multipliers that act."""
        return self.published_multipliers if self.as_published else self.multipliers


def build_optimizer(
    config: OptimizerConfig, network: nn.Module, objective: nn.Module, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimizer of a network and an objective; each group knows its `multiplier` of the learning rate.

    Raises:
        OptimizerError: if a multiplier names no module.
    """
    groups = _groups(config, network, objective, weight_decay)
    if config.kind == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum)
    # Class weights are normalised where they are used, so that decay does nothing good to them.
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def _groups(
    config: OptimizerConfig, network: nn.Module, objective: nn.Module, weight_decay: float
) -> list[dict[str, Any]]:
    """A decayed and a plain group for each multiplier, in the order in which the multipliers come."""
    named = [
        *network.named_parameters(),
        *((f"objective.{name}", value) for name, value in objective.named_parameters()),
    ]
    _check_names(config.active_multipliers, [name for name, _ in named])
    batch_norm = _batch_norm_parameters(network)
    found: dict[float, tuple[list[nn.Parameter], list[nn.Parameter]]] = {}
    for name, value in named:
        multiplier = _multiplier(config.active_multipliers, name)
        if multiplier > 0:
            decayed, plain = found.setdefault(multiplier, ([], []))
            (decayed if _decays(config, name, value, batch_norm) else plain).append(value)
    return [
        {"params": params, "weight_decay": decay, "multiplier": multiplier}
        for multiplier, pair in found.items()
        for params, decay in zip(pair, (weight_decay, 0.0), strict=True)
        if params
    ]


def _decays(config: OptimizerConfig, name: str, value: Tensor, batch_norm: set[int]) -> bool:
    if config.decay == "all":
        return True
    if config.decay == "all_but_batch_norm":
        return id(value) not in batch_norm
    plain = value.ndim < 2 or "relative_position_bias" in name or name.startswith("objective.")
    return not plain and (config.position_decay or name != "backbone.position")


def _batch_norm_parameters(network: nn.Module) -> set[int]:
    norms = (layer for layer in network.modules() if isinstance(layer, _NORMS))
    return {id(value) for layer in norms for value in layer.parameters()}


def _multiplier(multipliers: Mapping[str, float], name: str) -> float:
    fitting = [prefix for prefix in multipliers if _begins(name, prefix)]
    return multipliers[max(fitting, key=len)] if fitting else 1.0


def _check_names(multipliers: Mapping[str, float], names: Sequence[str]) -> None:
    for prefix in multipliers:
        if not any(_begins(name, prefix) for name in names):
            parts = [name.split(".") for name in names]
            known = sorted({".".join(each[:depth]) for each in parts for depth in range(1, len(each))})
            near = difflib.get_close_matches(prefix, known, 1, cutoff=0)
            raise OptimizerError(f"the network has no module {prefix!r} to multiply; did you mean {near[0]!r}?")


def _begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def chosen_parameters(network: nn.Module, prefixes: Sequence[str]) -> list[nn.Parameter]:
    """The parameters whose names begin so."""
    return [value for name, value in network.named_parameters() if any(_begins(name, prefix) for prefix in prefixes)]


def clip_gradients(
    parameters: Iterable[nn.Parameter], sharded: Sequence[nn.Parameter], limit: float, world: World
) -> Tensor:
    """Scales gradients down to a norm, and answers the norm that they had; every process gets the same one.

    Args:
        parameters: those that every process has alike.
        sharded: those of which each process has its own part.
        limit: the largest norm; 0 measures alone.
        world: the processes.
    """
    values = [*parameters, *sharded]
    limit = limit if limit > 0 else torch.inf
    if world.size == 1 or not sharded:
        return torch.nn.utils.clip_grad_norm_(values, limit)
    shared, own = (
        torch.nn.utils.get_total_norm([value.grad for value in part if value.grad is not None])
        for part in ([*parameters], sharded)
    )
    norm = (shared**2 + world.total(own.to(shared.device) ** 2)).sqrt()
    torch.nn.utils.clip_grads_with_norm_(values, limit, norm)
    return norm


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors: the parameter's number, a dot, and what of it."""
    state: dict[int, dict[str, Tensor | None]] = optimizer.state_dict()["state"]
    named = {f"{number}.{name}": value for number, values in state.items() for name, value in values.items()}
    return {name: value for name, value in named.items() if value is not None}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Fills an optimizer with what `optimizer_tensors` gave."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        # In its parameter's memory order, which a file does not keep: the fused step walks both side by side.
        like = parameters[int(number)]
        ordered = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        state.setdefault(int(number), {})[key] = ordered
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
