"""Degradation: the same faces smaller or blurred, so that an error is known against a size or a blur that is known.

Holds what is done to crops. Never runs a network. Shape suffixes: N faces; S crop side; C channels (three, RGB).
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# Shorter side of a face's box to the side of its five-point crop: 80 of 112 pixels, the median of a detector's boxes on
# the crops of each validation set (79 to 82).
FACE_OF_CROP: Final = 80 / 112
SIZES_PX: Final = (12.0, 16.0, 24.0, 32.0, 48.0, 64.0)
SIGMAS_PX: Final = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True, slots=True)
class Level:
    """One degradation: a quality by its name, and the value that every crop is brought to."""

    quality: str
    value: float

    def applied(self, images_NSSC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The crops, degraded."""
        change = shrunk if self.quality == "size_px" else blurred
        return np.stack([change(image, self.value) for image in images_NSSC])


SMALLER: Final = tuple(Level("size_px", size) for size in SIZES_PX)
BLURRED: Final = tuple(Level("blur_sigma_px", sigma) for sigma in SIGMAS_PX)


def shrunk(crop_SSC: NDArray[np.uint8], size_px: float) -> NDArray[np.uint8]:
    """A crop as the service cuts it of a face of `size_px`: averaged down, and enlarged again bilinearly."""
    side = crop_SSC.shape[0]
    small = max(round(size_px / FACE_OF_CROP), 1)
    if small >= side:
        return crop_SSC
    reduced = cv2.resize(crop_SSC, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(reduced, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def blurred(crop_SSC: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """A crop under a Gaussian blur, its deviation in pixels of the crop."""
    return np.asarray(cv2.GaussianBlur(crop_SSC, (0, 0), sigma_px), np.uint8)
