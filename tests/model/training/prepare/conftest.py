"""Real photographs of one face each, and what prepares them: the shipped detector.

Never makes up a face: six are cut from InsightFace's bundled photograph, one is scikit-image's astronaut.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.runtime.alignment import five_point_matrix, warp
from model.runtime.detection import Detector
from model.training.dataset import FaceTable, read_faces
from model.training.prepare.crops import Cutter
from model.training.prepare.face_finder import open_detector
from model.training.prepare.preparation import Job, Summary, prepare
from model.training.prepare.rows import BadRow


def _wall() -> NDArray[np.uint8]:
    """What a camera sees of a wall: soft light and a little grain, uint8 (240, 320, 3)."""
    rows, columns = np.mgrid[:240, :320]
    red, green = 120 + 60 * np.sin(columns / 70) + 20 * np.sin(rows / 45), 110 + 50 * np.sin(columns / 90 + 1)
    light = np.stack([red, green, 100 + 40 * np.sin(rows / 60)], 2)
    return (light + np.random.default_rng(0).normal(0, 4, light.shape)).clip(0, 255).astype(np.uint8)


WALL = _wall()


@dataclass(frozen=True)
class Photo:
    """A photograph of one face: its JPEG, its pixels, and where the face's five landmarks lie on it."""

    jpeg: bytes
    pixels: NDArray[np.uint8]
    landmarks: NDArray[np.float32]

    def aligned(self, side_px: int = 112) -> bytes:
        """The face by five points, as a JPEG."""
        return jpeg(warp(self.pixels, five_point_matrix(self.landmarks, side_px), side_px))

    def save(self, path: Path) -> Path:
        """Writes the photograph, and the folders above it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.jpeg)
        return path


@dataclass(frozen=True)
class Prepared:
    """A set that was prepared, read back."""

    summary: Summary
    out: Path
    name: str

    def table(self, split: str = "train") -> FaceTable:
        """One split of it."""
        return read_faces(self.out, self.name, split)

    @property
    def left_out(self) -> dict[str, str]:
        """Why each row that was left out was, by its name."""
        lines = self.summary.report.read_text(encoding="utf-8").splitlines()
        rows = [BadRow(**json.loads(line)) for line in lines]
        return {row.name: row.reason for row in rows}


def jpeg(pixels: NDArray[np.uint8], quality: int = 95) -> bytes:
    """JPEG bytes of uint8 pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def decoded(data: bytes) -> NDArray[np.int64]:
    """Pixels of an encoded image, as numbers that may be subtracted."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


def save_wall(path: Path) -> Path:
    """Writes an image without a face, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(WALL))
    return path


@pytest.fixture(scope="session")
def detector() -> Detector:
    """The shipped pack's detector."""
    return open_detector("nano")[0]


@pytest.fixture(scope="session")
def photos(detector: Detector, six_faces: bytes, astronaut: bytes) -> tuple[Photo, ...]:
    """Seven photographs of one face each."""
    found = []
    for data in (six_faces, astronaut):
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("RGB"))
        faces = detector.detect([pixels])[0]
        for box in faces.boxes[np.argsort(faces.boxes[:, 0])]:
            x1, y1, x2, y2 = box
            margin = 0.6 * max(x2 - x1, y2 - y1)
            left, top = max(int(x1 - margin), 0), max(int(y1 - margin), 0)
            crop = np.ascontiguousarray(pixels[top : int(y2 + margin), left : int(x2 + margin)])
            inside = detector.detect([crop])[0]
            areas = (inside.boxes[:, 2:] - inside.boxes[:, :2]).prod(axis=1)
            found.append(Photo(jpeg(crop), crop, inside.landmarks[int(areas.argmax())]))
    assert len(found) == 7
    return tuple(found)


@pytest.fixture
def prepared(tmp_path: Path, detector: Detector) -> Callable[..., Prepared]:
    """Prepares sources of a kind into a folder of the test's own, and reads the set back."""

    def run(kind: str, *sources: Path, name: str = "made", **options: object) -> Prepared:
        job = Job(kind, tuple(sources), tmp_path / "out", name=name, workers=2, **options)  # type: ignore[arg-type]
        summary = prepare(job, Cutter(job.side_px, job.alignment, detector))
        return Prepared(summary, job.out, name)

    return run
