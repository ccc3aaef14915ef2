"""A gallery: faces from 20 to 600 pixels side by side in one photograph of a room.

Holds that picture's plan. Never runs a detector.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from model.training.detection.geometry import view_matrix
from model.training.detection.paste import paste
from model.training.detection.scenes import Scene
from model.training.detection.views import covering, moved, side_of

GALLERY: Final = "20 to 600 px in one photograph"
SIZE: Final = (1600, 1200)
# Longer side of the face, and its centre: around each is room for as much again as the paste takes.
PLAN: Final = (
    (600, (470, 620)),
    (400, (1260, 330)),
    (256, (1140, 880)),
    (128, (1450, 800)),
    (64, (1450, 1000)),
    (32, (1420, 1120)),
    (20, (1520, 1120)),
)
_SPREAD: Final = 1.5  # side of what is pasted, by the face's
_NUM_PICTURES: Final = 24
_MIN_SCORE: Final = 0.8  # a pasted face is one that the labelling detector was sure of
_MAX_ENLARGEMENT: Final = 4.0


def one_photograph(photos: Sequence[Scene], rooms: Sequence[Scene]) -> Iterator[Scene]:
    """Pictures of `SIZE`, each with the faces of `PLAN`, from photographs of one face each."""
    single = [photo for photo in photos if len(photo.boxes) == 1 and photo.scores[0] >= _MIN_SCORE]
    by_size = sorted(single, key=lambda photo: side_of(photo.boxes[0]))
    for number in range(min(_NUM_PICTURES, len(single))):
        yield _picture(number, by_size, rooms[number % len(rooms)])


def _picture(number: int, by_size: Sequence[Scene], room: Scene) -> Scene:
    rng = np.random.default_rng((SIZE[0], number))
    pixels = covering(room, SIZE).copy()
    boxes, landmarks, scores = [], [], []
    for face_px, centre in PLAN:
        large_enough = [photo for photo in by_size if side_of(photo.boxes[0]) * _MAX_ENLARGEMENT >= face_px]
        photo = (large_enough or by_size[-1:])[int(rng.integers(len(large_enough or by_size[-1:])))]
        box = photo.boxes[0]
        place = np.array(centre) + rng.uniform(-0.05, 0.05, 2) * face_px
        matrix = view_matrix((box[:2] + box[2:]) / 2, place, face_px / side_of(box), 0.0, bool(rng.random() < 0.5))
        side = round(_SPREAD * face_px)
        paste(rng, pixels, photo.pixels, matrix, (round(place[0] - side / 2), round(place[1] - side / 2), side))
        shown = moved(photo, pixels, matrix)
        boxes.append(shown.boxes)
        landmarks.append(shown.landmarks)
        scores.append(shown.scores)
    return Scene(f"{room.name} {number}", "photo", pixels, *map(np.concatenate, (boxes, landmarks, scores)))
