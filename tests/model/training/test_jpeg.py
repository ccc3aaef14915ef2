"""Tests of model.training.jpeg."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from model.training.jpeg import compressed


def _photograph(height: int = 112, width: int = 112) -> np.ndarray:
    photograph = astronaut()  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(photograph[40 : 40 + height, 160 : 160 + width])


def _ours(pixels: np.ndarray, quality: float) -> np.ndarray:
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    out = (compressed(images, torch.tensor([quality]))[0] + 1) * 127.5
    return out.permute(1, 2, 0).numpy()


def _libjpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(held), np.float32)


@pytest.mark.parametrize("quality", [15, 40, 75, 90])
def test_it_loses_what_libjpeg_loses(quality: int) -> None:
    """A photograph comes back as from libjpeg at that quality: much nearer to its answer than to the original."""
    pixels = _photograph()
    ours, theirs = _ours(pixels, quality), _libjpeg(pixels, quality)
    lost = float(np.abs(theirs - pixels).mean())
    assert float(np.abs(ours - theirs).mean()) < 0.4 * lost


def test_each_image_has_its_own_quality() -> None:
    """In one batch, a worse quality loses more, and each image is what it would be alone."""
    images = torch.from_numpy(_photograph()).permute(2, 0, 1)[None].float().repeat(2, 1, 1, 1) / 127.5 - 1
    both = compressed(images, torch.tensor([10.0, 90.0]))
    loss = (both - images).abs().mean((1, 2, 3))
    assert loss[0] > 2 * loss[1]
    torch.testing.assert_close(both[:1], compressed(images[:1], torch.tensor([10.0])))


def test_any_side_and_no_image_at_all() -> None:
    """Sides that are no multiple of 16 keep their size; an empty batch stays empty."""
    assert _ours(_photograph(30, 45), 50).shape == (30, 45, 3)
    assert compressed(torch.empty(0, 3, 32, 32), torch.empty(0)).shape == (0, 3, 32, 32)
