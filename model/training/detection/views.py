"""Views: a labelled photograph shown otherwise: at a size, close by, turned, or as a small part of a large picture.

Holds what moves pixels together with their labels, without chance: whoever wants chance gives a place. What a camera
does to pixels that stay in place is in `model.training.detection.conditions`. Never pastes with a soft edge (see
`model.training.detection.paste`).
"""

import math
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.runtime.passes import halved
from model.training.detection.geometry import (
    move_boxes,
    move_landmarks,
    overlap_of_first,
    resample,
    view_matrix,
)
from model.training.detection.scenes import Scene

MIN_SEEN: Final = 0.5  # of a face's box: with less of it in the frame, it is not asked for


def side_of(box: NDArray[np.floating]) -> float:
    """A box's longer side, pixels; at least one."""
    return max(float((box[2:] - box[:2]).max()), 1.0)


def largest_face(scene: Scene) -> int:
    """Number of the scene's largest face."""
    return int(np.argmax([side_of(box) for box in scene.boxes]))


def moved(scene: Scene, pixels: NDArray[np.uint8], matrix: NDArray[np.float64]) -> Scene:
    """A scene of new pixels whose labels went along by a (2, 3) map: cut at the frame, faces mostly off it left out."""
    height, width = pixels.shape[:2]
    boxes, landmarks = move_boxes(scene.boxes, matrix), move_landmarks(scene.landmarks, matrix)
    frame = np.array([[0, 0, width, height]], np.float32)
    kept = overlap_of_first(boxes, frame)[:, 0] >= MIN_SEEN
    clipped = np.clip(boxes, 0, np.tile(frame[0, 2:], 2))
    return Scene(scene.name, scene.kind, pixels, clipped[kept], landmarks[kept], scene.scores[kept])


def covering(room: Scene, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A room's pixels, scaled so that they cover a frame of width and height `size`, from its centre."""
    height, width = room.pixels.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    centre = np.array([width - 1, height - 1]) / 2
    matrix = view_matrix(centre, (np.array(size) - 1) / 2, scale, 0.0, False)
    return cv2.warpAffine(room.pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(
        np.uint8, copy=False
    )


def shown_at(
    scene: Scene, face_px: float, size: tuple[int, int], behind: NDArray[np.uint8], place: tuple[float, float]
) -> Scene:
    """Shows a scene so that its largest face, the one that stays labelled, has a longer side of `face_px` in a frame.

    Args:
        scene: with a face.
        face_px: pixels of the frame.
        size: width and height of the frame.
        behind: uint8 (height, width, 3), what shows where the photograph ends.
        place: where the face's centre lies, 0 to 1 across and down of where it fits in whole; the middle where it does
            not.
    """
    face = largest_face(scene)
    box = scene.boxes[face]
    scale, margin = face_px / side_of(box), face_px / 2
    target = np.array(
        [
            edge / 2 if 2 * margin > edge else margin + share * (edge - 2 * margin)
            for edge, share in zip(size, place, strict=True)
        ]
    )
    matrix = view_matrix((box[:2] + box[2:]) / 2, target, scale, 0.0, False)
    pixels = resample(scene.pixels, matrix, size)
    covered = cv2.warpAffine(np.full(scene.pixels.shape[:2], 255, np.uint8), matrix, size, flags=cv2.INTER_NEAREST)
    alone = replace(scene, boxes=box[None], landmarks=scene.landmarks[face][None], scores=scene.scores[face : face + 1])
    return moved(alone, np.where(covered[:, :, None] == 255, pixels, behind), matrix)


def close_up(scene: Scene, share: float) -> Scene:
    """Crops a photograph to a square that its largest face's longer side fills by a share, 1.3 for well over it.

    The square is moved to lie on the photograph, and ends with it where it is larger.
    """
    box = scene.boxes[largest_face(scene)]
    side = side_of(box) / share
    height, width = scene.pixels.shape[:2]
    centre = (box[:2] + box[2:]) / 2
    low = [
        round(min(max(float(middle) - side / 2, 0.0), max(edge - side, 0.0)))
        for middle, edge in zip(centre, (width, height), strict=True)
    ]
    high = [min(round(start + side), edge) for start, edge in zip(low, (width, height), strict=True)]
    shift = np.array([[1.0, 0.0, -low[0]], [0.0, 1.0, -low[1]]])
    return moved(scene, np.ascontiguousarray(scene.pixels[low[1] : high[1], low[0] : high[0]]), shift)


def turned(scene: Scene, degrees: float) -> Scene:
    """Turns a whole scene clockwise, on a black frame that holds all of it; right angles without resampling."""
    height, width = scene.pixels.shape[:2]
    angle = math.radians(degrees)
    size = _bounds(width, height, angle)
    centre = np.array([width - 1, height - 1]) / 2
    matrix = view_matrix(centre, (np.array(size) - 1) / 2, 1.0, angle, False)
    if degrees % 90 == 0:
        pixels = np.ascontiguousarray(np.rot90(scene.pixels, -round(degrees / 90)))
    else:
        pixels = resample(scene.pixels, matrix, size)
    return moved(scene, pixels, matrix)


def halved_scene(scene: Scene, side_px: int) -> Scene:
    """A scene halved, averaging, as often as its longer side keeps `side_px`."""
    pixels = halved(scene.pixels, side_px)
    across, down = (new / old for new, old in zip(pixels.shape[1::-1], scene.pixels.shape[1::-1], strict=True))
    return moved(scene, pixels, np.array([[across, 0.0, 0.0], [0.0, down, 0.0]]))


def with_pixels(scene: Scene, pixels: NDArray[np.uint8]) -> Scene:
    """The same labels on other pixels."""
    return replace(scene, pixels=pixels)


def _bounds(width: int, height: int, angle: float) -> tuple[int, int]:
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    return round(width * cosine + height * sine), round(width * sine + height * cosine)
