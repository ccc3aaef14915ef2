"""Quality: how sharp an aligned face is, which way it looks, and how large it was.

Measures with OpenCV and numpy, from the crop, the five landmarks and the box. Never judges: what is too blurred or too
far turned is for the caller to say. Never runs a network.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.runtime.pack import Alignment
from model.runtime.pose import pose_of

# Sharpness is measured in one alignment and at one size, so that packs of other crops agree.
QUALITY_ALIGNMENT: Final[Alignment] = "arcface-5pt"
QUALITY_SIDE_PX: Final = 112
_MARGIN_PX: Final = 14  # outside are hair, background, and the black that stands for what lay beyond the photograph
# Variance of the Laplacian at which sharpness is 0.5. Its median on real photographs: about 630 for faces over 112 px,
# 240 for 40 to 80 px, 60 for under 40 px, which the crop enlarges.
_HALF_SHARP: Final = 300.0


@dataclass(frozen=True, slots=True)
class Quality:
    """What `assess` measures of one face.

    Attributes:
        sharpness: 0 (no detail at all) to 1, see `sharpness_of`.
        yaw: degrees, see `Pose`.
        pitch: degrees, see `Pose`.
        roll: degrees, see `Pose`.
        size: shorter side of the box, in pixels of the image that the box is on.
    """

    sharpness: float
    yaw: float
    pitch: float
    roll: float
    size: float


def assess(crop: NDArray[np.uint8], landmarks: NDArray[np.floating], box: NDArray[np.floating]) -> Quality:
    """Measures one face.

    Args:
        crop: the crop in `QUALITY_ALIGNMENT`, uint8 (S, S, 3) RGB.
        landmarks: five landmarks (5, 2) in pixels, in the order of `model.runtime.labels.LANDMARKS`.
        box: [x1, y1, x2, y2] in pixels.

    Returns:
        Finite numbers, whatever the detector made of the picture.
    """
    pose = pose_of(landmarks)
    x1, y1, x2, y2 = (float(value) for value in box)
    return Quality(sharpness_of(crop), pose.yaw, pose.pitch, pose.roll, max(0.0, min(x2 - x1, y2 - y1)))


def sharpness_of(crop: NDArray[np.uint8]) -> float:
    """Sharpness of an aligned crop: v / (v + 300), v the variance of the Laplacian of its luminance.

    The variance of the Laplacian is the focus measure of Pech-Pacheco et al. 2000 (LAPV in Pertuz et al. 2013). The
    mapping is monotonic: only its scale is chosen. A face smaller than the crop is enlarged, and scores as blurred.
    """
    side_px = QUALITY_SIDE_PX
    if crop.shape[0] != side_px:
        how = cv2.INTER_AREA if crop.shape[0] > side_px else cv2.INTER_LINEAR
        crop = np.asarray(cv2.resize(crop, (side_px, side_px), interpolation=how), np.uint8)
    luminance = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX]
    variance = float(cv2.Laplacian(luminance, cv2.CV_32F).var())
    return variance / (variance + _HALF_SHARP)
