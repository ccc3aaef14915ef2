"""Cross entropies over labelled rows.

Holds classification losses alone. Never weighs one task against another. Shape suffixes: B batch; K classes;
A attributes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from model.losses.masking import at_least_float32, masked_mean


def cross_entropy(
    logits_BK: Tensor, target_B: Tensor, label_smoothing: float = 0.0, class_weight_K: Tensor | None = None
) -> Tensor:
    """Mean cross entropy over the rows whose target is not negative.

    With class weights the mean is the weighted one: each row counts as its target's weight does, and the sum is divided
    by the labelled rows' weights, as `torch.nn.functional.cross_entropy` has it.

    Args:
        logits_BK: float (B, K).
        target_B: int64 (B,), a class, or -1 for a row without a label.
        label_smoothing: share of the target spread over all classes.
        class_weight_K: float (K,), not negative (see `inverse_frequency_weights`).
    """
    logits_BK, known_B = at_least_float32(logits_BK), target_B.clamp(min=0)
    if class_weight_K is None:
        loss_B = F.cross_entropy(logits_BK, known_B, reduction="none", label_smoothing=label_smoothing)
        return masked_mean(loss_B, target_B >= 0)
    class_weight_K = class_weight_K.to(logits_BK)
    loss_B = F.cross_entropy(
        logits_BK, known_B, weight=class_weight_K, reduction="none", label_smoothing=label_smoothing
    )
    return _weighted_mean(loss_B, class_weight_K[known_B], target_B >= 0)


def weighted_nll(log_probability_BK: Tensor, target_B: Tensor, class_weight_K: Tensor) -> Tensor:
    """Weighted mean of minus the target's log probability, over the rows whose target is not negative.

    The race and gender loss of face_analysis_pytorch, whose heads end in a log-softmax. On plain logits take
    `cross_entropy` with the same weights: the two are equal.

    Args:
        log_probability_BK: float (B, K), after a log-softmax.
        target_B: int64 (B,), a class, or -1 for a row without a label.
        class_weight_K: float (K,), not negative; the mean is divided by the labelled rows' weights.
    """
    log_probability_BK, known_B = at_least_float32(log_probability_BK), target_B.clamp(min=0)
    class_weight_K = class_weight_K.to(log_probability_BK)
    loss_B = F.nll_loss(log_probability_BK, known_B, weight=class_weight_K, reduction="none")
    return _weighted_mean(loss_B, class_weight_K[known_B], target_B >= 0)


def inverse_frequency_weights(counts_K: Sequence[int] | Tensor) -> Tensor:
    """Class weights, float32 (K,): the largest class' count over each class' own (face_analysis_pytorch).

    A class without a row weighs 0: it is never a target, and an infinite weight would poison label smoothing.

    Args:
        counts_K: rows of each class, none negative.
    """
    counts = torch.as_tensor(counts_K, dtype=torch.float64)
    weights = torch.where(counts > 0, counts.max() / counts.clamp(min=1), torch.zeros_like(counts))
    return weights.float()


def pairwise_attributes(logits_BA2: Tensor, target_BA: Tensor) -> Tensor:
    """Mean cross entropy of attributes as pairs of logits [no, yes], over every labelled cell.

    Args:
        logits_BA2: float (B, A, 2).
        target_BA: integer (B, A), 0 or 1, or -1 for a cell without a label.
    """
    target = target_BA.flatten().long()
    return cross_entropy(logits_BA2.flatten(0, 1), target)


def _weighted_mean(loss_B: Tensor, weight_B: Tensor, labelled_B: Tensor) -> Tensor:
    """Sum of already weighted losses over the labelled rows' weights; 0 where those are 0."""
    labelled_B = labelled_B.to(loss_B.dtype)
    total = (weight_B * labelled_B).sum()
    return (loss_B * labelled_B).sum() / torch.where(total > 0, total, torch.ones_like(total))
