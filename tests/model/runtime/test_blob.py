"""The blob: the bits that InsightFace feeds, whatever canvases came before."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.runtime.blob import Blobs

_ROW = np.arange(256, dtype=np.uint8)
EVERY_PIXEL = np.stack([np.roll(_ROW, shift).reshape(16, 16) for shift in (0, 85, 170)], axis=2)
NORMALISATIONS = [(127.5, 128.0), (127.5, 127.5), (0.0, 1.0), (0.0, 255.0), (104.3, 58.7)]


def _canvas(seed: int, height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _right(canvas: NDArray[np.uint8], mean: float, std: float) -> NDArray[np.float32]:
    blob: NDArray[np.float32] = np.asarray(cv2.dnn.blobFromImage(canvas, 1 / std, mean=(mean,) * 3), np.float32)
    return blob.reshape(blob.shape[1:])


@pytest.mark.parametrize(("mean", "std"), NORMALISATIONS)
def test_every_pixel_is_the_float_that_insightface_feeds(mean: float, std: float) -> None:
    """For each of the 256 values of each channel the blob holds the very bits that OpenCV's has."""
    (found,) = Blobs(mean, std, np.float32).filled([EVERY_PIXEL])
    np.testing.assert_array_equal(found, _right(EVERY_PIXEL, mean, std))


def test_memory_that_is_used_again_holds_nothing_of_before() -> None:
    """Blobs of other sizes and numbers, larger and smaller, come out as if each were the first; all in one piece."""
    blobs = Blobs(127.5, 128.0, np.float32)
    for seed, (num, height, width) in enumerate([(1, 64, 96), (4, 96, 64), (2, 32, 32), (5, 96, 96), (1, 64, 96)]):
        canvases = [_canvas(10 * seed + row, height, width) for row in range(num)]
        found = blobs.filled(canvases)
        assert (found.shape, found.flags.c_contiguous) == ((num, 3, height, width), True)
        for row, canvas in enumerate(canvases):
            np.testing.assert_array_equal(found[row], _right(canvas, 127.5, 128.0))


def test_half_precision_is_rounded_once() -> None:
    """A detector in half precision is fed the float32 numbers, rounded."""
    found = Blobs(104.3, 58.7, np.float16).filled([EVERY_PIXEL])
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found[0], _right(EVERY_PIXEL, 104.3, 58.7).astype(np.float16))


def test_threads_do_not_write_over_each_other() -> None:
    """Each thread's blobs are its own."""
    blobs = Blobs(127.5, 128.0, np.float32)

    def differs(seed: int) -> bool:
        canvas = _canvas(seed)
        return not np.array_equal(blobs.filled([canvas] * 2)[1], _right(canvas, 127.5, 128.0))

    with ThreadPoolExecutor(6) as pool:
        assert not any(pool.map(differs, range(60)))
