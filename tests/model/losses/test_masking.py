"""Tests of model.losses.masking."""

import torch

from model.losses.masking import at_least_float32, masked_mean, picked, reduced

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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


def test_reductions() -> None:
    """A sum grows with the labelled rows, a mean does not, and neither sees the others."""
    loss_B, labelled_B = torch.tensor([1.0, 5.0, 100.0]), torch.tensor([True, True, False])
    assert reduced(loss_B, labelled_B, "sum").item() == 6.0
    assert reduced(loss_B, labelled_B, "mean").item() == 3.0
    assert reduced(loss_B, torch.zeros(3, dtype=torch.bool), "sum").item() == 0.0


def test_half_precision_is_widened() -> None:
    """Half precision becomes float32, and what is wide enough stays as it is."""
    widened = {dtype: at_least_float32(torch.ones(1, dtype=dtype)).dtype for dtype in FLOATS}
    assert widened == dict(zip(FLOATS, [torch.float32] * 3 + [torch.float64], strict=True))


def test_picked_columns() -> None:
    """A row's own column, 0 where it has none, also where there are no columns at all."""
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert picked(values, torch.tensor([1, -1, 0])).tolist() == [2.0, 0.0, 5.0]
    assert picked(values[:, :0], torch.tensor([-1, -1, -1])).tolist() == [0.0, 0.0, 0.0]
