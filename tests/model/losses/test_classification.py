"""Tests of model.losses.classification."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model.losses.classification import cross_entropy, inverse_frequency_weights, pairwise_attributes, weighted_nll


def test_cross_entropy_is_the_plain_formula() -> None:
    """The loss is the mean of -log softmax at the target over the labelled rows."""
    logits = torch.randn(4, 3, dtype=torch.float64)
    target = torch.tensor([2, -1, 0, 1])
    rows = [-torch.log(torch.exp(logits[i, t]) / torch.exp(logits[i]).sum()) for i, t in ((0, 2), (2, 0), (3, 1))]
    torch.testing.assert_close(cross_entropy(logits, target), torch.stack(rows).mean())


def test_label_smoothing_spreads_the_target() -> None:
    """Smoothing by e gives the target 1 - e + e / K and every other class e / K."""
    logits = torch.randn(1, 4, dtype=torch.float64)
    spread = torch.tensor([0.025, 0.925, 0.025, 0.025], dtype=torch.float64)
    expected = -(spread * torch.log_softmax(logits[0], 0)).sum()
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([1]), 0.1), expected)


def test_unlabelled_rows_are_inert() -> None:
    """A row without a label gets a zero gradient, and no labelled row at all gives a zero loss."""
    logits = torch.randn(3, 3, requires_grad=True)
    cross_entropy(logits, torch.tensor([-1, 1, -1])).backward()
    assert logits.grad is not None
    assert logits.grad[[0, 2]].abs().max().item() == 0.0
    assert logits.grad[1].abs().max().item() > 0.0
    assert cross_entropy(logits, torch.tensor([-1, -1, -1])).item() == 0.0


def test_attributes_average_over_labelled_cells() -> None:
    """A pair's loss is the softplus of the wrong member's lead, averaged over every labelled cell."""
    logits = torch.randn(2, 3, 2, dtype=torch.float64)
    target = torch.tensor([[1, 0, -1], [-1, -1, -1]], dtype=torch.int8)
    lead = logits[0, :, 1] - logits[0, :, 0]
    expected = (torch.log1p(torch.exp(-lead[0])) + torch.log1p(torch.exp(lead[1]))) / 2
    torch.testing.assert_close(pairwise_attributes(logits, target), expected)


@pytest.mark.parametrize("labelled", [True, False])
def test_gradients_are_exact(labelled: bool) -> None:
    """Analytic gradients agree with finite differences, with and without labelled rows."""
    target = torch.tensor([1, -1, 0]) if labelled else torch.tensor([-1, -1, -1])
    logits = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, target), logits)


WEIGHTS = torch.tensor([1.0, 2.5, 0.5], dtype=torch.float64)


def test_class_weights_are_the_plain_weighted_mean() -> None:
    """A row counts as its target's class does, and the sum is divided by the labelled rows' weights."""
    logits = torch.randn(4, 3, dtype=torch.float64)
    target = torch.tensor([2, -1, 0, 1])
    total, weights = 0.0, 0.0
    for row, label in ((0, 2), (2, 0), (3, 1)):
        probability = torch.exp(logits[row, label]) / torch.exp(logits[row]).sum()
        total -= WEIGHTS[label].item() * torch.log(probability).item()
        weights += WEIGHTS[label].item()
    assert cross_entropy(logits, target, class_weight_K=WEIGHTS).item() == pytest.approx(total / weights)
    log_probability = torch.log_softmax(logits, 1)
    assert weighted_nll(log_probability, target, WEIGHTS).item() == pytest.approx(total / weights)


def test_smoothing_and_weights_go_together() -> None:
    """Smoothed targets weigh every class by its own weight: torch's cross entropy over the labelled rows alone."""
    logits, target = torch.randn(4, 3, dtype=torch.float64), torch.tensor([2, -1, 0, 1])
    known = target >= 0
    spread = torch.nn.functional.one_hot(target[known], 3) * 0.9 + 0.1 / 3
    expected = -(WEIGHTS * spread * torch.log_softmax(logits[known], 1)).sum() / WEIGHTS[target[known]].sum()
    torch.testing.assert_close(cross_entropy(logits, target, 0.1, WEIGHTS), expected)


def test_weights_are_the_largest_class_over_each() -> None:
    """The largest class weighs 1, one of a quarter of its rows 4, and one without a row 0."""
    weights = inverse_frequency_weights([200, 50, 0, 100])
    assert weights.tolist() == [1.0, 4.0, 0.0, 2.0]
    assert weights.dtype == torch.float32
    assert torch.equal(inverse_frequency_weights(torch.tensor([200, 50, 0, 100])), weights)


def test_weighted_rows_without_a_label_are_inert() -> None:
    """A row without a label gets a zero gradient and changes nothing; none labelled gives a zero loss."""
    losses: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda x, y: cross_entropy(x, y, 0.1, WEIGHTS),
        lambda x, y: weighted_nll(x, y, WEIGHTS),
    ]
    for loss in losses:
        values = torch.log_softmax(torch.randn(3, 3), 1).requires_grad_()
        got = loss(values, torch.tensor([-1, 1, -1]))
        got.backward()
        assert values.grad is not None
        assert values.grad[[0, 2]].abs().max().item() == 0.0
        assert values.grad[1].abs().max().item() > 0.0
        torch.testing.assert_close(got, loss(values[1:2], torch.tensor([1])))
        assert loss(values, torch.tensor([-1, -1, -1])).item() == 0.0


def test_weighted_gradients_are_exact() -> None:
    """Analytic gradients agree with finite differences."""
    target = torch.tensor([1, -1, 0])
    values = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, target, 0.1, WEIGHTS), values)
    assert torch.autograd.gradcheck(lambda x: weighted_nll(x, target, WEIGHTS), values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_stay_finite(dtype: torch.dtype) -> None:
    """Logits at the edge of half precision give a finite float32 loss and finite gradients."""
    for weight in (None, WEIGHTS):
        logits = torch.tensor([[6e4, -6e4, 0.0], [-6e4, 6e4, 0.0]], dtype=dtype, requires_grad=True)
        loss = cross_entropy(logits, torch.tensor([1, 0]), 0.1, weight)
        loss.backward()
        assert logits.grad is not None
        assert loss.dtype == torch.float32
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(logits.grad).all())
