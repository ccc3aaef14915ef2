"""Decoys: what looks a little like a face, or is pasted as one, and is none.

Holds squares of photographs beside the faces, often of bodies, and pictures of noise. Never pastes them (see
`model.training.detection.composites`), and never what a camera's sensor adds to a photograph (see
`model.training.detection.photometry`).
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.training.detection.canvas import log_uniform
from model.training.detection.geometry import overlap_of_first
from model.training.detection.scenes import Scene

_BODY: Final = 0.4  # of squares are from below a face
_MAX_FACE: Final = 0.15  # of a face's box may be on the square
_TRIES: Final = 8
_GRAINS_PX: Final = (1, 1, 1, 2, 3, 4, 8, 16)
_GREY: Final = 0.5  # of textures
_SOFT: Final = 0.4  # of coarse textures have no edges between their grains


def noise_texture(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Noise of a width and height: about one level, by up to the whole range.

    Returns:
        uint8 (height, width, 3).
    """
    grain = int(rng.choice(_GRAINS_PX))
    across, down = (max(-(-edge // grain), 1) for edge in size)
    channels = 1 if rng.random() < _GREY else 3
    if rng.random() < 0.5:
        levels = rng.integers(0, 256, (down, across, channels), np.uint8)
    else:
        spread, middle = rng.uniform(8, 80), rng.uniform(0, 255, channels)
        drawn = rng.standard_normal((down, across, channels), np.float32) * np.float32(spread)
        levels = np.clip(drawn + middle, 0, 255).astype(np.uint8)
    grains = np.repeat(levels, 3, axis=2) if channels == 1 else levels
    if grain == 1:
        return np.ascontiguousarray(grains)
    how = cv2.INTER_CUBIC if rng.random() < _SOFT else cv2.INTER_NEAREST
    whole = cv2.resize(grains, (across * grain, down * grain), interpolation=how)
    return np.ascontiguousarray(whole[: size[1], : size[0]], np.uint8)


def beside_faces(rng: np.random.Generator, scene: Scene) -> tuple[NDArray[np.float64], float] | None:
    """Centre and side of a square of a scene with hardly any of its faces, often a body; None if none is found soon."""
    height, width = scene.pixels.shape[:2]
    body = len(scene.boxes) > 0 and rng.random() < _BODY
    for _ in range(_TRIES):
        if body:
            box = scene.boxes[rng.integers(len(scene.boxes))]
            face_px = max(float((box[2:] - box[:2]).max()), 1.0)
            side = face_px * rng.uniform(0.5, 1.5)
            below = rng.uniform((-1.2, 0.9), (1.2, 2.5)) * face_px
            centre = np.clip((box[:2] + box[2:]) / 2 + below, 0, (width, height)).astype(np.float64)
        else:
            side = log_uniform(rng, 20, max(0.6 * min(height, width), 20))
            centre = rng.uniform((0, 0), (width, height))
        bounds = np.concatenate([centre - side / 2, centre + side / 2])[None]
        if not (overlap_of_first(scene.boxes, bounds) > _MAX_FACE).any():
            return centre, side
    return None
