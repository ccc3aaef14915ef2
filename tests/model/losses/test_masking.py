"""Tests of model.losses.masking."""

import torch

from model.losses.masking import masked_mean


def test_mean_over_labelled_rows() -> None:
    """Rows without a label count neither in the sum nor in the number."""
    mean = masked_mean(torch.tensor([1.0, 5.0, 100.0]), torch.tensor([True, True, False]))
    assert mean.item() == 3.0


def test_no_labelled_row() -> None:
    """Where no row is labelled the loss is 0 and so is its gradient."""
    loss_B = torch.ones(3, requires_grad=True)
    mean = masked_mean(loss_B, torch.zeros(3, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0.0
    assert loss_B.grad is not None
    assert loss_B.grad.tolist() == [0.0, 0.0, 0.0]
