"""The mean over labelled rows: what makes one batch of many sets train each loss on its own rows.

Holds the one reduction that every loss here shares. Never decides which rows are labelled. Shape suffixes: B batch.
"""

from torch import Tensor


def masked_mean(loss_B: Tensor, labelled_B: Tensor) -> Tensor:
    """Mean of a per-row loss over the labelled rows; 0 with zero gradient where none is.

    Args:
        loss_B: float (B,), finite on every row, the unlabelled too (0 times NaN would be NaN).
        labelled_B: bool (B,).
    """
    weight_B = labelled_B.to(loss_B.dtype)
    return (loss_B * weight_B).sum() / weight_B.sum().clamp(min=1)
