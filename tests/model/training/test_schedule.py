"""Tests of model.training.schedule."""

import math

import pytest
import torch
from timm.scheduler.cosine_lr import CosineLRScheduler

from model.training.schedule import Plan, ScheduleConfig, learning_rate, scheduled_rate


def _rate(step: int, total: int = 110) -> float:
    return learning_rate(step, total, warmup_steps=10, peak=2.0, final_share=0.1)


def test_warm_up_is_linear_to_the_peak() -> None:
    """The rate grows by the same amount each step and reaches its peak at the last step of the warm-up."""
    assert [_rate(step) for step in range(10)] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert _rate(10) == 2.0


def test_cosine_falls_to_the_final_share() -> None:
    """Half-way between warm-up and end the rate is the mean of first and last; at the end and after it is the last."""
    assert _rate(60) == pytest.approx((2.0 + 0.2) / 2)
    assert _rate(110) == pytest.approx(0.2)
    assert _rate(500) == pytest.approx(0.2)
    assert all(_rate(step) > _rate(step + 1) for step in range(10, 109))


def test_another_total_moves_the_end_alone() -> None:
    """A shorter total ends sooner at the same rate, and starts alike."""
    assert _rate(5, total=60) == _rate(5)
    assert _rate(60, total=60) == pytest.approx(0.2)


def test_no_warm_up() -> None:
    """Without a warm-up the first step has the peak's rate."""
    assert learning_rate(0, 10, 0, 3.0, 0.0) == 3.0


def _plan(total: int = 100, warmup: int = 0, epoch: int = 10) -> Plan:
    return Plan(total_steps=total, warmup_steps=warmup, steps_per_epoch=epoch, peak=2.0)


def test_todays_cosine_is_the_plain_function() -> None:
    """The kind `cosine` is `learning_rate` to the bit; a multiplier scales it."""
    config, plan = ScheduleConfig(), _plan(warmup=10)
    for step in (0, 9, 10, 57, 100):
        plain = learning_rate(step, 100, 10, 2.0, 0.1)
        assert scheduled_rate(config, plan, 0.1, step) == plain
        assert scheduled_rate(config, plan, 0.1, step, multiplier=0.1) == plain * 0.1


def test_warm_cosine_is_timms() -> None:
    """At every step and for every module the rate is that of timm's scheduler as SwinFace sets it up."""
    config, plan = ScheduleConfig(kind="warm_cosine", warmup_share=1e-3), _plan(warmup=20)
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (2.0, 0.2)]
    optimizer = torch.optim.SGD(groups)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=100, lr_min=0.02, warmup_lr_init=2e-3, warmup_t=20, cycle_limit=1, t_in_epochs=False
    )
    for step in range(100):
        scheduler.step_update(step)
        for group, multiplier in zip(optimizer.param_groups, (1.0, 0.1), strict=True):
            assert scheduled_rate(config, plan, 0.01, step, multiplier) == pytest.approx(group["lr"])


def test_epoch_cosine_falls_by_epoch() -> None:
    """The rate stays within an epoch, is the peak in the first, and is a half-way mean in the middle one."""
    config, plan = ScheduleConfig(kind="epoch_cosine"), _plan()
    rates = [scheduled_rate(config, plan, 1e-6, step) for step in range(100)]
    assert all(rates[step] == rates[step // 10 * 10] for step in range(100))
    assert rates[0] == 2.0
    assert rates[50] == pytest.approx(1.0 + 1e-6, rel=1e-5)
    assert rates[90] == pytest.approx(2.0 * (1 + math.cos(math.pi * 0.9)) / 2, rel=1e-4)


def test_multistep_divides_at_its_epochs() -> None:
    """The 9th, 12th and 14th epoch each start with a tenth of the rate before."""
    config, plan = ScheduleConfig(kind="multistep"), _plan(total=300)
    rates = [scheduled_rate(config, plan, 0.0, epoch * 10) for epoch in range(30)]
    expected = [2.0] * 8 + [0.2] * 3 + [0.02] * 2 + [0.002] * 17
    assert rates == pytest.approx(expected)
    assert scheduled_rate(config, plan, 0.0, 79) == 2.0


def test_a_plateaus_cut_and_a_constant() -> None:
    """A plateau's rate is the peak times what was cut so far; a constant one is the peak, after the warm-up."""
    assert scheduled_rate(ScheduleConfig(kind="plateau"), _plan(), 0.0, 50, cut=0.01) == pytest.approx(0.02)
    constant = ScheduleConfig(kind="constant")
    assert scheduled_rate(constant, _plan(warmup=10), 0.0, 4, multiplier=0.5) == pytest.approx(0.5)
    assert scheduled_rate(constant, _plan(warmup=10), 0.0, 99) == 2.0
