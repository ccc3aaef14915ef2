"""Alignment: from a face's landmarks or box on an image to the crop that an analyzer was trained on.

Holds the geometry and the resampling, in numpy and OpenCV. Never decodes an image and never runs a network.
Shape suffixes: H, W image height and width; S crop side; P points (five); C channels (three, RGB).
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# ArcFace's five-point template for a 112 x 112 crop (InsightFace, MIT; Deng et al. 2019, arXiv 1801.07698).
ARCFACE_TEMPLATE_P2: Final = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
ARCFACE_SIDE_PX: Final = 112


def similarity_transform(source_P2: NDArray[np.floating], target_P2: NDArray[np.floating]) -> NDArray[np.float64]:
    """Least-squares rotation, uniform scale and shift from one point set to another (Umeyama 1991, eq. 40-43).

    Args:
        source_P2: points (P, 2), x and y in pixels.
        target_P2: points (P, 2), the same points in the target.

    Returns:
        A (2, 3) matrix that takes source pixels to target pixels. A degenerate source (all points alike) gives a pure
        shift, so that a detector's nonsense makes a useless crop and not an error.
    """
    source, target = np.asarray(source_P2, np.float64), np.asarray(target_P2, np.float64)
    source_mean, target_mean = source.mean(0), target.mean(0)
    source_c, target_c = source - source_mean, target - target_mean
    variance = float((source_c**2).sum() / len(source))
    if variance < 1e-12:
        return np.column_stack([np.eye(2), target_mean - source_mean])
    u, singular, vt = np.linalg.svd(target_c.T @ source_c / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = u @ np.diag(sign) @ vt
    scaled = rotation * float((singular * sign).sum() / variance)
    return np.column_stack([scaled, target_mean - scaled @ source_mean])


def five_point_matrix(landmarks_P2: NDArray[np.floating], side_px: int = ARCFACE_SIDE_PX) -> NDArray[np.float64]:
    """The (2, 3) matrix from image pixels to an ArcFace-aligned crop of `side_px`, scaled from the template of 112."""
    return similarity_transform(landmarks_P2, ARCFACE_TEMPLATE_P2 * (side_px / ARCFACE_SIDE_PX))


def box_matrix(box: NDArray[np.floating], side_px: int, scale: float) -> NDArray[np.float64]:
    """The (2, 3) matrix to a square crop centred on `box` [x1, y1, x2, y2], `scale` times its longer side."""
    x1, y1, x2, y2 = (float(value) for value in box)
    zoom = side_px / max(scale * max(x2 - x1, y2 - y1), 1e-6)
    return np.array(
        [[zoom, 0, side_px / 2 - zoom * (x1 + x2) / 2], [0, zoom, side_px / 2 - zoom * (y1 + y2) / 2]], np.float64
    )


def warp(image_HWC: NDArray[np.uint8], matrix: NDArray[np.float64], side_px: int) -> NDArray[np.uint8]:
    """Resamples an image into a (side_px, side_px, 3) crop; what lies outside the image is black.

    A crop more than twice smaller than its source is taken from a halved image, as often as that holds: bilinear
    sampling alone would alias.
    """
    shrink = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    while 0 < shrink < 0.5 and min(image_HWC.shape[:2]) > 1:
        height, width = image_HWC.shape[:2]
        halved = cv2.resize(image_HWC, (max(width // 2, 1), max(height // 2, 1)), interpolation=cv2.INTER_AREA)
        step = np.array([width / halved.shape[1], height / halved.shape[0]])
        # Pixel centres: full = step * (half + 0.5) - 0.5.
        matrix = np.column_stack([matrix[:, :2] * step, matrix[:, 2] + matrix[:, :2] @ (0.5 * step - 0.5)])
        image_HWC = np.asarray(halved, np.uint8)
        shrink = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    crop = cv2.warpAffine(image_HWC, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    return np.asarray(crop, np.uint8)
