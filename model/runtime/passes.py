"""Passes: the views of a picture that a detector looks at: the whole, the whole made small, tiles of it made large.

Holds which views a picture gets and which faces count in each. The ordinary view is InsightFace's letterbox. The small
one (a scale under 1) is for faces that fill the frame: shown at half size amid black they have a size, and a margin,
that the network knows. Tiles (a scale of 2 and over) are for small faces on pictures with more pixels than the
network's input. Never runs a network and never decodes its answers (see `model.runtime.detection`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.runtime.overlap import areas, intersection_over_union, shared_areas

# A first pass is conclusive from a face of this score on. Fixed, so that which faces are found over a score does not
# depend on the lowest score that was asked for.
CONCLUSIVE_SCORE: Final = 0.7
FILLS: Final = 0.6  # of the input's shorter side: a face that large is looked at again, small
_MIN_DOUBTFUL_PX: Final = 48.0  # on the canvas: a face that is smaller is no longer one at half the size
_MIN_AGREEMENT: Final = 0.4  # IoU of what two looks found, from which on it is the same
_MIN_LARGE: Final = 0.5  # of the picture's shorter side: what counts in the small view; the rest is the first pass's
_OVERLAP_PX: Final = 96  # of tiles; a face up to that size lies whole on one of them, and no larger one counts there
_PART_INSIDE: Final = 0.8  # of a box that is taken for a part of a large face
_PART_SIDE: Final = 0.3  # of the large face's side: a smaller box is another's face
_EDGE_PX: Final = 2.0  # nearer to an edge where the picture goes on, a face may be cut
_STRIDE_PX: Final = 32
_MARGIN_PX, _SMALL_MARGIN_PX = 32, 64  # black that stays beside a picture; of the small view, whose point it is
_MIN_GAIN: Final = 1.25  # tiles that would show the picture less than this much larger are not looked at


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A canvas for the network, how it shows the picture, and which faces count on it.

    Attributes:
        canvas: uint8 (H, W, 3) RGB, the network's input size.
        scale: canvas pixels a pixel of the picture.
        origin: the canvas's x and y, in canvas pixels, at which the picture's corner lies.
        min_large_px: of the picture made small, the longer side from which on a face on the canvas is a large one.
        max_side_px: of the longer side of a face's box on the canvas.
        inside: x1, y1, x2, y2 on the canvas, within which a box must lie; infinite where the picture ends.
        shown: width and height, in canvas pixels, of what the canvas shows of the picture; the rest is black.
    """

    canvas: NDArray[np.uint8]
    scale: float
    origin: tuple[float, float] = (0.0, 0.0)
    min_large_px: float = 0.0
    max_side_px: float = math.inf
    inside: tuple[float, float, float, float] = (-math.inf, -math.inf, math.inf, math.inf)
    shown: tuple[int, int] = field(kw_only=True)

    @property
    def is_small(self) -> bool:
        """Whether this is the picture made small, for large faces."""
        return self.min_large_px > 0

    def is_large(self, boxes_K4: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which boxes (K, 4), in pixels of the picture, are large ones on the canvas: (K,)."""
        side_K = (boxes_K4[:, 2:] - boxes_K4[:, :2]).max(axis=1, initial=0) * self.scale
        return np.asarray(side_K >= self.min_large_px, np.bool_)

    def counts(self, boxes_K4: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which boxes (K, 4), in canvas pixels, count: (K,)."""
        side_K = (boxes_K4[:, 2:] - boxes_K4[:, :2]).max(axis=1, initial=0)
        x1, y1, x2, y2 = self.inside
        low, high = np.array([x1, y1], np.float32), np.array([x2, y2], np.float32)
        within = (boxes_K4[:, :2] >= low).all(axis=1) & (boxes_K4[:, 2:] <= high).all(axis=1)
        return np.asarray((side_K <= self.max_side_px) & within, np.bool_)


def letterbox(image_HWC: NDArray[np.uint8], width: int, height: int) -> tuple[NDArray[np.uint8], float]:
    """Fits an image into the top left corner of a black canvas, keeping its proportions.

    Args:
        image_HWC: uint8 (H, W, 3).
        width: of the canvas, pixels.
        height: of the canvas, pixels.

    Returns:
        The canvas, uint8 (height, width, 3), and its scale: canvas pixels a pixel of the image.
    """
    new_width, new_height = _fitted(image_HWC, width, height)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[:new_height, :new_width] = cv2.resize(image_HWC, (new_width, new_height))
    return canvas, new_height / image_HWC.shape[0]


def whole(image_HWC: NDArray[np.uint8], width: int, height: int) -> View:
    """The ordinary view: the picture in the top left corner, as large as it fits."""
    return View(*letterbox(image_HWC, width, height), shown=_fitted(image_HWC, width, height))


def trimmed(view: View) -> View:
    """The view on a canvas that ends soon after what it shows: black costs a network as much as a picture does.

    A margin stays, of as much as was found to change nothing: with none, faces at the picture's edge get other scores.
    The sides are multiples of a network's largest stride.
    """
    sides_px = np.array(view.canvas.shape[1::-1])
    margin_px = 2 * _SMALL_MARGIN_PX if view.is_small else _MARGIN_PX
    kept_px = np.minimum(-(-(np.array(view.shown) + margin_px) // _STRIDE_PX) * _STRIDE_PX, sides_px)
    # The small view has its black all around, the others to the right and below.
    left, top = ((sides_px - kept_px) // 2) if view.is_small else (0, 0)
    canvas = np.ascontiguousarray(view.canvas[top : top + kept_px[1], left : left + kept_px[0]])
    return replace(view, canvas=canvas, origin=(view.origin[0] - left, view.origin[1] - top))


def whole_scale(image_HWC: NDArray[np.uint8], width: int, height: int) -> float:
    """The ordinary view's scale: canvas pixels a pixel of the picture."""
    return float(_fitted(image_HWC, width, height)[1] / image_HWC.shape[0])


def is_conclusive(boxes_K4: NDArray[np.float32], scores_K: NDArray[np.float32], max_side_px: float) -> bool:
    """Whether a first pass needs no look at the picture made small: it found a sure face, and none fills the frame.

    Args:
        boxes_K4: the faces' boxes in pixels of the picture.
        scores_K: their scores.
        max_side_px: longer side, in pixels of the picture, over which a face fills the frame.
    """
    sure = boxes_K4[scores_K >= CONCLUSIVE_SCORE]
    return len(sure) > 0 and float((sure[:, 2:] - sure[:, :2]).max()) <= max_side_px


def are_doubtful(boxes_K4: NDArray[np.float32], scores_K: NDArray[np.float32], min_side_px: float) -> NDArray[np.bool_]:
    """Which faces of a first pass are to be confirmed by a look at the picture made small, (K,).

    Args:
        boxes_K4: the faces' boxes in pixels of the picture.
        scores_K: their scores.
        min_side_px: longer side, in pixels of the picture, of the smallest face that it shows well enough.
    """
    side_K = (boxes_K4[:, 2:] - boxes_K4[:, :2]).max(axis=1, initial=0)
    return np.asarray((scores_K < CONCLUSIVE_SCORE) & (side_K >= min_side_px), np.bool_)


def doubtful_side_px(scale: float) -> float:
    """`are_doubtful`'s smallest side, in pixels of a picture whose ordinary view has that scale."""
    return _MIN_DOUBTFUL_PX / scale


def confirmed(
    boxes_K4: NDArray[np.float32],
    scores_K: NDArray[np.float32],
    again_L4: NDArray[np.float32],
    again_L: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Scores of doubtful faces after a second look, (K,): the mean of both looks' where that is lower.

    Never higher, so that which faces there are over a score does not depend on the lowest score that was asked for.

    Args:
        boxes_K4: the first pass's boxes.
        scores_K: their scores.
        again_L4: all boxes of the second look.
        again_L: their scores.
    """
    agree_KL = intersection_over_union(boxes_K4, again_L4) >= _MIN_AGREEMENT
    second_K = np.where(agree_KL, again_L[None], 0.0).max(axis=1, initial=0.0)
    return np.asarray(np.minimum(scores_K, (scores_K + second_K) / 2), np.float32)


def are_parts(
    boxes_K4: NDArray[np.float32],
    scores_K: NDArray[np.float32],
    large_L4: NDArray[np.float32],
    sure_L: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Which boxes of a first pass are but parts of surer faces that fill the frame, (K,): a cheek with an eye, say.

    Args:
        boxes_K4: the first pass's boxes.
        scores_K: their scores.
        large_L4: boxes that the small view found.
        sure_L: their scores.
    """
    inside_KL = shared_areas(boxes_K4, large_L4) >= _PART_INSIDE * np.maximum(areas(boxes_K4), 1e-6)[:, None]
    side_K, side_L = ((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) for boxes in (boxes_K4, large_L4))
    near_KL = side_K[:, None] >= _PART_SIDE * side_L[None]
    return np.asarray((inside_KL & near_KL & (scores_K[:, None] < sure_L[None])).any(axis=1), np.bool_)


def small(image_HWC: NDArray[np.uint8], width: int, height: int, scale: float) -> View:
    """The picture at a share of its ordinary size, in the middle of the canvas; large faces count alone."""
    new_width, new_height = _fitted(image_HWC, round(width * scale), round(height * scale))
    left, top = (width - new_width) // 2, (height - new_height) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + new_height, left : left + new_width] = _resized(image_HWC, new_width, new_height)
    min_large_px = _MIN_LARGE * min(new_width, new_height)
    return View(canvas, new_height / image_HWC.shape[0], (left, top), min_large_px, shown=(new_width, new_height))


def tiles(image_HWC: NDArray[np.uint8], width: int, height: int, num_along: int) -> Iterator[View]:
    """Overlapping tiles of the picture, `num_along` along the side that limits it; small faces count alone.

    None where the picture has too few pixels to be shown larger by that.
    """
    large = _fitted(image_HWC, _span(width, num_along), _span(height, num_along))
    # A picture is not enlarged beyond its own pixels: fewer tiles show all that there is.
    new_width, new_height = large if large[1] < image_HWC.shape[0] else (image_HWC.shape[1], image_HWC.shape[0])
    if new_height < _MIN_GAIN * _fitted(image_HWC, width, height)[1]:
        return
    shown = _resized(image_HWC, new_width, new_height)
    for top in _starts(new_height, height):
        for left in _starts(new_width, width):
            yield _tile(shown, left, top, width, height, new_height / image_HWC.shape[0])


def halved(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Halves a picture, averaging, as often as its longer side keeps `side_px`; the same array where it need not be."""
    divisor = 1
    while max(pixels.shape[:2]) // (divisor * 2) >= side_px:
        divisor *= 2
    if divisor == 1:
        return pixels
    return _resized(pixels, max(pixels.shape[1] // divisor, 1), max(pixels.shape[0] // divisor, 1))


def useful_side_px(width: int, height: int, scales: tuple[float, ...]) -> int:
    """Longer side of a picture beyond which more pixels help no pass: twice what detection looks at, or all tiles.

    Twice, so that detection's own resize still has detail to average.
    """
    return max(2 * max(width, height), *(_span(max(width, height), round(scale)) for scale in scales if scale > 1), 0)


def _tile(shown: NDArray[np.uint8], left: int, top: int, width: int, height: int, scale: float) -> View:
    part = shown[top : top + height, left : left + width]
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: part.shape[0], : part.shape[1]] = part
    inside = (
        _EDGE_PX if left else -math.inf,
        _EDGE_PX if top else -math.inf,
        width - _EDGE_PX if left + width < shown.shape[1] else math.inf,
        height - _EDGE_PX if top + height < shown.shape[0] else math.inf,
    )
    return View(canvas, scale, (-left, -top), 0.0, _OVERLAP_PX, inside, shown=(part.shape[1], part.shape[0]))


def _span(side_px: int, num_along: int) -> int:
    """Length of `num_along` overlapping tiles."""
    return num_along * side_px - (num_along - 1) * _OVERLAP_PX


def _starts(length: int, side_px: int) -> list[int]:
    """Where tiles begin so that they cover a length and overlap enough."""
    if length <= side_px:
        return [0]
    num = math.ceil((length - _OVERLAP_PX) / (side_px - _OVERLAP_PX))
    return [round(place) for place in np.linspace(0, length - side_px, num)]


def _fitted(image_HWC: NDArray[np.uint8], width: int, height: int) -> tuple[int, int]:
    ratio = image_HWC.shape[0] / image_HWC.shape[1]
    if ratio > height / width:
        new_width, new_height = int(height / ratio), height
    else:
        new_width, new_height = width, int(width * ratio)
    # A strip thinner than the canvas can show still has a row of pixels; OpenCV refuses an empty size.
    return max(new_width, 1), max(new_height, 1)


def _resized(image_HWC: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    how = cv2.INTER_AREA if height < image_HWC.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_HWC, (width, height), interpolation=how), np.uint8)
