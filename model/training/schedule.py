"""The learning rate's schedule: pure functions of step, plan and factor.

So a resumed training needs no schedule's state, and the total may be changed when it is resumed. Never holds state:
what a plateau has seen is the training's (see `model.training.selection`).
"""

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["cosine", "warm_cosine", "epoch_cosine", "multistep", "plateau", "constant"]


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """How the learning rate changes; every kind but `warm_cosine` warms up linearly to the peak first.

    Attributes:
        kind: `cosine` falls by step from the end of the warm-up to the peak * `final_share`. `warm_cosine` is the one
            that Swin and SwinFace train with (timm's): the cosine is counted from the very first step, so that it is
            joined a little under its peak, and its warm-up's start and its end are rates that every module shares.
            `epoch_cosine` falls once an epoch. `multistep` divides at the epochs of `milestones`. `plateau` multiplies
            by `factor` where the validation metric has not risen for `patience` epochs. `constant` stays.
        warmup_share: the `warm_cosine`'s first rate over the peak.
        milestones: epochs, counted from 1, at whose start `multistep` multiplies by `factor`.
        factor: of `multistep` and `plateau`.
        patience: epochs without a better metric that a `plateau` bears.
        cooldown: epochs after a cut that a `plateau` does not count.
        threshold: the share by which a metric must be better to count for a `plateau`.
    """

    kind: Kind = "cosine"
    warmup_share: float = 0.0
    milestones: tuple[int, ...] = (9, 12, 14)
    factor: float = 0.1
    patience: int = 3
    cooldown: int = 1
    threshold: float = 0.001

    def __post_init__(self) -> None:
        if not 0 < self.factor <= 1:
            raise ValueError("schedule.factor must be over 0, and no more than 1")


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe's times in steps, once the sets' sizes and the number of processes are known.

    Attributes:
        total_steps: of the whole training.
        warmup_steps: the rate rises over these.
        steps_per_epoch: one pass over the set that is walked through last; its last short batch is left out.
        peak: the highest learning rate.
    """

    total_steps: int
    warmup_steps: int
    steps_per_epoch: int
    peak: float

    def epoch(self, step: int) -> int:
        """The epoch that a step falls in, 0 for the first."""
        return step // self.steps_per_epoch


def learning_rate(step: int, total_steps: int, warmup_steps: int, peak: float, final_share: float) -> float:
    """The learning rate of a step: linear warm-up, then a cosine.

    Args:
        step: 0 for the first.
        total_steps: of the whole training; at its end the rate is `peak * final_share`.
        warmup_steps: the rate grows linearly to `peak` over these.
        peak: the highest rate.
        final_share: last rate over `peak`.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    return peak * (final_share + (1 - final_share) * (1 + math.cos(math.pi * progress)) / 2)


def scheduled_rate(
    config: ScheduleConfig, plan: Plan, final_share: float, step: int, multiplier: float = 1.0, cut: float = 1.0
) -> float:
    """The learning rate of a step and a module.

    Args:
        config: the schedule.
        plan: its times.
        final_share: the last rate over the peak, of the cosines.
        step: 0 for the first.
        multiplier: of the module's rate over everyone's.
        cut: what a plateau has multiplied the rate by so far.
    """
    if config.kind == "warm_cosine":
        return _warm_cosine(config, plan, final_share, step, multiplier)
    if config.kind == "cosine":
        rate = learning_rate(step, plan.total_steps, plan.warmup_steps, plan.peak, final_share)
        return rate if multiplier == 1.0 else rate * multiplier
    if step < plan.warmup_steps:
        return plan.peak * multiplier * (step + 1) / plan.warmup_steps
    return plan.peak * multiplier * _share(config, plan, final_share, step, cut)


def _share(config: ScheduleConfig, plan: Plan, final_share: float, step: int, cut: float) -> float:
    epoch = plan.epoch(step)
    if config.kind == "epoch_cosine":
        num_epochs = math.ceil(plan.total_steps / plan.steps_per_epoch)
        return _cosine(min(epoch / num_epochs, 1.0), 1.0, final_share)
    if config.kind == "multistep":
        return config.factor ** sum(epoch + 1 >= milestone for milestone in config.milestones)
    return cut if config.kind == "plateau" else 1.0


def _warm_cosine(config: ScheduleConfig, plan: Plan, final_share: float, step: int, multiplier: float) -> float:
    """As timm's CosineLRScheduler (Apache-2.0) without a warm-up prefix: first and last rate are no module's own."""
    first, own, last = plan.peak * config.warmup_share, plan.peak * multiplier, plan.peak * final_share
    if step < plan.warmup_steps:
        return first + (own - first) * step / plan.warmup_steps
    return _cosine(min(step / plan.total_steps, 1.0), own, last)


def _cosine(progress: float, first: float, last: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
