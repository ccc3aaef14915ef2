"""Margin softmax on identities: SphereFace, ArcFace and CosFace as one combined margin.

Holds the loss and the class weights, which are training state. Never travels in a shipped checkpoint. Shape suffixes:
B batch; D embedding length; K identities.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.losses.classification import cross_entropy


def combined_margin(cosine_BK: Tensor, identity_B: Tensor, scale: float, margins: tuple[float, float, float]) -> Tensor:
    """Mean cross entropy of `scale` * cosines, the target's made harder, over the rows that have an identity.

    The target's cosine becomes cos(m1 * angle + m2) - m3 (ArcFace, Deng et al. 2019, arXiv 1801.07698, eq. 4):
    (1, 0, m3) is CosFace, (1, m2, 0) ArcFace, (m1, 0, 0) SphereFace. The angle never passes pi.

    Args:
        cosine_BK: float (B, K), -1 to 1.
        identity_B: int64 (B,), -1 for a row without one.
        scale: s, the logits' length.
        margins: (m1, m2, m3).
    """
    target_B1 = identity_B.clamp(min=0)[:, None]
    hit_B1 = cosine_BK.gather(1, target_B1)
    if margins[:2] != (1.0, 0.0):
        # The clamp keeps acos' gradient finite at +-1.
        angle_B1 = torch.acos(hit_B1.clamp(-1 + 1e-6, 1 - 1e-6))
        hit_B1 = torch.cos((margins[0] * angle_B1 + margins[1]).clamp(max=torch.pi))
    logits_BK = cosine_BK.scatter(1, target_B1, hit_B1 - margins[2]) * scale
    return cross_entropy(logits_BK, identity_B)


class MarginClassifier(nn.Module):
    """One unit-length weight row an identity, and the combined margin over them."""

    def __init__(
        self, embedding_dim: int, num_identities: int, scale: float, margins: tuple[float, float, float]
    ) -> None:
        super().__init__()
        self.scale = scale
        self.margins = margins
        self.weight = nn.Parameter(torch.empty(num_identities, embedding_dim))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, embedding_BD: Tensor, identity_B: Tensor) -> Tensor:
        """Embeddings (B, D) of any length and identities (B,), -1 for none, to a scalar."""
        cosine_BK = F.linear(F.normalize(embedding_BD, dim=1), F.normalize(self.weight, dim=1))
        return combined_margin(cosine_BK, identity_B, self.scale, self.margins)
