"""The blob: canvases as the floats that a detector takes, filled without a copy in between.

Holds the arithmetic of the pixels and the memory that it goes to. Never scales a picture and never runs a graph.
Shape suffixes: N batch; H, W height and width; C channels (three, RGB).
"""

import math
import threading
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray


class Blobs:
    """Fills one blob after another, each thread in memory of its own that is kept: what is new is faulted in anew."""

    def __init__(self, mean: float, std: float, dtype: type[np.floating]) -> None:
        """Takes what a pack states of its detector: a pixel `x` becomes `(x - mean) / std`."""
        # InsightFace multiplies by the reciprocal (cv2.dnn.blobFromImage); a division rounds otherwise.
        self._mean, self._scale, self._dtype = np.float32(mean), np.float32(1.0 / std), dtype
        self._kept = threading.local()

    def filled(self, canvases: Sequence[NDArray[np.uint8]]) -> NDArray[np.floating]:
        """Canvases of one size as a blob.

        Args:
            canvases: uint8 (H, W, 3) RGB arrays, one or more.

        Returns:
            Floats (N, 3, H, W), contiguous, computed in float32; the thread's next blob writes over them.
        """
        height, width, channels = canvases[0].shape
        blob_NCHW = self._memory((len(canvases), channels, height, width))
        scratch_HW = np.empty((height, width), np.float32) if self._dtype is not np.float32 else None
        for row, canvas in enumerate(canvases):
            # One plane after another: numpy is ten times as quick on what lies in one piece. Cast before it computes,
            # since numpy casts what it computes on in small pieces.
            for channel, pixels_HW in enumerate(cv2.split(canvas)):
                plane_HW = blob_NCHW[row, channel] if scratch_HW is None else scratch_HW
                np.copyto(plane_HW, pixels_HW)
                np.subtract(plane_HW, self._mean, out=plane_HW)
                np.multiply(plane_HW, self._scale, out=blob_NCHW[row, channel], casting="same_kind")
        return blob_NCHW

    def _memory(self, shape: tuple[int, ...]) -> NDArray[np.floating]:
        num = math.prod(shape)
        kept: NDArray[np.floating] | None = getattr(self._kept, "values", None)
        if kept is None or kept.size < num:
            kept = self._kept.values = np.empty(num, self._dtype)
        return kept[:num].reshape(shape)
