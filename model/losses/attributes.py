"""Losses on attributes with one logit each, over every labelled cell: what FAER's code carries.

Holds the focal, the asymmetric, the masked and the LSE-sign loss. Never takes pairs of logits (see
`model.losses.classification.pairwise_attributes`). Shape suffixes: B batch; A attributes.

Targets are integers (B, A): 1 yes, 0 no, -1 a cell without a label, which gets a zero gradient. Where FAER sums, so do
these, unless `reduction="mean"` divides by the labelled cells.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from model.losses.masking import Reduction, at_least_float32, reduced


def focal(
    logits_BA: Tensor, target_BA: Tensor, alpha: float = 0.8, gamma: float = 2.0, reduction: Reduction = "sum"
) -> Tensor:
    """Focal loss (Lin et al. 2017, arXiv 1708.02002, eq. 5) on each cell's sigmoid.

    With q the probability given to the true answer: -a (1 - q)^gamma log q, a = alpha where the target is 1, else
    1 - alpha.

    Args:
        logits_BA: float (B, A).
        target_BA: integer (B, A), 0, 1 or -1.
        alpha: weight of the positives.
        gamma: how fast easy cells fade, not negative.
        reduction: over the labelled cells.
    """
    logits_BA, positive_BA = at_least_float32(logits_BA), target_BA == 1
    toward_BA = torch.where(positive_BA, logits_BA, -logits_BA)  # the true answer's logit
    # (1 - q)^gamma as an exponential: a power's own gradient is infinite at q = 1 for gamma below 1.
    fade_BA = torch.exp(gamma * F.logsigmoid(-toward_BA))
    alpha_BA = (1 - alpha) + (2 * alpha - 1) * positive_BA.to(logits_BA.dtype)
    return reduced((-alpha_BA * fade_BA * F.logsigmoid(toward_BA)).flatten(), (target_BA >= 0).flatten(), reduction)


def asymmetric(
    logits_BA: Tensor,
    target_BA: Tensor,
    gamma_negative: float = 4.0,
    gamma_positive: float = 1.0,
    clip: float = 0.05,
    reduction: Reduction = "sum",
) -> Tensor:
    """Asymmetric loss (Ridnik et al. 2021, arXiv 2009.14119, eq. 7): positives and negatives fade differently.

    With p a cell's sigmoid: -(1 - p)^gamma_positive log p for a positive; for a negative, with m = max(p - clip, 0),
    -m^gamma_negative log(1 - m), so that a negative below `clip` counts nothing.

    Args:
        logits_BA: float (B, A).
        target_BA: integer (B, A), 0, 1 or -1.
        gamma_negative: fading of easy negatives, not negative.
        gamma_positive: fading of easy positives, not negative.
        clip: the shift of a negative's probability, 0 to 1.
        reduction: over the labelled cells.
    """
    logits_BA = at_least_float32(logits_BA)
    positive_BA = -torch.exp(gamma_positive * F.logsigmoid(-logits_BA)) * F.logsigmoid(logits_BA)
    loss_BA = torch.where(target_BA == 1, positive_BA, _shifted_negative(logits_BA, gamma_negative, clip))
    return reduced(loss_BA.flatten(), (target_BA >= 0).flatten(), reduction)


def _shifted_negative(logits_BA: Tensor, gamma: float, clip: float) -> Tensor:
    if clip == 0:  # the logarithms' own form: 1 - p would round to 0 at a large logit
        return -torch.exp(gamma * F.logsigmoid(logits_BA)) * F.logsigmoid(-logits_BA)
    # A floor that is not 0: a power's gradient at 0 is infinite for gamma below 1.
    shifted_BA = (torch.sigmoid(logits_BA) - clip).clamp(min=1e-8)
    return -(shifted_BA**gamma) * torch.log1p(-shifted_BA)


def masked_bce(
    logits_BA: Tensor, target_BA: Tensor, mask_BA: Tensor | None = None, mask_ratio: float = 1.0, bound: float = 10.0
) -> Tensor:
    """FAER's masked binary cross entropy: a weighted mean whose weights a mask decides.

    A cell weighs 1 where the mask is 0, else `mask_ratio`; without a mask every cell weighs 1. The sum is divided by
    the weights' sum. An unlabelled cell weighs 0.

    Args:
        logits_BA: float (B, A), clamped to +-`bound` (beyond it a cell has no gradient).
        target_BA: integer (B, A), 0, 1 or -1.
        mask_BA: (B, A), any number type or bool.
        mask_ratio: weight of the cells that the mask marks (FAER's default is 1).
        bound: of the logits.
    """
    logits_BA = at_least_float32(logits_BA).clamp(-bound, bound)
    loss_BA = F.binary_cross_entropy_with_logits(logits_BA, (target_BA == 1).to(logits_BA.dtype), reduction="none")
    weight_BA = (target_BA >= 0).to(loss_BA.dtype)
    if mask_BA is not None:
        weight_BA = torch.where(mask_BA == 0, weight_BA, weight_BA * mask_ratio)
    total = weight_BA.sum()
    return (loss_BA * weight_BA).sum() / torch.where(total > 0, total, torch.ones_like(total))


def lse_sign(logits_BA: Tensor, target_BA: Tensor, scale: float = 1.0, across_batch: bool = False) -> Tensor:
    """LSE-sign loss (Jin et al. 2022, arXiv 2203.05676): a row's wrong cells share one softmax-like gradient.

    With y = +1 or -1 a cell's target: the mean over rows of log(1 + sum over cells of exp(-y * scale * logit)).
    FAER's code gives it cosines (logits over the feature's and the weight row's lengths) and a `scale`.

    Args:
        logits_BA: float (B, A).
        target_BA: integer (B, A), 0, 1 or -1; a row without any label does not count.
        scale: on the logits.
        across_batch: FAER's code as published: one logarithm over all rows' cells, divided by the number of rows.
    """
    labelled_BA = target_BA >= 0
    logits_BA = at_least_float32(logits_BA) * scale
    wrong_BA = torch.where(target_BA == 1, -logits_BA, logits_BA)
    wrong_BA = wrong_BA.masked_fill(~labelled_BA, float("-inf"))
    rows_B = labelled_BA.any(1)
    if across_batch:
        return _log_one_plus_sum_exp(wrong_BA.reshape(1, -1)).sum() / rows_B.sum().clamp(min=1)
    return _log_one_plus_sum_exp(wrong_BA).sum() / rows_B.sum().clamp(min=1)  # log 1 = 0 for a row without a label


def _log_one_plus_sum_exp(values_BA: Tensor) -> Tensor:
    return torch.logsumexp(F.pad(values_BA, (1, 0)), 1)
