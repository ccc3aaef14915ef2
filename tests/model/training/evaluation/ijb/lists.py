"""A template set in IJB-C's true layout, small: real faces as loose crops, with the landmarks found on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.model.training.evaluation.photographs import faces


@dataclass(frozen=True, slots=True)
class Face:
    """One line of both face lists."""

    template: int
    media: int
    score: float


def loose_crops(photograph: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Every face of a photograph with a margin round its box, and its landmarks (5, 2) in the crop's pixels."""
    pixels, found = faces(photograph)
    made = []
    for box, points in zip(found.boxes, found.landmarks, strict=True):
        margin = 0.2 * (box[2:] - box[:2])
        x1, y1 = np.maximum(box[:2] - margin, 0).astype(int)
        x2, y2 = (box[2:] + margin).astype(int)
        made.append((pixels[y1:y2, x1:x2], points - np.array([x1, y1], np.float32)))
    return made


def write_lists(
    folder: Path,
    name: str,
    faces_in: Sequence[Face],
    pairs: Sequence[tuple[int, int, int]],
    images: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]],
) -> Path:
    """Writes `meta/` and `loose_crop/`: face i is `i.png`, the images taken in turn."""
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    (folder / "loose_crop").mkdir(exist_ok=True)
    tid_mid, points = [], []
    for number, face in enumerate(faces_in):
        pixels, landmarks = images[number % len(images)]
        Image.fromarray(pixels).save(folder / "loose_crop" / f"{number}.png")
        tid_mid.append(f"{number}.png {face.template} {face.media}")
        places = " ".join(f"{value:.3f}" for value in landmarks.reshape(-1))
        points.append(f"{number}.png {places} {face.score:.3f}")
    texts = {
        "face_tid_mid": tid_mid,
        "name_5pts_score": points,
        "template_pair_label": [f"{a} {b} {same}" for a, b, same in pairs],
    }
    for part, lines in texts.items():
        (folder / "meta" / f"{name}_{part}.txt").write_text("\n".join(lines) + "\n")
    return folder
