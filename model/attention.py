"""Attention over feature maps: CBAM's two gates, local attention networks, contextual channel attention.

Holds maps to maps of the same shape. Never pools one to a vector. Shape suffixes: B batch; C channels; H, W places of
a map; K branches.
"""

import torch
from torch import Tensor, nn


class ChannelGate(nn.Module):
    """CBAM's channel attention (Woo et al. 2018, arXiv 1807.06521, eq. 2).

    The average- and the max-pooled descriptor go through ONE shared MLP; the sum's sigmoid scales the channels.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        gate_BC = torch.sigmoid(self.mlp(x_BCHW.mean((2, 3))) + self.mlp(x_BCHW.amax((2, 3))))
        return x_BCHW * gate_BC[:, :, None, None]


class SpatialGate(nn.Module):
    """CBAM's spatial attention (Woo et al. 2018, eq. 3), with the batch norm of its published code (MIT).

    The channels' maximum and mean, in this order, go through a 7x7 convolution without bias and a batch norm; the
    sigmoid scales the places.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1, eps=1e-5, momentum=0.01)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        pooled_B2HW = torch.cat([x_BCHW.amax(1, keepdim=True), x_BCHW.mean(1, keepdim=True)], 1)
        return x_BCHW * torch.sigmoid(self.norm(self.conv(pooled_B2HW)))


class LocalAttention(nn.Module):
    """Local attention networks with multi-attention dropping (Xue et al. 2021, TransFER, arXiv 2108.11116).

    Each LANet answers a map: 1x1 convolution to half the channels, ReLU, 1x1 convolution to one, sigmoid; the largest
    answer scales each place. In training one branch a face, drawn at random, answers 0 with the given probability, so
    that the others look elsewhere. SwinFace's published code drops in inference, too; here it never does.
    """

    def __init__(self, channels: int, num_branches: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        hidden = max(channels // 2, 1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, 1, 1, bias=False), nn.Sigmoid()
            )
            for _ in range(num_branches)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        maps_BKHW = torch.cat([branch(x_BCHW) for branch in self.branches], 1)
        if self.training and len(self.branches) > 1:  # a lone branch is never dropped: nothing would be left
            maps_BKHW = maps_BKHW * self._kept(maps_BKHW)
        return x_BCHW * maps_BKHW.amax(1, keepdim=True)

    def _kept(self, maps_BKHW: Tensor) -> Tensor:
        num_faces, num_branches = maps_BKHW.shape[:2]
        drawn_B1 = torch.randint(num_branches, (num_faces, 1), device=maps_BKHW.device)
        dropped_BK = torch.zeros_like(maps_BKHW[:, :, 0, 0]).scatter(1, drawn_B1, 1.0)
        dropped_BK = dropped_BK * (torch.rand(num_faces, 1, device=maps_BKHW.device) < self.dropout)
        return 1 - dropped_BK[:, :, None, None]


class ContextualChannelAttention(nn.Module):
    """FAER's attention: each channel weighs its places by its own content and by their surroundings.

    With x (B, C, H, W): value = linear(x) a place; key = MLP(x) a place, times the mean of x over all places; context
    = layer norm of GELU of a 7x7 convolution of x in four groups; the softmax of context + key over the places weighs
    the value, and x is added.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.value = nn.Linear(channels, channels)
        self.key = nn.Sequential(nn.Linear(channels, channels // 8), nn.GELU(), nn.Linear(channels // 8, channels))
        self.context = nn.Conv2d(channels, channels, 7, padding=3, groups=4)
        self.norm = nn.LayerNorm(channels, eps=1e-5)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        key_BHWC = self.key(x_BHWC) * x_BCHW.mean((2, 3))[:, None, None, :]
        context_BHWC = self.norm(nn.functional.gelu(self.context(x_BCHW)).permute(0, 2, 3, 1))
        logits_BHWC = context_BHWC + key_BHWC
        weights_BHWC = torch.softmax(logits_BHWC.flatten(1, 2), 1).view_as(logits_BHWC)
        weighed_BHWC: Tensor = weights_BHWC * self.value(x_BHWC)
        return weighed_BHWC.permute(0, 3, 1, 2) + x_BCHW
