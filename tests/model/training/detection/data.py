"""A small detection data set that a test makes: red heads on grey noise, in the real set's columns."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from model.training.detection.scenes import Kind, Scene, read_scenes

SKIN = (230, 60, 60)  # no ground is as red as a drawn head
# Landmarks of an upright head in shares of its box.
_POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]], np.float32)
_COLUMNS = pa.schema(
    [
        ("name", pa.string()),
        ("kind", pa.string()),
        ("image", pa.binary()),
        ("boxes", pa.list_(pa.list_(pa.float32(), 4))),
        ("landmarks", pa.list_(pa.list_(pa.float32(), 10))),
        ("scores", pa.list_(pa.float32())),
    ]
)


def draw_heads(
    kind: Kind, size: tuple[int, int], boxes: list[tuple[int, int, int, int]], seed: int = 0, score: float = 0.9
) -> Scene:
    """A scene of a width and height with an ellipse of `SKIN` in every box, five dark points on each."""
    grey = np.random.default_rng(seed).integers(0, 120, (size[1], size[0], 1), np.uint8)
    pixels = np.repeat(grey, 3, axis=2)
    landmarks = np.zeros((len(boxes), 5, 2), np.float32)
    for head, (x1, y1, x2, y2) in enumerate(boxes):
        centre, half = ((x1 + x2) / 2, (y1 + y2) / 2), ((x2 - x1) / 2, (y2 - y1) / 2)
        cv2.ellipse(pixels, (centre, (2 * half[0], 2 * half[1]), 0.0), SKIN, -1)
        landmarks[head] = np.array([x1, y1]) + _POINTS * np.array([x2 - x1, y2 - y1])
        for x, y in landmarks[head]:
            cv2.circle(pixels, (round(float(x)), round(float(y))), 1, (20, 0, 0), -1)
    scores = np.full(len(boxes), score, np.float32)
    return Scene(f"{kind}{seed}", kind, pixels, np.array(boxes, np.float32).reshape(-1, 4), landmarks, scores)


def heads() -> tuple[Scene, ...]:
    """Six scenes of every kind."""
    photos = [draw_heads("photo", (160, 120), [(40, 30, 80, 80)], seed) for seed in range(2)]
    several = draw_heads("photo", (200, 140), [(20, 20, 50, 60), (110, 40, 160, 100)], 2)
    crop = draw_heads("crop", (100, 100), [(25, 20, 75, 85)], 3)
    return (*photos, several, crop, *(draw_heads("room", (150, 110), [], seed) for seed in (4, 5)))


def write_scenes(path: Path, scenes: tuple[Scene, ...]) -> None:
    """Writes scenes as the real data set's files are written, images as lossless WebP."""
    rows = [
        {
            "name": scene.name,
            "kind": scene.kind,
            "image": _webp(scene.pixels),
            "boxes": scene.boxes.tolist(),
            "landmarks": scene.landmarks.reshape(-1, 10).tolist(),
            "scores": scene.scores.tolist(),
        }
        for scene in scenes
    ]
    parquet.write_table(pa.Table.from_pylist(rows, schema=_COLUMNS), path)


def write_data(folder: Path) -> Path:
    """Writes both splits into a folder; returns it."""
    write_scenes(folder / "detection-train-00.parquet", heads())
    write_scenes(folder / "detection-val.parquet", tuple(scene for scene in heads() if scene.kind != "crop"))
    assert len(read_scenes(folder, "train")) == len(heads())
    return folder


def _webp(pixels: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".webp", np.ascontiguousarray(pixels[:, :, ::-1]), [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert done
    return data.tobytes()
