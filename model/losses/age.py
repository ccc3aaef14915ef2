"""Losses on age in years, over labelled rows.

Holds SwinFace's annealed loss and a robust one. Never scales a network's output to years (see `model.network`). Shape
suffixes: B batch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from model.losses.masking import masked_mean


def smooth_l1_age(prediction_B: Tensor, age_B: Tensor, beta_years: float = 2.0, unit_years: float = 10.0) -> Tensor:
    """Mean smooth L1 distance: the mean absolute error that is reported, smooth within `beta_years`.

    Args:
        prediction_B: float (B,), years.
        age_B: float (B,), years, NaN for a row without a label.
        beta_years: below this distance the loss is quadratic (labels are no finer).
        unit_years: the loss is 1 at about this distance, so that it stands beside cross entropies.
    """
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
    labelled_B = ~torch.isnan(age_B)
    target_B = torch.where(labelled_B, age_B, prediction_B.detach())
    squared_B = (prediction_B - target_B) ** 2
    epsilon_B = 1 - torch.exp(-squared_B / (2 * sigma_years**2))
    return masked_mean((1 - progress) / 2 * squared_B + progress * epsilon_B, labelled_B)
