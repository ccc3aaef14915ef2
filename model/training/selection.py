"""Selection: what validation during a training decides: the best checkpoint, early stopping, a plateau's cuts.

Holds the decisions and what they remember between two validations. Never runs a network (see
`model.training.validating`).
"""

from dataclasses import dataclass
from typing import Final

from model.training.schedule import ScheduleConfig

_LOWER_IS_BETTER: Final = ("mae_years", "epsilon_error", "eer", "ece")


@dataclass(frozen=True, slots=True)
class ValidationConfig:
    """Validation while a training goes.

    Attributes:
        metric: TASK/METRIC of an evaluation's report, e.g. `age/mae_years`, its mean over the sets that have it; None
            validates nothing.
        sets: the validation sets; without a name, each that is there.
        per_epoch: how often in an epoch.
        every_steps: counts in its place where it is over 0.
        early_stop: epochs without a better metric after which the training ends; 0 never.
    """

    metric: str | None = None
    sets: tuple[str, ...] = ()
    per_epoch: int = 1
    every_steps: int = 0
    early_stop: int = 0

    def __post_init__(self) -> None:
        if self.metric is not None and self.metric.count("/") != 1:
            raise ValueError(f"validation.metric is TASK/METRIC, e.g. age/mae_years, not {self.metric!r}")
        if self.per_epoch < 1:
            raise ValueError("validation.per_epoch must be 1 at least")

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is an error."""
        return self.metric is not None and self.metric.endswith(_LOWER_IS_BETTER)

    def due(self, step: int, steps_per_epoch: int, total_steps: int) -> bool:
        """Whether to validate after `step` steps: as often as said, and at the end of an epoch and of the training."""
        if self.metric is None or step == 0:
            return False
        if self.every_steps > 0:
            return step % self.every_steps == 0 or step == total_steps
        place = step % steps_per_epoch
        return place == 0 or step == total_steps or place % max(steps_per_epoch // self.per_epoch, 1) == 0


@dataclass(slots=True)
class Watch:
    """What validation has seen so far; part of a training's state.

    Attributes:
        last: the last validation's value.
        best: the best value, and `best_step` after how many steps.
        epoch_best: the best value at an epoch's end, and `epochs_since_best` how many epochs ago.
        plateau_best: the value that a plateau waits to see beaten, and `plateau_waited` how many epochs it has.
        cooldown: epochs that a plateau still does not count.
        cut: what plateaus have multiplied the learning rate by.
        stopped: the training ended early.
    """

    last: float | None = None
    best: float | None = None
    best_step: int = 0
    epoch_best: float | None = None
    epochs_since_best: int = 0
    plateau_best: float | None = None
    plateau_waited: int = 0
    cooldown: int = 0
    cut: float = 1.0
    stopped: bool = False

    def see(self, value: float, step: int, config: ValidationConfig) -> bool:
        """Takes a validation's value; answers whether it is the best so far."""
        self.last = value
        if not _better(value, self.best, config.lower_is_better):
            return False
        self.best, self.best_step = value, step
        return True

    def end_epoch(self, config: ValidationConfig, schedule: ScheduleConfig) -> None:
        """Takes the epoch's end: counts towards early stopping and a plateau's cut, by the last value seen."""
        if self.last is None:
            return
        if _better(self.last, self.epoch_best, config.lower_is_better):
            self.epoch_best, self.epochs_since_best = self.last, 0
        else:
            self.epochs_since_best += 1
        self.stopped = 0 < config.early_stop <= self.epochs_since_best
        if schedule.kind == "plateau":
            self._see_plateau(self.last, config, schedule)

    def _see_plateau(self, value: float, config: ValidationConfig, schedule: ScheduleConfig) -> None:
        """As torch's ReduceLROnPlateau with a relative threshold."""
        if _better(value, self.plateau_best, config.lower_is_better, schedule.threshold):
            self.plateau_best, self.plateau_waited = value, 0
        else:
            self.plateau_waited += 1
        if self.cooldown > 0:
            self.cooldown, self.plateau_waited = self.cooldown - 1, 0
        if self.plateau_waited > schedule.patience:
            self.cut, self.cooldown, self.plateau_waited = self.cut * schedule.factor, schedule.cooldown, 0


def _better(value: float, best: float | None, lower: bool, threshold: float = 0.0) -> bool:
    if best is None:
        return True
    return value < best * (1 - threshold) if lower else value > best * (1 + threshold)
