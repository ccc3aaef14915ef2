"""Composites: training canvases made of many scenes, each a pure function of (seed, drawing, index).

Holds the mixture that the detector learns from: photographs at all scales, mosaics of them, faces pasted into rooms,
and grounds without a face on which things are pasted that are none. Never assigns anchors (see
`model.training.detection.targets`).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.dataset import DataError
from model.training.detection.canvas import Canvas, backdrop, face_view, labelled, log_uniform, turn
from model.training.detection.decoys import beside_faces, noise_texture
from model.training.detection.geometry import move_boxes, move_landmarks, overlap_of_first, resample, view_matrix
from model.training.detection.paste import cover_eyes, mask_mouth, paste
from model.training.detection.photometry import disturb
from model.training.detection.scenes import Scene

# Shares of the mixture: a photograph, a mosaic of four, faces pasted on a backdrop, a backdrop without a face.
_SHARES: Final = (0.4, 0.22, 0.18, 0.2)
_CLOSE_UP: Final = 0.25  # of photographs show a face that fills the canvas or is cut by it
_MIN_FACE_PX: Final = 10.0
_MIN_SOURCE_SCORE: Final = 0.8  # a pasted face is one that the labelling detector was sure of
# Of canvases without a face: noise all over, a part of a photograph beside its faces, a small part of a room.
_ONLY_NOISE: Final = 0.08
_BESIDE_FACES: Final = 0.05
_ZOOMED_ROOM: Final = 0.25
_ROOM_ZOOMS: Final = (2.5, 8.0)
# Decoys: how many at most beside faces and alone, and which are noise.
_MAX_DECOYS: Final = 4
_MAX_DECOYS_ALONE: Final = 6
_NOISE_DECOY: Final = 0.12
# Photographs, crops, rooms. Few photographs: small faces in their background have no label.
_DECOY_SOURCES: Final = (0.3, 0.2, 0.5)
_COVER_CHANCE: Final = 0.08
_MIN_COVERED_PX: Final = 32.0
_TRIES: Final = 8


class Compositor:
    """Draws training canvases from scenes. Holds nothing that changes: the same numbers give the same canvas.

    Attributes:
        seed: of everything random.
    """

    def __init__(self, scenes: Sequence[Scene], seed: int) -> None:
        """Sorts the scenes by use.

        Raises:
            DataError: if there are no photographs with faces, no close crops with one, or no rooms.
        """
        self.seed = seed
        self._photos = [scene for scene in scenes if scene.kind == "photo" and len(scene.boxes)]
        self._crops = [scene for scene in scenes if scene.kind == "crop" and len(scene.boxes)]
        self._rooms = [scene for scene in scenes if scene.kind == "room"]
        # One face, and a sure one: whatever else were near it would be pasted too, without a label.
        self._single = [
            [scene for scene in group if len(scene.boxes) == 1 and scene.scores[0] >= _MIN_SOURCE_SCORE]
            for group in (self._crops, self._photos)
        ]
        if not (all(self._single) and self._rooms):
            raise DataError("a detector's training data needs photographs and crops with faces, and rooms without")

    def canvas(self, number: int, index: int, side_px: int) -> Canvas:
        """The canvas of place `index` in drawing `number`, (side_px, side_px)."""
        rng = np.random.default_rng((self.seed, number, index))
        size = (side_px, side_px)
        kind = rng.choice(len(_SHARES), p=_SHARES)
        if kind == 0:
            close = rng.random() < _CLOSE_UP
            drawn = self._view(rng, size, (0.8 * side_px, 1.45 * side_px) if close else (0.12 * side_px, 0.9 * side_px))
        elif kind == 1:
            drawn = self._mosaic(rng, size)
        else:
            drawn = self._composite(rng, size, int(rng.integers(1, 8)) if kind == 2 else 0)
        _cover_faces(rng, drawn)
        sides = (drawn.boxes[:, 2:] - drawn.boxes[:, :2]).max(axis=1, initial=0)
        return Canvas(
            disturb(rng, drawn.pixels, float(sides.max(initial=0))), drawn.boxes, drawn.landmarks, drawn.ignored
        )

    def _face_scene(self, rng: np.random.Generator) -> Scene:
        group = self._crops if rng.random() < 0.2 else self._photos
        return group[rng.integers(len(group))]

    def _mosaic(self, rng: np.random.Generator, size: tuple[int, int]) -> Canvas:
        """Four views side by side: small faces by the same number of pixels that one large face takes."""
        split = [round(edge * rng.uniform(0.35, 0.65)) for edge in size]
        pixels = np.empty((size[1], size[0], 3), np.uint8)
        parts = []
        for left, right in ((0, split[0]), (split[0], size[0])):
            for top, bottom in ((0, split[1]), (split[1], size[1])):
                cell = (right - left, bottom - top)
                part = self._cell(rng, cell)
                pixels[top:bottom, left:right] = part.pixels
                shift = np.array([left, top], np.float32)
                parts.append((part.boxes + np.tile(shift, 2), part.landmarks + shift, part.ignored))
        boxes, landmarks, ignored = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Canvas(pixels, boxes, landmarks, ignored)

    def _cell(self, rng: np.random.Generator, size: tuple[int, int]) -> Canvas:
        if rng.random() < 0.15:
            return backdrop(rng, self._rooms[rng.integers(len(self._rooms))], size)
        return self._view(rng, size, (_MIN_FACE_PX, 0.85 * min(size)))

    def _view(self, rng: np.random.Generator, size: tuple[int, int], faces_px: tuple[float, float]) -> Canvas:
        """A photograph; where it ends there is one colour, as in a letterbox, or a room, so that little is wasted."""
        behind = None
        if rng.random() < 0.6:
            behind = backdrop(rng, self._rooms[rng.integers(len(self._rooms))], size).pixels
        return face_view(rng, self._face_scene(rng), size, faces_px, behind)

    def _composite(self, rng: np.random.Generator, size: tuple[int, int], num_faces: int) -> Canvas:
        """Faces and decoys on a backdrop: a room or, for one in five with faces, a photograph."""
        base = self._ground(rng, size, with_faces=num_faces > 0)
        boxes, landmarks, ignored = [base.boxes], [base.landmarks], [base.ignored]
        # Decoys first: a face that is pasted later lies on top of them.
        for _ in range(int(rng.integers(0, (_MAX_DECOYS if num_faces else _MAX_DECOYS_ALONE) + 1))):
            self._paste_decoy(rng, base.pixels, np.concatenate(boxes))
        for _ in range(num_faces):
            pasted = self._paste_face(rng, base.pixels, np.concatenate(boxes))
            if pasted is not None:
                boxes.append(pasted.boxes)
                landmarks.append(pasted.landmarks)
                ignored.append(pasted.ignored)
        return Canvas(base.pixels, np.concatenate(boxes), np.concatenate(landmarks), np.concatenate(ignored))

    def _ground(self, rng: np.random.Generator, size: tuple[int, int], with_faces: bool) -> Canvas:
        """What is pasted on: a room or, for one in five that get faces, a photograph with its own."""
        if with_faces:
            group = self._photos if rng.random() < 0.2 else self._rooms
            return backdrop(rng, group[rng.integers(len(group))], size)
        room, drawn = self._rooms[rng.integers(len(self._rooms))], rng.random()
        if drawn < _ONLY_NOISE:
            none = np.zeros(0, np.float32)
            return labelled(noise_texture(rng, size), none.reshape(0, 4), none.reshape(0, 5, 2), none)
        if drawn < _ONLY_NOISE + _BESIDE_FACES:
            scene = self._photos[rng.integers(len(self._photos))]
            part = beside_faces(rng, scene)
            if part is not None:
                centre, side = part
                matrix = view_matrix(centre, np.array(size) / 2, max(size) / side, 0.0, rng.random() < 0.5)
                boxes, landmarks = move_boxes(scene.boxes, matrix), move_landmarks(scene.landmarks, matrix)
                # What little of a face may be on it teaches nothing.
                return labelled(resample(scene.pixels, matrix, size), boxes, landmarks, np.zeros_like(scene.scores))
        zooms = _ROOM_ZOOMS if rng.random() < _ZOOMED_ROOM else (1.0, 2.5)
        return backdrop(rng, room, size, zooms)

    def _paste_face(
        self, rng: np.random.Generator, pixels: NDArray[np.uint8], taken: NDArray[np.float32]
    ) -> Canvas | None:
        group = self._single[int(rng.random() < 0.4)]
        scene = group[rng.integers(len(group))]
        side = float((scene.boxes[0, 2:] - scene.boxes[0, :2]).max())
        target_px = min(log_uniform(rng, _MIN_FACE_PX, 0.55 * min(pixels.shape[:2])), 2.5 * side)
        spread = rng.uniform(1.35, 2.0)
        place = _free_place(rng, pixels, taken, target_px * spread)
        if place is None:
            return None
        centre = (scene.boxes[0, :2] + scene.boxes[0, 2:]) / 2
        matrix = view_matrix(centre, place, target_px / side, turn(rng), rng.random() < 0.5)
        paste(rng, pixels, scene.pixels, matrix, _square(place, target_px * spread))
        boxes, landmarks = move_boxes(scene.boxes, matrix), move_landmarks(scene.landmarks, matrix)
        return labelled(pixels, boxes, landmarks, scene.scores)

    def _paste_decoy(self, rng: np.random.Generator, pixels: NDArray[np.uint8], taken: NDArray[np.float32]) -> None:
        """Pastes what is no face as faces are pasted, so that a pasted edge is no sign of a face."""
        if rng.random() < _NOISE_DECOY:
            source_px = log_uniform(rng, 16, 0.8 * min(pixels.shape[:2]))
            source, centre = noise_texture(rng, (round(source_px), round(source_px))), np.full(2, source_px / 2)
            target_px = source_px * rng.uniform(0.7, 1.0)
        else:
            group = (self._photos, self._crops, self._rooms)[rng.choice(3, p=_DECOY_SOURCES)]
            scene = group[rng.integers(len(group))]
            part = beside_faces(rng, scene)
            if part is None:
                return
            source, (centre, source_px) = scene.pixels, part
            target_px = min(log_uniform(rng, 16, 0.8 * min(pixels.shape[:2])), 3 * source_px)
        place = _free_place(rng, pixels, taken, target_px)
        if place is None:
            return
        matrix = view_matrix(centre, place, target_px / source_px, turn(rng), rng.random() < 0.5)
        paste(rng, pixels, source, matrix, _square(place, target_px))


def _free_place(
    rng: np.random.Generator, pixels: NDArray[np.uint8], taken: NDArray[np.float32], side_px: float
) -> NDArray[np.float64] | None:
    """A centre for a square that covers no face by more than a twentieth; None if it is not found soon."""
    height, width = pixels.shape[:2]
    half, margin = np.array([width, height]) / 2, 0.35 * side_px
    for _ in range(_TRIES):
        place = rng.uniform(np.minimum(margin, half), np.maximum(2 * half - margin, half))
        bounds = np.concatenate([place - side_px / 2, place + side_px / 2])[None]
        if not (overlap_of_first(taken, bounds) > 0.05).any():
            return np.asarray(place, np.float64)
    return None


def _square(place: NDArray[np.float64], side_px: float) -> tuple[int, int, int]:
    side = max(round(side_px), 3)
    return round(float(place[0]) - side / 2), round(float(place[1]) - side / 2), side


def _cover_faces(rng: np.random.Generator, canvas: Canvas) -> None:
    """Lays a mask or dark glasses over a few of the larger faces."""
    for box, landmarks in zip(canvas.boxes, canvas.landmarks, strict=True):
        if (box[2:] - box[:2]).max() >= _MIN_COVERED_PX and rng.random() < _COVER_CHANCE:
            (mask_mouth if rng.random() < 0.6 else cover_eyes)(rng, canvas.pixels, landmarks)
