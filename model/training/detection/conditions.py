"""Conditions: what a detector is tried under beside the plain validation photographs, each without chance.

Holds the list of conditions and how each shows the validation scenes: size of the face, close-ups, rotation, blur, low
light, grey, compression, large and long pictures. What is random (noise, places) is a function of the condition and
the scene's number. Never runs a detector (see `model.training.detection.robustness`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.runtime.passes import halved
from model.training.detection.gallery import GALLERY, one_photograph
from model.training.detection.photometry import greyness_of
from model.training.detection.scenes import Scene
from model.training.detection.views import (
    close_up,
    covering,
    halved_scene,
    largest_face,
    shown_at,
    side_of,
    turned,
    with_pixels,
)

Pixels = NDArray[np.uint8]

CLEAN: Final = "clean"
FRAME_PX: Final = 640  # side of the frames that show faces at a size; what most detectors look at
FACE_SIDES_PX: Final = (20, 32, 64, 128, 256, 400, 600)
_SHARES: Final = (0.8, 1.0, 1.3)
_ANGLES: Final = (10, 20, 30, 45, 90, 180)
_BLURS: Final = (0.01, 0.02, 0.04, 0.08)
_GAINS: Final = (0.5, 0.25, 0.12)
_QUALITIES: Final = (30, 10)
_LARGE: Final = (4000, 3000)  # 12 megapixels
_LARGE_FACES_PX: Final = (64, 128, 256)
_LONG: Final = ((2560, 640), (640, 2560))
_LONG_FACE_PX: Final = 96
_ROOM_FACE_PX: Final = 100.0  # a room's blur is that of a face of this side
_ONE_IN: Final = 3  # rooms are tried under each condition
_FEW: Final = 50  # pictures of 12 megapixels: each takes a fifth of a second to draw
_SERVED_PX: Final = 1280  # a service halves larger pictures while they keep as many pixels along their longer side
_READ_NOISE: Final = 2.0  # levels of 255
_SHOT_NOISE: Final = 0.15  # square levels a level


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: its name, and how it shows photographs with faces and rooms without.

    Attributes:
        name: for people.
        show: the scenes to try a detector on, of photographs and rooms; drawn one at a time.
    """

    name: str
    show: Callable[[Sequence[Scene], Sequence[Scene]], Iterator[Scene]]


def conditions() -> tuple[Condition, ...]:
    """Every condition, in the order of the table."""
    return (
        Condition(CLEAN, _clean),
        *(Condition(f"face of {side} px", partial(_sized, side)) for side in FACE_SIDES_PX),
        Condition(GALLERY, one_photograph),
        *(Condition(f"close-up, {share:.0%}".replace("%", " %"), partial(_close, share)) for share in _SHARES),
        *(Condition(f"turned by {angle} degrees", partial(_turned, angle)) for angle in _ANGLES),
        *(Condition(f"blur, {share:.0%} of the face".replace("%", " %"), partial(_blurred, share)) for share in _BLURS),
        *(Condition(f"light x {gain:g}", partial(_dark, gain)) for gain in _GAINS),
        Condition("grey", partial(_each, greyness_of)),
        *(
            Condition(f"JPEG quality {quality}", partial(_each, partial(_compressed, quality)))
            for quality in _QUALITIES
        ),
        *(Condition(f"12 MP, face of {side} px", partial(_placed, side, _LARGE)) for side in _LARGE_FACES_PX),
        *(
            Condition(f"{size[0]} x {size[1]} px, face of {_LONG_FACE_PX} px", partial(_placed, _LONG_FACE_PX, size))
            for size in _LONG
        ),
    )


def _clean(photos: Sequence[Scene], rooms: Sequence[Scene]) -> Iterator[Scene]:
    yield from photos
    yield from rooms


def _sized(face_px: int, photos: Sequence[Scene], rooms: Sequence[Scene]) -> Iterator[Scene]:
    for number, photo in enumerate(photos):
        behind = covering(rooms[number % len(rooms)], (FRAME_PX, FRAME_PX))
        place = np.random.default_rng((face_px, number)).uniform(0, 1, 2)
        yield shown_at(photo, face_px, (FRAME_PX, FRAME_PX), behind, (place[0], place[1]))


def _close(share: float, photos: Sequence[Scene], rooms: Sequence[Scene]) -> Iterator[Scene]:
    yield from (close_up(photo, share) for photo in photos)
    for room in rooms[::_ONE_IN]:  # a part of a room as large as a close-up shows of a photograph
        height, width = (edge // 2 for edge in room.pixels.shape[:2])
        yield with_pixels(
            room, np.ascontiguousarray(room.pixels[height // 2 : -(height // 2), width // 2 : -(width // 2)])
        )


def _turned(degrees: int, photos: Sequence[Scene], rooms: Sequence[Scene]) -> Iterator[Scene]:
    """One photograph this way, the next the other."""
    for number, scene in enumerate((*photos, *rooms[::_ONE_IN])):
        yield turned(scene, degrees if number % 2 else -degrees)


def _blurred(share: float, photos: Sequence[Scene], rooms: Sequence[Scene]) -> Iterator[Scene]:
    for scene in (*photos, *rooms[::_ONE_IN]):
        face_px = side_of(scene.boxes[largest_face(scene)]) if len(scene.boxes) else _ROOM_FACE_PX
        yield with_pixels(scene, cv2.GaussianBlur(scene.pixels, (0, 0), share * face_px).astype(np.uint8, copy=False))


def _dark(gain: float, photos: Sequence[Scene], rooms: Sequence[Scene]) -> Iterator[Scene]:
    for number, scene in enumerate((*photos, *rooms[::_ONE_IN])):
        yield with_pixels(scene, darkened(scene.pixels, gain, number))


def darkened(pixels: Pixels, gain: float, seed: int) -> Pixels:
    """A share of the light, with a sensor's noise: constant (reading) and growing with the light (photons)."""
    level = pixels.astype(np.float32) * np.float32(gain)
    grain = np.random.default_rng(seed).standard_normal(pixels.shape, np.float32)
    noisy = level + grain * np.sqrt(_READ_NOISE**2 + _SHOT_NOISE * level)
    return np.asarray(np.clip(np.round(noisy), 0, 255), np.uint8)


def _each(change: Callable[[Pixels], Pixels], photos: Sequence[Scene], rooms: Sequence[Scene]) -> Iterator[Scene]:
    yield from (with_pixels(scene, change(scene.pixels)) for scene in (*photos, *rooms[::_ONE_IN]))


def _compressed(quality: int, pixels: Pixels) -> Pixels:
    done, data = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[:, :, ::-1], np.uint8)


def _placed(face_px: int, size: tuple[int, int], photos: Sequence[Scene], rooms: Sequence[Scene]) -> Iterator[Scene]:
    """A face of some pixels in a large or long picture, which is then halved as a service does before detection."""
    for number, photo in enumerate(_few(photos)):
        behind = covering(rooms[number % len(rooms)], size)
        place = np.random.default_rng((face_px, *size, number)).uniform(0, 1, 2)
        yield halved_scene(shown_at(photo, face_px, size, behind, (place[0], place[1])), _SERVED_PX)
    for room in _few(rooms):
        yield with_pixels(room, halved(covering(room, size), _SERVED_PX))


def _few(scenes: Sequence[Scene]) -> Sequence[Scene]:
    return scenes[:: max(math.ceil(len(scenes) / _FEW), 1)]
