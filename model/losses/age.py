"""Losses on age, over labelled rows: in years, or as ordinal ranks.

Holds SwinFace's annealed loss, face_analysis_pytorch's ordinal one, a label distribution's and a robust one.
Never scales a network's output to years (see `model.network`). Shape suffixes: B batch; K ranks or years.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from model.losses.masking import Reduction, at_least_float32, masked_mean, reduced


def smooth_l1_age(prediction_B: Tensor, age_B: Tensor, beta_years: float = 2.0, unit_years: float = 10.0) -> Tensor:
    """Mean smooth L1 distance: the mean absolute error that is reported, smooth within `beta_years`.

    Args:
        prediction_B: float (B,), years.
        age_B: float (B,), years, NaN for a row without a label.
        beta_years: below this distance the loss is quadratic (labels are no finer).
        unit_years: the loss is 1 at about this distance, so that it stands beside cross entropies.
    """
    prediction_B = at_least_float32(prediction_B)
    labelled_B = ~torch.isnan(age_B)
    target_B = torch.where(labelled_B, age_B, prediction_B.detach())
    loss_B = F.smooth_l1_loss(prediction_B, target_B, reduction="none", beta=beta_years)
    return masked_mean(loss_B / unit_years, labelled_B)


def annealed_age(prediction_B: Tensor, age_B: Tensor, progress: float, sigma_years: float = 3.0) -> Tensor:
    """SwinFace's age loss (arXiv 2308.11509, eq. 6): from a squared distance to CLAP2015's epsilon error.

    With d the squared distance and p the progress: (1 - p) / 2 * d + p * (1 - exp(-d / (2 sigma^2))).

    Args:
        prediction_B: float (B,), years.
        age_B: float (B,), years, NaN for a row without a label.
        progress: step over total steps, 0 to 1.
        sigma_years: of the epsilon error.
    """
    prediction_B = at_least_float32(prediction_B)
    labelled_B = ~torch.isnan(age_B)
    target_B = torch.where(labelled_B, age_B, prediction_B.detach())
    squared_B = (prediction_B - target_B) ** 2
    epsilon_B = 1 - torch.exp(-squared_B / (2 * sigma_years**2))
    return masked_mean((1 - progress) / 2 * squared_B + progress * epsilon_B, labelled_B)


def ordinal_age(logits_BK: Tensor, age_B: Tensor, reduction: Reduction = "sum") -> Tensor:
    """Ordinal regression: binary cross entropies of "older than k", k from 0 to K - 1, summed over the ranks.

    An age's target is a vector whose first `age` entries are 1 (face_analysis_pytorch; Niu et al. 2016, CVPR). An age
    is the nearest whole number of years; one beyond K fills all ranks, one below 0 none.

    Args:
        logits_BK: float (B, K), before the sigmoid.
        age_B: float (B,), years, NaN for a row without a label.
        reduction: over the labelled rows; the published training sums.
    """
    logits_BK = at_least_float32(logits_BK)
    labelled_B = ~torch.isnan(age_B)
    years_B = torch.floor(torch.where(labelled_B, age_B, torch.zeros_like(age_B)) + 0.5)
    target_BK = (torch.arange(logits_BK.shape[1], device=logits_BK.device) < years_B[:, None]).to(logits_BK.dtype)
    loss_BK = F.binary_cross_entropy_with_logits(logits_BK, target_BK, reduction="none")
    return reduced(loss_BK.sum(1), labelled_B, reduction)


def age_distribution(
    logits_BK: Tensor, age_B: Tensor, sigma_years: float = 2.5, distance_weight: float = 0.1
) -> Tensor:
    """Label distribution learning with the expectation's distance (Gao et al. 2018, IJCAI, "DLDL-v2", eq. 3 to 6).

    The target is a normal distribution around the age, cut off at the first and the last year: labels of age are no
    surer than that, and a neighbouring year is nearly right. Its entropy is subtracted: a perfect answer costs 0.

    Args:
        logits_BK: float (B, K), of the years 0 to K - 1; an age beyond counts as the last.
        age_B: float (B,), years, NaN for a row without a label.
        sigma_years: of the target.
        distance_weight: of the expectation's absolute distance from the age, a year.
    """
    logits_BK = at_least_float32(logits_BK)
    labelled_B = ~torch.isnan(age_B)
    years_K = torch.arange(logits_BK.shape[1], dtype=logits_BK.dtype, device=logits_BK.device)
    target_B = (
        torch.where(labelled_B, age_B, torch.zeros_like(age_B)).to(logits_BK.dtype).clamp(0, float(len(years_K) - 1))
    )
    target_BK = torch.softmax(-((years_K - target_B[:, None]) ** 2) / (2 * sigma_years**2), 1)
    log_BK = F.log_softmax(logits_BK, 1)
    divergence_B = F.kl_div(log_BK, target_BK, reduction="none").sum(1)
    distance_B = (log_BK.exp() @ years_K - target_B).abs()
    return masked_mean(divergence_B + distance_weight * distance_B, labelled_B)
