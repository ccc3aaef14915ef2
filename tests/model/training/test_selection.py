"""Tests of model.training.selection."""

import warnings

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from model.training.schedule import ScheduleConfig
from model.training.selection import ValidationConfig, Watch

ACCURACY = ValidationConfig(metric="gender/accuracy", early_stop=3)
ERROR = ValidationConfig(metric="age/mae_years")
VALUES = [
    5.0,
    4.0,
    4.1,
    4.0,
    4.2,
    4.3,
    4.4,
    3.9,
    3.899,
    3.95,
    3.95,
    3.95,
    3.95,
    3.95,
    3.95,
    3.0,
    3.1,
    3.1,
    3.1,
    3.1,
    3.1,
]


def test_the_best_is_kept_by_the_metrics_sense() -> None:
    """The highest accuracy and the lowest error are the best, at the first step that reached them."""
    for config, values, best in ((ACCURACY, [0.5, 0.7, 0.7, 0.6], 2), (ERROR, [9.0, 5.0, 5.0, 7.0], 2)):
        watch = Watch()
        improved = [watch.see(value, step, config) for step, value in enumerate(values, 1)]
        assert improved == [True, True, False, False]
        assert (watch.best_step, watch.last) == (best, values[-1])


def test_early_stopping_counts_epochs() -> None:
    """The training stops after as many epochs without a better one as asked; a better one starts the count anew."""
    watch, stopped = Watch(), []
    for step, value in enumerate([0.5, 0.4, 0.4, 0.6, 0.6, 0.5, 0.6], 1):
        watch.see(value, step, ACCURACY)
        watch.end_epoch(ACCURACY, ScheduleConfig())
        stopped.append(watch.stopped)
    assert stopped == [False] * 6 + [True]


def test_without_patience_it_never_stops() -> None:
    """With 0 no number of bad epochs stops a training, and an epoch without a validation counts nothing."""
    watch = Watch()
    watch.end_epoch(ERROR, ScheduleConfig(kind="plateau"))
    assert watch == Watch()
    for step in range(30):
        watch.see(9.0 + step, step, ERROR)
        watch.end_epoch(ERROR, ScheduleConfig())
    assert not watch.stopped


@pytest.mark.parametrize("patience", [1, 3])
def test_a_plateau_cuts_as_torchs(patience: int) -> None:
    """Epoch for epoch the cut is what torch's scheduler makes of the same values, cooldown and threshold too."""
    schedule = ScheduleConfig(kind="plateau", patience=patience)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchs = ReduceLROnPlateau(optimizer, "min", factor=0.1, patience=patience, threshold=0.001, cooldown=1)
    watch, cuts = Watch(), []
    for step, value in enumerate(VALUES):
        watch.see(value, step, ERROR)
        watch.end_epoch(ERROR, schedule)
        torchs.step(value)
        cuts.append(watch.cut)
        assert watch.cut == pytest.approx(optimizer.param_groups[0]["lr"])
    assert cuts[-1] < cuts[0]


def test_when_it_is_due() -> None:
    """Validation comes as often an epoch as said, at its end, and at the training's; or every so many steps."""
    config = ValidationConfig(metric="age/mae_years", per_epoch=3)
    assert [step for step in range(26) if config.due(step, 10, 25)] == [3, 6, 9, 10, 13, 16, 19, 20, 23, 25]
    by_steps = ValidationConfig(metric="age/mae_years", every_steps=7)
    assert [step for step in range(26) if by_steps.due(step, 10, 25)] == [7, 14, 21, 25]
    assert not any(ValidationConfig().due(step, 10, 25) for step in range(26))


def test_a_metric_needs_a_task() -> None:
    """A metric that is no TASK/METRIC is refused in one line."""
    with pytest.raises(ValueError, match="TASK/METRIC"):
        ValidationConfig(metric="accuracy")
