"""Margin softmax on identities: SphereFace, ArcFace and CosFace as one combined margin, and AdaCos.

Holds the losses and the class weights, which are training state. Never travels in a shipped checkpoint, and never spans
processes (see `model.losses.partial_fc`). Shape suffixes: B batch; D embedding length; K identities.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.losses.classification import cross_entropy
from model.losses.masking import at_least_float32, picked

Margins = tuple[float, float, float]


def combined_margin(
    cosine_BK: Tensor, identity_B: Tensor, scale: float, margins: Margins, interclass_filter: float = 0.0
) -> Tensor:
    """Mean cross entropy of `scale` * cosines, the target's made harder, over the rows that have an identity.

    The target's cosine becomes cos(m1 * angle + m2) - m3 (ArcFace, Deng et al. 2019, arXiv 1801.07698, eq. 4):
    (1, 0, m3) is CosFace, (1, m2, 0) ArcFace, (m1, 0, 0) SphereFace. See `margin_logits` for angles beyond pi.

    Args:
        cosine_BK: float (B, K), -1 to 1; half precision is computed in float32.
        identity_B: int64 (B,), -1 for a row without one.
        scale: s, the logits' length.
        margins: (m1, m2, m3).
        interclass_filter: a cosine to another identity above this counts as 0; 0 filters nothing.

    Raises:
        ValueError: if a margin is out of its range.
    """
    return cross_entropy(margin_logits(cosine_BK, identity_B, scale, margins, interclass_filter), identity_B)


def sphereface(cosine_BK: Tensor, identity_B: Tensor, scale: float = 64.0, margin: float = 1.35) -> Tensor:
    """SphereFace (Liu et al. 2017, arXiv 1704.08063) on normalised embeddings: the target's angle times `margin`.

    Scale and margin are face_analysis_pytorch's. It goes on with cos(margin * angle) past pi, where that rises again;
    this takes the paper's monotonic continuation. Below pi / margin (133 degrees) the two are the same.

    Args:
        cosine_BK: float (B, K), -1 to 1.
        identity_B: int64 (B,), -1 for a row without one.
        scale: s, the logits' length.
        margin: m.
    """
    return combined_margin(cosine_BK, identity_B, scale, (margin, 0.0, 0.0))


def adacos(cosine_BK: Tensor, identity_B: Tensor, scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """AdaCos (Zhang et al. 2019, arXiv 1905.00292, eq. 13): softmax on cosines whose scale follows the training.

    The new scale is log(b) / cos(min(pi / 4, median angle to the own identity)), where b is the labelled rows' mean
    sum of exp(old scale * cosine) over the other identities. Never below 0, from where it recovers by itself.

    Args:
        cosine_BK: float (B, K), -1 to 1, K at least 3.
        identity_B: int64 (B,), -1 for a row without one.
        scale: the step before's; `fixed_adacos_scale` at first.

    Returns:
        The loss, and the new scale (), without a gradient; the old one if no row has an identity.
    """
    cosine_BK = at_least_float32(cosine_BK)
    old = torch.as_tensor(scale, dtype=cosine_BK.dtype, device=cosine_BK.device)
    others_B = others_log_sum_exp(cosine_BK, identity_B, old)
    new = dynamic_scale(others_B, picked(cosine_BK, identity_B), identity_B >= 0, old)
    return cross_entropy(cosine_BK * new, identity_B), new


def fixed_adacos_scale(num_identities: int) -> float:
    """AdaCos' scale at the start: sqrt(2) * log(K - 1).

    Raises:
        ValueError: if there are fewer than 3 identities, for which it is 0 or nothing.
    """
    if num_identities < 3:
        raise ValueError(f"AdaCos needs 3 identities or more, not {num_identities}")
    return math.sqrt(2) * math.log(num_identities - 1)


@torch.no_grad()
def others_log_sum_exp(cosine_BK: Tensor, identity_B: Tensor, scale: Tensor) -> Tensor:
    """log(sum of exp(scale * cosine)) (B,) over the columns that are not a row's own identity."""
    columns_K = torch.arange(cosine_BK.shape[1], device=cosine_BK.device)
    return (cosine_BK * scale).masked_fill(columns_K == identity_B[:, None], -torch.inf).logsumexp(1)


@torch.no_grad()
def dynamic_scale(others_B: Tensor, hit_B: Tensor, labelled_B: Tensor, scale: Tensor) -> Tensor:
    """AdaCos' next scale from each row's log-sum-exp over the other identities and its cosine to its own."""
    if not bool(labelled_B.any()):
        return scale.clone()
    log_mean = others_B[labelled_B].logsumexp(0) - labelled_B.sum().log()
    median_angle = torch.acos(hit_B[labelled_B].clamp(-1, 1)).median()
    return (log_mean / torch.cos(median_angle.clamp(max=torch.pi / 4))).clamp(min=0)


def margin_logits(
    cosine_BK: Tensor, identity_B: Tensor, scale: float, margins: Margins, interclass_filter: float = 0.0
) -> Tensor:
    """Logits `scale` * cosines whose target has been made harder; a row with identity -1 keeps its cosines.

    The target falls as the angle grows, over the whole half turn. Where m1 * angle + m2 passes pi its cosine would rise
    again; instead it is cos(angle) - m2 * sin(m2) for m1 = 1 (as ArcFace's code has it: it steps down there), and
    SphereFace's (-1)^k cos(m1 * angle + m2) - 2k, k half turns, for any other m1 (Liu et al. 2017, eq. 7: it goes on
    smoothly). InsightFace's filter sets a cosine above the threshold to 0, which leaves the identity in the softmax but
    gives it no gradient: another identity that is so alike may be the same person under two names.

    Args:
        cosine_BK: float (B, K), -1 to 1; half precision is computed in float32.
        identity_B: int64 (B,), a column, or -1 for a row whose identity is none of them.
        scale: s, the logits' length.
        margins: (m1, m2, m3), m1 above 0, m2 from 0 to below pi.
        interclass_filter: the threshold, a cosine; 0 filters nothing.

    Raises:
        ValueError: if a margin is out of its range.
    """
    check_margins(margins)
    cosine_BK = at_least_float32(cosine_BK)
    if cosine_BK.shape[1] == 0:  # a shard without an identity in play
        return cosine_BK * scale
    target_B1, known_B1 = identity_B.clamp(min=0)[:, None], identity_B[:, None] >= 0
    own_B1 = cosine_BK.gather(1, target_B1)
    if interclass_filter > 0:
        cosine_BK = cosine_BK.masked_fill(cosine_BK > interclass_filter, 0.0)
    hit_B1 = own_B1 if margins[:2] == (1.0, 0.0) else _turned(own_B1, margins[0], margins[1])
    kept_B1 = cosine_BK.gather(1, target_B1)
    return cosine_BK.scatter(1, target_B1, torch.where(known_B1, hit_B1 - margins[2], kept_B1)) * scale


def check_margins(margins: Margins) -> None:
    """Holds (m1, m2, m3) to the range in which a target falls as its angle grows.

    Raises:
        ValueError: if one is out of it.
    """
    if not (margins[0] > 0 and 0 <= margins[1] < math.pi and math.isfinite(margins[2])):
        raise ValueError(f"margins {margins}: m1 is above 0, m2 from 0 to below pi, m3 finite")


def _turned(cosine: Tensor, m1: float, m2: float) -> Tensor:
    """cos(m1 * angle + m2), monotonic over the whole angle."""
    # The clamp keeps acos' gradient finite at +-1.
    angle = m1 * torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6)) + m2
    if m1 == 1.0:
        return torch.where(angle < torch.pi, torch.cos(angle), cosine - m2 * math.sin(m2))
    half_turns = torch.floor(angle.detach() / torch.pi)
    return (1 - 2 * torch.remainder(half_turns, 2)) * torch.cos(angle) - 2 * half_turns


class MarginClassifier(nn.Module):
    """One unit-length weight row an identity, and the combined margin over them."""

    def __init__(self, embedding_dim: int, num_identities: int, scale: float, margins: Margins) -> None:
        super().__init__()
        self.scale = scale
        self.margins = margins
        self.weight = nn.Parameter(torch.empty(num_identities, embedding_dim))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, embedding_BD: Tensor, identity_B: Tensor) -> Tensor:
        """Embeddings (B, D) of any length and identities (B,), -1 for none, to a scalar."""
        cosine_BK = F.linear(F.normalize(embedding_BD, dim=1), F.normalize(self.weight, dim=1))
        return combined_margin(cosine_BK, identity_B, self.scale, self.margins)
