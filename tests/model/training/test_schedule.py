"""Tests of model.training.schedule."""

import pytest

from model.training.schedule import learning_rate


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
