"""Cross entropies over labelled rows.

Holds classification losses alone. Never weighs one task against another. Shape suffixes: B batch; K classes;
A attributes.
"""

from torch import Tensor
from torch.nn import functional as F

from model.losses.masking import masked_mean


def cross_entropy(logits_BK: Tensor, target_B: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy over the rows whose target is not negative.

    Args:
        logits_BK: float (B, K).
        target_B: int64 (B,), a class, or -1 for a row without a label.
        label_smoothing: share of the target spread over all classes.
    """
    loss_B = F.cross_entropy(logits_BK, target_B.clamp(min=0), reduction="none", label_smoothing=label_smoothing)
    return masked_mean(loss_B, target_B >= 0)


def pairwise_attributes(logits_BA2: Tensor, target_BA: Tensor) -> Tensor:
    """Mean cross entropy of attributes as pairs of logits [no, yes], over every labelled cell.

    Args:
        logits_BA2: float (B, A, 2).
        target_BA: integer (B, A), 0 or 1, or -1 for a cell without a label.
    """
    target = target_BA.flatten().long()
    return cross_entropy(logits_BA2.flatten(0, 1), target)
