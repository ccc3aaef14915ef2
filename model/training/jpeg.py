"""JPEG's loss, as batched tensor operations: what compression does to a crop, without a codec between GPU and CPU.

Holds the lossy part of baseline JPEG (ITU-T T.81): colour transform, halved chroma, block transform, quantisation and
back. Never writes a bit stream. Shape suffixes: B batch; C channels; H, W pixels.
"""

import math
from functools import lru_cache
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK: Final = 8
# ITU-T T.81, tables K.1 and K.2: the steps of luma and chroma at quality 50.
_LUMA: Final = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA: Final = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# RGB to Y, Cb, Cr (JFIF 1.02), chroma around 0.
_TO_YCC: Final = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def compressed(images_BCHW: Tensor, quality_B: Tensor) -> Tensor:
    """Images as they come back from JPEGs with halved chroma (4:2:0).

    Args:
        images_BCHW: float (B, 3, H, W), -1 to 1; sides are multiples of 16, else edges are repeated up to them and cut.
        quality_B: float (B,), libjpeg's quality, 1 to 100.

    Returns:
        Float (B, 3, H, W), rounded to whole pixel values, -1 to 1.
    """
    if not len(images_BCHW):
        return images_BCHW
    height, width = images_BCHW.shape[2:]
    padded = F.pad(images_BCHW, (0, -width % 16, 0, -height % 16), mode="replicate")
    to_ycc, from_ycc = _constant("to_ycc", padded.device), _constant("from_ycc", padded.device)
    ycc = torch.einsum("kc,bchw->bkhw", to_ycc, (padded + 1) * 127.5)
    luma = _coded(ycc[:, :1] - 128, _steps("luma", quality_B)) + 128
    chroma = _coded(F.avg_pool2d(ycc[:, 1:], 2), _steps("chroma", quality_B))
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear")
    rgb = torch.einsum("ck,bkhw->bchw", from_ycc, torch.cat([luma, chroma], 1))
    return rgb[:, :, :height, :width].round().clamp(0, 255) / 127.5 - 1


def _steps(table: Literal["luma", "chroma"], quality_B: Tensor) -> Tensor:
    """Quantisation steps of each quality, (B, 8, 8), scaled as libjpeg does (IJG's jcparam.c)."""
    scale_B = torch.where(quality_B < 50, 5000 / quality_B, 200 - 2 * quality_B)
    steps: Tensor = (_constant(table, quality_B.device) * scale_B[:, None, None] + 50) / 100
    floored: Tensor = steps.floor()
    return floored.clamp(1, 255)


def _coded(planes_BCHW: Tensor, steps_B88: Tensor) -> Tensor:
    """Planes transformed in blocks of 8 x 8, quantised, and transformed back."""
    basis = _constant("basis", planes_BCHW.device)
    blocks = planes_BCHW.unflatten(2, (-1, _BLOCK)).unflatten(4, (-1, _BLOCK))  # (B, C, rows, 8, columns, 8)
    frequencies = torch.einsum("iy,bcryqx,jx->bcriqj", basis, blocks, basis)
    steps = steps_B88[:, None, None, :, None, :]
    quantised = (frequencies / steps).round() * steps
    return torch.einsum("iy,bcriqj,jx->bcryqx", basis, quantised, basis).flatten(4, 5).flatten(2, 3)


@lru_cache(maxsize=16)
def _constant(name: Literal["to_ycc", "from_ycc", "luma", "chroma", "basis"], device: torch.device) -> Tensor:
    """A float32 constant on a device; kept, since a copy to a GPU waits for all that it still has to do."""
    to_ycc = torch.tensor(_TO_YCC, dtype=torch.float64)
    values: dict[str, Tensor] = {
        "to_ycc": to_ycc,
        "from_ycc": torch.linalg.inv(to_ycc),
        "luma": torch.tensor(_LUMA),
        "chroma": torch.tensor(_CHROMA),
        "basis": _basis(),
    }
    return values[name].to(device, torch.float32)


def _basis() -> Tensor:
    """The orthonormal cosine basis, (frequency, place)."""
    place = torch.arange(_BLOCK, dtype=torch.float64)
    basis = torch.cos((2 * place[None] + 1) * place[:, None] * math.pi / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    basis[0] /= math.sqrt(2)
    return basis
