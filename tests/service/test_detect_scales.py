"""`MIEN_DETECT_SCALES`: how often the detector looks at an image, through a real server with the shipped pack."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from model.runtime.pack import find_pack
from service.errors import StartupError
from service.onnx_engine import open_engine
from service.settings import read_settings
from tests.service.serving import Served, serving, settings_for


@pytest.fixture(scope="module")
def close_up(astronaut_path: Path) -> bytes:
    """The astronaut's face, larger than the frame, as a PNG."""
    picture = cv2.imread(str(astronaut_path))
    assert picture is not None
    done, data = cv2.imencode(".png", np.ascontiguousarray(picture[61:169, 171:279]))
    assert done
    return data.tobytes()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(settings_for(find_pack("nano"), detect_scales=(1.0, 0.5))) as served:
        yield served


def answer(served: Served, data: bytes) -> list[dict[str, Any]]:
    answered = served.client.post("/analyze", content=data, headers={"content-type": "image/png"})
    found: list[dict[str, Any]] = answered.json()["images"][0]["faces"]
    return found


def views(served: Served) -> float:
    lines = served.client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("mien_detector_views_total"))


def test_a_face_that_fills_the_frame_is_found_by_a_second_look(served: Served, close_up: bytes) -> None:
    """A close-up's face is answered, its box reaching the frame's edges, and its second look is counted."""
    before = views(served)
    faces = answer(served, close_up)
    assert len(faces) == 1
    x1, y1, x2, y2 = faces[0]["box"]
    assert x2 - x1 > 70
    assert y2 - y1 > 90
    assert views(served) - before == 2


def test_a_photograph_of_sure_faces_is_looked_at_once(served: Served, six_faces: bytes) -> None:
    """Six sure faces are six answers from one look."""
    before = views(served)
    assert len(answer(served, six_faces)) == 6
    assert views(served) - before == 1


def test_scales_win_over_the_packs() -> None:
    """The engine's pack states the scales that are served, and the pack's own where none were chosen."""
    assert open_engine("nano", scales=(1.0, 0.5, 2.0)).pack.detector.scales == (1.0, 0.5, 2.0)
    assert open_engine("nano", scales=(1.0,)).pack.detector.scales == (1.0,)
    assert open_engine("nano").pack.detector.scales[0] == 1.0


def test_the_variable_is_a_list_of_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scales are written with commas; what they cannot be stops start-up in one line."""
    assert read_settings().detect_scales is None
    monkeypatch.setenv("MIEN_DETECT_SCALES", "1, 0.5")
    assert read_settings().detect_scales == (1.0, 0.5)
    monkeypatch.setenv("MIEN_DETECT_SCALES", "0.5")
    with pytest.raises(StartupError, match=r"^MIEN_DETECT_SCALES: scales are 1 and") as refusal:
        read_settings()
    assert "\n" not in str(refusal.value)
