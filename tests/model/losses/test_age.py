"""Tests of model.losses.age."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model.losses.age import annealed_age, smooth_l1_age

NAN = math.nan


def _annealed(prediction_B: Tensor, age_B: Tensor) -> Tensor:
    return annealed_age(prediction_B, age_B, progress=0.3)


both = pytest.mark.parametrize("loss", [smooth_l1_age, _annealed])


def test_smooth_l1_is_the_plain_formula() -> None:
    """Far off the loss is the distance less half of beta, within beta it is quadratic, in units of ten years."""
    loss = smooth_l1_age(torch.tensor([40.0, 31.0, 7.0]), torch.tensor([30.0, 30.0, NAN]), beta_years=2.0)
    assert loss.item() == pytest.approx(((10 - 1) + 0.5 * 1 / 2) / 2 / 10)


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_annealed_is_swinfaces_formula(progress: float) -> None:
    """The loss goes from half the squared distance to 1 - exp(-d / (2 sigma^2)) as training proceeds."""
    squared = torch.tensor([16.0, 1.0])
    expected = ((1 - progress) / 2 * squared + progress * (1 - torch.exp(-squared / 18))).mean()
    loss = annealed_age(torch.tensor([34.0, 29.0, 50.0]), torch.tensor([30.0, 30.0, NAN]), progress)
    torch.testing.assert_close(loss, expected)


@both
def test_unlabelled_rows_are_inert(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """A row whose age is NaN gets a zero gradient and poisons nothing; no label at all gives a zero loss."""
    prediction = torch.tensor([40.0, 90.0], requires_grad=True)
    loss(prediction, torch.tensor([30.0, NAN])).backward()
    assert prediction.grad is not None
    assert prediction.grad[0].item() != 0.0
    assert prediction.grad[1].item() == 0.0
    nothing = loss(prediction, torch.tensor([NAN, NAN]))
    nothing.backward()
    assert nothing.item() == 0.0
    assert bool(torch.isfinite(prediction.grad).all())


@both
def test_gradients_are_exact(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Analytic gradients agree with finite differences."""
    age = torch.tensor([30.0, 21.0, NAN], dtype=torch.float64)
    prediction = torch.tensor([31.0, 29.5, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, age), prediction)
