"""Alignment: from a face's landmarks or box on an image to the crop that an analyzer was trained on.

Holds the geometry and the resampling, in numpy and OpenCV. Never decodes an image and never runs a network.
Shape suffixes: H, W image height and width; S crop side; P points (five); C channels (three, RGB).
"""

from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from model.runtime.pack import Alignment

# ArcFace's five-point template for a 112 x 112 crop (InsightFace, MIT; Deng et al. 2019, arXiv 1801.07698).
ARCFACE_TEMPLATE_P2: Final = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
ARCFACE_SIDE_PX: Final = 112
# CelebA's official aligned crop (Liu et al. 2015, arXiv 1411.7766), 178 x 218: where left eye, right eye and the
# middle of the mouth lie on it. See `celeba_matrix`.
CELEBA_TEMPLATE_P2: Final = np.array([[69.745, 111.0], [107.237, 111.0], [88.432, 152.514]], np.float64)
CELEBA_WIDTH_PX: Final = 178
CELEBA_HEIGHT_PX: Final = 218

_ALIKE: Final = 1e-12  # square pixels of variance under which a source's points are all alike
Border = Literal["black", "replicate"]
_BORDERS: Final[dict[Border, int]] = {"black": cv2.BORDER_CONSTANT, "replicate": cv2.BORDER_REPLICATE}


def similarity_transform(source_P2: NDArray[np.floating], target_P2: NDArray[np.floating]) -> NDArray[np.float64]:
    """Least-squares rotation, uniform scale and shift from one point set to another.

    What Umeyama 1991 (eq. 40-43) finds by a singular value decomposition in any number of dimensions is in the plane
    one complex number, rotation and scale in one: the regression of the target's points on the source's.

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
    spread = float(np.vdot(source_c, source_c))
    if spread < _ALIKE * len(source):
        return np.column_stack([np.eye(2), target_mean - source_mean])
    (along_x, across_x), (across_y, along_y) = (source_c.T @ target_c).tolist()
    real, imaginary = (along_x + along_y) / spread, (across_x - across_y) / spread
    scaled = np.array([[real, -imaginary], [imaginary, real]])
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


def celeba_matrix(landmarks_P2: NDArray[np.floating], side_px: int) -> NDArray[np.float64]:
    """The (2, 3) matrix to CelebA's official aligned crop, squeezed from 178 x 218 to a square of `side_px`.

    Networks trained on CelebA's own crops (FAER) resize them straight to a square, so the crop here is as distorted.
    CelebA's makers aligned by a similarity, the least-squares one, from the eyes and the middle of the mouth corners to
    fixed points: (70.745, 112), (108.237, 112), (89.432, 153.514) in MATLAB's coordinates, whose first pixel is 1; here
    it is 0. The numbers are those of a MATLAB function `align_face_celeba` in public circulation. They are not in the
    set's own documents, but hold against its annotations: the official landmarks of `000001.jpg` and `000002.jpg`
    (`list_landmarks_celeba.txt`) land within a pixel of those on the aligned crops (`list_landmarks_align_celeba.txt`),
    which are rounded to whole pixels on both sides.

    Differences that stay: CelebA's landmarks are people's, a detector's lie elsewhere by a pixel or two; and CelebA
    resampled twice (bicubic to 178 x 218, then to the square) where this crop is sampled once. What lies outside the
    image repeats its edge, as on CelebA's crops: `warp` it with `border="replicate"`.
    """
    eyes_and_mouth = np.vstack([landmarks_P2[:2], np.mean(landmarks_P2[3:5], axis=0)])
    matrix = similarity_transform(eyes_and_mouth, CELEBA_TEMPLATE_P2)
    squeeze = side_px / np.array([CELEBA_WIDTH_PX, CELEBA_HEIGHT_PX], np.float64)
    # Pixel centres: square = squeeze * (crop + 0.5) - 0.5, as every library resizes.
    return np.column_stack([matrix[:, :2] * squeeze[:, None], (matrix[:, 2] + 0.5) * squeeze - 0.5])


def crop_matrix(
    alignment: Alignment,
    landmarks_P2: NDArray[np.floating],
    box: NDArray[np.floating],
    side_px: int,
    box_scale: float | None = None,
) -> NDArray[np.float64]:
    """The (2, 3) matrix from image pixels to an analyzer's crop of `side_px`, in the alignment it was trained with.

    Args:
        alignment: which.
        landmarks_P2: the face's five landmarks (5, 2), pixels.
        box: its box [x1, y1, x2, y2], pixels.
        side_px: the crop's side.
        box_scale: of the crop's side to the box's longer one; for `box` alone.

    Raises:
        ValueError: if `box` is asked for without a scale.
    """
    if alignment == "box":
        if box_scale is None:
            raise ValueError("a crop by the box needs a box_scale")
        return box_matrix(box, side_px, box_scale)
    return _BY_LANDMARKS[alignment](landmarks_P2, side_px)


def border_of(alignment: Alignment) -> Border:
    """What lies outside the image on a crop of an alignment: what lay there when its networks were trained."""
    return "replicate" if alignment == "celeba" else "black"


def zoom(matrix: NDArray[np.float64]) -> float:
    """Crop pixels an image pixel; where a crop's two sides are scaled differently, along the one scaled more."""
    return max(float(np.hypot(*row)) for row in matrix[:, :2])


def warp(
    image_HWC: NDArray[np.uint8], matrix: NDArray[np.float64], side_px: int, border: Border = "black"
) -> NDArray[np.uint8]:
    """Resamples an image into a (side_px, side_px, 3) crop; what lies outside the image is black, or repeats its edge.

    A crop more than twice smaller than its source is taken from a source made smaller by averaging, by the power of two
    that leaves it under twice as large: bilinear sampling alone would alias. Only what the crop shows is averaged.
    """
    shrink, halvings = zoom(matrix), 0
    while 0 < shrink * 2**halvings < 0.5 and min(image_HWC.shape[:2]) >> (halvings + 1):
        halvings += 1
    if halvings:
        image_HWC, matrix = _averaged(image_HWC, matrix, side_px, 2**halvings)
    crop = cv2.warpAffine(
        image_HWC,
        matrix,
        (side_px, side_px),
        flags=cv2.INTER_LINEAR,
        borderMode=_BORDERS[border],
        borderValue=(0, 0, 0),
    )
    return np.asarray(crop, np.uint8)


def _averaged(
    image_HWC: NDArray[np.uint8], matrix: NDArray[np.float64], side_px: int, block_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """What a crop shows of an image, averaged over blocks; and the matrix from there to the crop."""
    left, top, right, bottom = _shown(image_HWC.shape[1], image_HWC.shape[0], matrix, side_px, block_px)
    region = image_HWC[top:bottom, left:right]
    height, width = region.shape[:2]
    smaller = cv2.resize(region, (max(width // block_px, 1), max(height // block_px, 1)), interpolation=cv2.INTER_AREA)
    step = np.array([width / smaller.shape[1], height / smaller.shape[0]])
    # Pixel centres: full = corner + step * (small + 0.5) - 0.5.
    moved = matrix[:, 2] + matrix[:, :2] @ (np.array([left, top]) + 0.5 * step - 0.5)
    return np.asarray(smaller, np.uint8), np.column_stack([matrix[:, :2] * step, moved])


def _shown(
    width: int, height: int, matrix: NDArray[np.float64], side_px: int, block_px: int
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what a crop shows of an image, in whole blocks but at the image's far edges.

    With two blocks around it, for the neighbours that sampling looks at; never empty.
    """
    corners = np.array([[0, 0], [side_px, 0], [0, side_px], [side_px, side_px]]) - 0.5
    at = np.linalg.solve(matrix[:, :2], (corners - matrix[:, 2]).T)
    size = np.array([width, height])
    blocks = np.array([np.floor(at.min(axis=1) / block_px) - 2, np.ceil(at.max(axis=1) / block_px) + 2])
    last = np.maximum((size - 1) // block_px - 1, 0)  # where a region may begin at the latest
    low = np.clip(blocks[0], 0, last) * block_px
    high = np.minimum(np.maximum(blocks[1] * block_px, low + block_px), size)
    (left, top), (right, bottom) = low.astype(int), high.astype(int)
    return int(left), int(top), int(right), int(bottom)


_BY_LANDMARKS: Final = {"arcface-5pt": five_point_matrix, "celeba": celeba_matrix}
