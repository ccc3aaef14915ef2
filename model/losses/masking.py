"""The reductions over labelled rows: what makes one batch of many sets train each loss on its own rows.

Holds what every loss here shares. Never decides which rows are labelled. Shape suffixes: B batch;
K columns.
"""

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["mean", "sum"]


def masked_mean(loss_B: Tensor, labelled_B: Tensor) -> Tensor:
    """Mean of a per-row loss over the labelled rows; 0 with zero gradient where none is.

    Args:
        loss_B: float (B,), finite on every row, the unlabelled too (0 times NaN would be NaN).
        labelled_B: bool (B,).
    """
    weight_B = labelled_B.to(loss_B.dtype)
    return (loss_B * weight_B).sum() / weight_B.sum().clamp(min=1)


def reduced(loss_B: Tensor, labelled_B: Tensor, reduction: Reduction) -> Tensor:
    """Mean or sum of a per-row loss over the labelled rows; 0 with zero gradient where none is.

    Args:
        loss_B: float (B,), finite on every row.
        labelled_B: bool (B,).
        reduction: `sum` where a published training sums; its size then grows with the batch.
    """
    if reduction == "mean":
        return masked_mean(loss_B, labelled_B)
    return (loss_B * labelled_B.to(loss_B.dtype)).sum()


def picked(values_BK: Tensor, column_B: Tensor) -> Tensor:
    """One column's value a row (B,), 0 where the column is negative; there may be no columns at all.

    Args:
        values_BK: (B, K).
        column_B: int64 (B,), below K.
    """
    if values_BK.shape[1] == 0:
        return values_BK.sum(1)
    return values_BK.gather(1, column_B.clamp(min=0)[:, None])[:, 0].masked_fill(column_B < 0, 0.0)


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision to float32, anything else as it is: a loss' sums and exponentials need the range."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
