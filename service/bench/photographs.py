"""The photographs that the bench sends, all made of one photograph of several people.

One face, six, none, an aligned crop, 64 kB, 12 megapixels. Holds bytes alone: how many faces each has is what the
pack's own detector finds. Never makes a face up, never reads a data set, and keeps no photograph beside the code.
"""

import importlib.util
import io
import math
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.runtime.alignment import five_point_matrix, warp
from service.bench.pipeline import MAX_PIXELS
from service.imaging import decode, encode_jpeg
from service.onnx_engine import OnnxEngine

_GROUP: Final = ("insightface", "data/images/t1.jpg")
_SMALL_BYTES: Final = 64_000
_LARGE_PIXELS: Final = 12_000_000
_WALL: Final = (480, 640)
_MARGINS: Final = (2.0, 1.5, 1.0, 0.6, 0.3)  # around the one face, in sides of its box


class PhotographError(ValueError):
    """No photograph, or not such a one as the bench needs; the message is one clear line."""


def group_photograph(path: Path | None) -> bytes:
    """The photograph that all others are made of; by default InsightFace's own of six faces, 1280 x 886.

    Raises:
        PhotographError: if it is not there.
    """
    try:
        return (path or _bundled()).read_bytes()
    except OSError as error:
        raise PhotographError(f"cannot read {path or _GROUP[1]}: {error.strerror}") from None


def photographs(group: bytes, engine: OnnxEngine) -> dict[str, bytes]:
    """JPEGs by name; `six faces` is the photograph itself, whatever it shows.

    Raises:
        PhotographError: if the pack's detector finds no face on the photograph.
    """
    pixels = decode(group, max_pixels=MAX_PIXELS).pixels
    (found,) = engine.detect([pixels], engine.pack.detector.min_score)
    if not len(found):
        raise PhotographError("the pack's detector finds no face on the photograph: name another by --photo")
    side_px = engine.pack.analyzers[0].side_px
    crop = warp(pixels, five_point_matrix(found.landmarks[0], side_px), side_px)
    return {
        "one face": encode_jpeg(_one_face(pixels, found.boxes[0], engine)),
        "six faces": group,
        "no face": encode_jpeg(_wall()),
        "aligned crop": encode_jpeg(crop),
        "64 kB": _of_bytes(pixels, _SMALL_BYTES),
        "12 MP": _of_pixels(pixels, _LARGE_PIXELS),
    }


def _bundled() -> Path:
    package, relative = _GROUP
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise PhotographError(
            f"{package} is not installed, whose photograph of six faces the bench sends: name one by --photo"
        )
    return Path(spec.origin).parent / relative


def _one_face(pixels: NDArray[np.uint8], box: NDArray[np.float32], engine: OnnxEngine) -> NDArray[np.uint8]:
    """A face with as much around it as shows no other, enlarged to 640 pixels."""
    x1, y1, x2, y2 = box
    side = max(x2 - x1, y2 - y1)
    for margin in _MARGINS:
        left, top = (max(0, int(low - margin * side)) for low in (x1, y1))
        cut = pixels[top : math.ceil(y2 + margin * side), left : math.ceil(x2 + margin * side)]
        scale = 640 / max(cut.shape[:2])
        made = np.asarray(cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
        if len(engine.detect([made], engine.pack.detector.min_score)[0]) == 1:
            return made
    return np.asarray(made, np.uint8)  # the rows state how many faces were found


def _wall() -> NDArray[np.uint8]:
    """A plain wall under uneven light, with the grain of a camera."""
    height, width = _WALL
    light = np.linspace(150, 210, width)[None, :, None] + np.linspace(0, -30, height)[:, None, None]
    grain = np.random.default_rng(0).normal(0, 3, (height, width, 3))
    return np.clip(light + grain, 0, 255).astype(np.uint8)


def _of_bytes(pixels: NDArray[np.uint8], num_bytes: int) -> bytes:
    """The JPEG of the best quality that is no larger."""
    made = (encode_jpeg(pixels, quality) for quality in range(95, 4, -1))
    return next((data for data in made if len(data) <= num_bytes), encode_jpeg(pixels, 5))


def _of_pixels(pixels: NDArray[np.uint8], num_pixels: int) -> bytes:
    scale = math.sqrt(num_pixels / (pixels.shape[0] * pixels.shape[1]))
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    target = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS).save(target, "JPEG", quality=85)
    return target.getvalue()
