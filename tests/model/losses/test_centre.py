"""Tests of model.losses.centre."""

import math

import pytest
import torch

from model.losses.centre import CentreLoss, centre_distance

TARGET = torch.tensor([2, -1, 0, 2])


def _pair(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(4, 5, dtype=dtype, generator=generator).requires_grad_(),
        torch.randn(3, 5, dtype=dtype, generator=generator).requires_grad_(),
    )


def test_loss_is_the_plain_formula() -> None:
    """The loss is the mean over labelled rows of half the squared distance to the class' centre."""
    feature, centres = _pair()
    squares = [((feature[i] - centres[k]) ** 2).sum() / 2 for i, k in ((0, 2), (2, 0), (3, 2))]
    torch.testing.assert_close(centre_distance(feature, TARGET, centres), torch.stack(squares).mean())


def test_centres_follow_the_papers_update() -> None:
    """A centre's gradient is its rows' pull over 1 + their number, so a frequent class does not outrun the others."""
    feature, centres = _pair()
    centre_distance(feature, TARGET, centres).backward()
    assert centres.grad is not None
    pulls = torch.zeros(3, 5, dtype=torch.float64)
    for row, label in ((0, 2), (2, 0), (3, 2)):
        pulls[label] += (centres[label] - feature[row]).detach()
    counts = torch.tensor([1, 0, 2], dtype=torch.float64)
    torch.testing.assert_close(centres.grad, pulls / (1 + counts[:, None]) / 3)


def test_unlabelled_rows_are_inert() -> None:
    """A row without a label moves neither itself nor a centre; none labelled gives a zero loss."""
    feature, centres = _pair()
    centre_distance(feature, TARGET, centres).backward()
    assert feature.grad is not None
    assert centres.grad is not None
    assert feature.grad[1].abs().max().item() == 0.0
    assert centres.grad[1].abs().max().item() == 0.0
    known = TARGET >= 0
    torch.testing.assert_close(
        centre_distance(feature, TARGET, centres), centre_distance(feature[known], TARGET[known], centres)
    )
    assert centre_distance(feature, torch.full((4,), -1), centres).item() == 0.0


def test_feature_gradients_are_exact() -> None:
    """Analytic gradients of the features agree with finite differences."""
    feature, centres = _pair()
    assert torch.autograd.gradcheck(lambda x: centre_distance(x, TARGET, centres.detach()), feature)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    """Features whose squared distance is beyond half precision give a finite loss and gradient."""
    feature = torch.full((2, 5), 3e4, dtype=dtype, requires_grad=True)
    loss = CentreLoss(3, 5)(feature, torch.tensor([0, 1]))
    loss.backward()
    assert feature.grad is not None
    assert loss.dtype == torch.float32
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(feature.grad).all())


def test_centres_start_small_and_learn() -> None:
    """Centres start within Xavier's bound and, stepped by their gradient, end at their rows' mean."""
    torch.manual_seed(0)
    loss = CentreLoss(3, 5)
    assert loss.centres.abs().max().item() <= math.sqrt(2.0) * math.sqrt(6 / 8)
    feature, _ = _pair(torch.float32)
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        loss(feature.detach(), TARGET).backward()
        optimizer.step()
    torch.testing.assert_close(loss.centres[2], feature[[0, 3]].mean(0))
    torch.testing.assert_close(loss.centres[0], feature[2])
