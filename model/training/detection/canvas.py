"""A training canvas: pixels and the labels that lie on them, and the two ways to draw one from a single scene.

Holds views of photographs (with their faces) and backdrops (without). Never pastes one scene on another (see
`model.training.detection.composites`).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.detection.geometry import move_boxes, move_landmarks, overlap_of_first, resample, view_matrix
from model.training.detection.scenes import Scene

MIN_FACE_PX: Final = 8.0  # a smaller face is ignored: the labels hold none that are surely all there
_MIN_LABEL_SCORE: Final = 0.65  # under it the labelling detector's own doubt is kept: no loss either way
_MIN_SEEN: Final = 0.25  # of a face's box on the canvas: with less there is no face to find
_MIN_SURE: Final = 0.6  # with less of it on the canvas, no loss either way, unless all its landmarks are there:
_MIN_SURE_CLOSE: Final = 0.4  # then it is a close-up that the frame cuts
_MAX_ENLARGEMENT: Final = 4.0
_MAX_ANGLE: Final = math.radians(45)
_TURNED_BACKDROP: Final = 0.15  # of backdrops lie askew, with corners of one colour


@dataclass(frozen=True, slots=True)
class Canvas:
    """One training image.

    Attributes:
        pixels: uint8 (H, W, 3) RGB.
        boxes: float32 (F, 4), x1, y1, x2, y2, clipped to the canvas.
        landmarks: float32 (F, 5, 2), some perhaps off the canvas.
        ignored: bool (F,): whatever the network says there goes unpunished.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    ignored: NDArray[np.bool_]


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between low and high, each octave as likely as the next; `low` where the range is empty."""
    return float(math.exp(rng.uniform(math.log(low), math.log(max(high, low)))))


def turn(rng: np.random.Generator) -> float:
    """An angle in radians: mostly upright, four times in ten up to 45 degrees either way."""
    return float(rng.uniform(-_MAX_ANGLE, _MAX_ANGLE) if rng.random() < 0.4 else rng.normal(0, 0.05))


def face_view(
    rng: np.random.Generator,
    scene: Scene,
    size: tuple[int, int],
    faces_px: tuple[float, float],
    behind: NDArray[np.uint8] | None = None,
) -> Canvas:
    """Draws a scene so that one of its faces, drawn by lot, has a longer side from a range and lies on the canvas.

    Args:
        rng: decides everything that is left open.
        scene: with at least one face.
        size: width and height of the canvas.
        faces_px: the range of that face's longer side; fewer pixels where the scene would be enlarged over four times.
        behind: what shows where the scene ends, uint8 (H, W, 3); one colour by default.
    """
    box = scene.boxes[rng.integers(len(scene.boxes))]
    side = max(float((box[2:] - box[:2]).max()), 1.0)
    scale = min(log_uniform(rng, *faces_px) / side, _MAX_ENLARGEMENT)
    margin = scale * side / 2
    target = np.array([rng.uniform(min(margin, edge / 2), max(edge - margin, edge / 2)) for edge in size])
    matrix = view_matrix((box[:2] + box[2:]) / 2, target, scale, turn(rng), rng.random() < 0.5)
    red, green, blue = (int(level) for level in rng.integers(0, 256, 3) * (rng.random() < 0.4))
    pixels = resample(scene.pixels, matrix, size, (red, green, blue), smooth=rng.random() < 0.7, behind=behind)
    boxes, landmarks = move_boxes(scene.boxes, matrix), move_landmarks(scene.landmarks, matrix)
    return labelled(pixels, boxes, landmarks, scene.scores)


def labelled(
    pixels: NDArray[np.uint8], boxes: NDArray[np.float32], landmarks: NDArray[np.float32], scores: NDArray[np.float32]
) -> Canvas:
    """Makes a canvas of pixels and labels: drops faces that are off it, ignores small, cut or doubtful ones."""
    height, width = pixels.shape[:2]
    seen = overlap_of_first(boxes, np.array([[0, 0, width, height]], np.float32))[:, 0]
    small = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) < MIN_FACE_PX
    inside = ((landmarks >= 0) & (landmarks < np.array([width, height], np.float32))).all(axis=(1, 2))
    ignored = small | (seen < np.where(inside, _MIN_SURE_CLOSE, _MIN_SURE)) | (scores < _MIN_LABEL_SCORE)
    clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    kept = seen >= _MIN_SEEN
    return Canvas(pixels, clipped[kept], landmarks[kept], ignored[kept])


def backdrop(
    rng: np.random.Generator, scene: Scene, size: tuple[int, int], zooms: tuple[float, float] = (1.0, 2.5)
) -> Canvas:
    """Draws a part of a scene that covers the canvas, but for corners where it lies askew, and keeps its faces.

    Args:
        rng: decides everything that is left open.
        scene: with or without faces.
        size: width and height of the canvas.
        zooms: the range of how much larger it is drawn than to just cover the canvas.
    """
    height, width = scene.pixels.shape[:2]
    scale = max(size[0] / width, size[1] / height) * log_uniform(rng, *zooms)
    # The scene's centre lies where the canvas is still covered to all edges.
    slack = np.maximum(np.array([width, height]) * scale - np.array(size), 0) / 2
    target = np.array(size) / 2 + rng.uniform(-1, 1, 2) * slack
    askew = rng.random() < _TURNED_BACKDROP
    angle = float(rng.uniform(-_MAX_ANGLE, _MAX_ANGLE)) if askew else 0.0
    matrix = view_matrix(np.array([width, height]) / 2, target, scale, angle, rng.random() < 0.5)
    level = int(rng.integers(0, 256)) if askew and rng.random() < 0.4 else 0
    pixels = resample(scene.pixels, matrix, size, (level, level, level), smooth=rng.random() < 0.7)
    boxes, landmarks = move_boxes(scene.boxes, matrix), move_landmarks(scene.landmarks, matrix)
    return labelled(pixels, boxes, landmarks, scene.scores)
