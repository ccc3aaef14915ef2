"""Photometry: what cameras, light, compression and age do to an image without moving a pixel.

Each function takes a generator and uint8 (H, W, 3) RGB pixels and gives new pixels; where it matters, also the side of
the largest face on them, in pixels. Never moves a label.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_WIDEST_BLUR: Final = 0.07
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)


def light(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Brightness, contrast and gamma, by one table a channel, so that the light has a colour."""
    levels = np.arange(256, dtype=np.float32) / 255
    gamma, contrast, shift = np.exp(rng.normal(0, 0.25)), rng.uniform(0.7, 1.3), rng.normal(0, 0.08)
    tints = rng.normal(1, 0.05, 3)
    curve = (levels**gamma - 0.5) * contrast + 0.5 + shift
    table = np.clip(curve[:, None] * tints * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table[None]), np.uint8)


def darkness(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """A photograph at night: a quarter to a half of the light, with the noise that comes with it."""
    return noise(rng, np.asarray(cv2.convertScaleAbs(pixels, alpha=rng.uniform(0.15, 0.5)), np.uint8))


def greyness_of(pixels: Pixels) -> Pixels:
    """No colour at all: luminance (ITU-R BT.601) in all three channels."""
    return np.asarray(cv2.transform(pixels, np.tile(_LUMA, (3, 1))), np.uint8)


def greyness(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Less colour, and none at all every second time."""
    keep = 0.0 if rng.random() < 0.5 else rng.uniform(0.2, 0.9)
    mix = keep * np.eye(3, dtype=np.float32) + np.float32(1 - keep) * np.tile(_LUMA, (3, 1))
    return np.asarray(cv2.transform(pixels, mix), np.uint8)


def blur(rng: np.random.Generator, pixels: Pixels, face_px: float = 0.0) -> Pixels:
    """A lens out of focus, by up to 7 % of the face's side: what a blur hides goes by the face and not by the pixel."""
    widest = max(2.0, _WIDEST_BLUR * face_px)
    return np.asarray(
        cv2.GaussianBlur(pixels, (0, 0), float(np.exp(rng.uniform(np.log(0.5), np.log(widest))))), np.uint8
    )


def coarseness(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """A low resolution, brought back to size."""
    height, width = pixels.shape[:2]
    share = rng.uniform(0.35, 0.8)
    small = cv2.resize(pixels, (int(width * share), int(height * share)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def compression(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """JPEG at a quality from 20 to 90."""
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 91))])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def noise(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """A sensor's noise."""
    grain = np.float32(rng.uniform(2, 10)) * rng.standard_normal(pixels.shape[:2], np.float32)
    return np.asarray(np.clip(pixels + grain[:, :, None], 0, 255), np.uint8)


def disturb(rng: np.random.Generator, pixels: Pixels, face_px: float = 0.0) -> Pixels:
    """Applies each disturbance by its chance, in the order in which a camera would."""
    chances: tuple[tuple[float, Callable[[np.random.Generator, Pixels], Pixels]], ...] = (
        (0.8, light),
        (0.25, greyness),
        (0.07, darkness),
        (0.2, partial(blur, face_px=face_px)),
        (0.1, coarseness),
        (0.06, noise),
        (0.2, compression),
    )
    for chance, change in chances:
        if rng.random() < chance:
            pixels = change(rng, pixels)
    return pixels
