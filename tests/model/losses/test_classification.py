"""Tests of model.losses.classification."""

import pytest
import torch

from model.losses.classification import cross_entropy, pairwise_attributes


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
