"""Tests of model.losses.age."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model.losses.age import age_distribution, annealed_age, ordinal_age, smooth_l1_age
from model.losses.masking import Reduction

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


def test_ordinal_is_the_plain_formula() -> None:
    """Each rank asks whether the face is older: its first `age` targets are 1, and the cross entropies are summed."""
    torch.manual_seed(1)
    logits = torch.randn(3, 6, dtype=torch.float64)
    expected = 0.0
    for row, age in ((0, 4), (2, 0)):
        for rank in range(6):
            older = 1 / (1 + math.exp(-logits[row, rank].item()))
            expected -= math.log(older if rank < age else 1 - older)
    ages = torch.tensor([4.0, NAN, 0.0], dtype=torch.float64)
    assert ordinal_age(logits, ages).item() == pytest.approx(expected)
    assert ordinal_age(logits, ages, "mean").item() == pytest.approx(expected / 2)


@pytest.mark.parametrize(("age", "ranks"), [(-1.0, 0), (0.0, 0), (31.4, 31), (31.5, 32), (100.0, 100), (117.0, 100)])
def test_ordinal_ages_are_the_nearest_year_within_the_ranks(age: float, ranks: int) -> None:
    """The gradient pulls exactly the ranks below the age up and the others down."""
    logits = torch.zeros(1, 100, requires_grad=True)
    ordinal_age(logits, torch.tensor([age])).backward()
    assert logits.grad is not None
    assert int((logits.grad < 0).sum()) == ranks
    assert bool((logits.grad[0, :ranks] == -0.5).all())
    assert bool((logits.grad[0, ranks:] == 0.5).all())


def test_unlabelled_ordinal_rows_are_inert() -> None:
    """A row whose age is NaN gets a zero gradient and changes nothing; no label at all gives a zero loss."""
    logits = torch.randn(2, 5, requires_grad=True)
    loss = ordinal_age(logits, torch.tensor([3.0, NAN]))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().min().item() > 0.0
    assert logits.grad[1].abs().max().item() == 0.0
    torch.testing.assert_close(loss, ordinal_age(logits[:1], torch.tensor([3.0])))
    assert ordinal_age(logits, torch.tensor([NAN, NAN])).item() == 0.0


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_ordinal_gradients_are_exact(reduction: Reduction) -> None:
    """Analytic gradients agree with finite differences."""
    age = torch.tensor([2.0, NAN, 4.0], dtype=torch.float64)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ordinal_age(x, age, reduction), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_answers_stay_finite(dtype: torch.dtype) -> None:
    """Answers at the edge of half precision give finite losses and gradients: half is computed in float32."""
    age = torch.tensor([3.0, 80.0])
    for loss in (smooth_l1_age, _annealed):
        years = torch.tensor([6e4, -6e4], dtype=dtype, requires_grad=True)
        _finite(loss(years, age), years)
    logits = torch.tensor([[6e4, -6e4]] * 2, dtype=dtype, requires_grad=True)
    _finite(ordinal_age(logits, age), logits)


def _finite(loss: Tensor, answer: Tensor) -> None:
    assert loss.dtype == torch.float32
    loss.backward()
    assert answer.grad is not None
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(answer.grad).all())


def test_a_distribution_is_the_plain_formula() -> None:
    """The loss is the divergence from a normal distribution around the age, and the expectation's distance."""
    logits, age, years = torch.randn(3, 101), torch.tensor([30.0, NAN, 0.0]), torch.arange(101.0)
    expected = []
    for row in (0, 2):
        target = torch.exp(-((years - age[row]) ** 2) / (2 * 2.5**2))
        target = target / target.sum()
        answer = torch.softmax(logits[row], 0)
        divergence = (target * (target.clamp(min=1e-30).log() - answer.log())).sum()
        expected.append(divergence + 0.1 * ((answer * years).sum() - age[row]).abs())
    torch.testing.assert_close(age_distribution(logits, age), torch.stack(expected).mean(), rtol=1e-4, atol=1e-5)


def test_a_distribution_like_its_target_costs_nothing() -> None:
    """A perfect answer has no loss; an age beyond the last year counts as the last."""
    years = torch.arange(101.0)
    perfect = -((years - 50) ** 2) / (2 * 2.5**2)
    assert age_distribution(perfect[None], torch.tensor([50.0])).item() == pytest.approx(0, abs=1e-4)
    last = age_distribution(perfect[None], torch.tensor([100.0]))
    torch.testing.assert_close(age_distribution(perfect[None], torch.tensor([116.0])), last)


def test_a_distributions_gradients_are_exact() -> None:
    """Analytic gradients agree with finite differences, and a row without a label has none."""
    logits = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)
    age = torch.tensor([4.0, NAN], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: age_distribution(x, age), logits)
    age_distribution(logits, age).backward()
    assert logits.grad is not None
    assert logits.grad[1].abs().max().item() == 0.0
