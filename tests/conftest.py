"""Fixtures that every tree of tests shares: where the real photographs and the real data set are.

Never makes up an image: the two photographs come out of installed packages, and a test whose data is absent skips with
a reason.
"""

import importlib.util
import os
from pathlib import Path
from typing import Final

import pytest

from tests.imported import (  # noqa: F401 - fixtures of every tree
    full_face_analysis,
    full_faer,
    full_swinface,
    small_face_analysis,
    small_faer,
    small_swinface,
    small_tmlfa,
)

PROJECT: Final = Path(__file__).resolve().parent.parent
# Taken out of the environment: the service refuses to start with a MIEN_* variable that is no setting of its own.
_DATA: Final = Path(os.environ.pop("MIEN_DATA", PROJECT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def project() -> Path:
    """The repository's root."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the real data set, `../shared/data` or `MIEN_DATA`; a test that asks for it skips without it."""
    if not (_DATA / "labels.json").is_file():
        pytest.skip("needs the real data set in ../shared/data (or MIEN_DATA), which is not here")
    return _DATA


@pytest.fixture(scope="session")
def six_faces_path() -> Path:
    """InsightFace's bundled photograph of six faces, 1280 x 886 pixels, by path."""
    return _inside("insightface", "data/images/t1.jpg")


@pytest.fixture(scope="session")
def six_faces(six_faces_path: Path) -> bytes:
    """InsightFace's bundled photograph of six faces, a JPEG's bytes."""
    return six_faces_path.read_bytes()


@pytest.fixture(scope="session")
def astronaut_path() -> Path:
    """scikit-image's photograph of one astronaut, 512 x 512 pixels, by path."""
    return _inside("skimage", "data/astronaut.png")


@pytest.fixture(scope="session")
def astronaut(astronaut_path: Path) -> bytes:
    """scikit-image's photograph of one astronaut, a PNG's bytes."""
    return astronaut_path.read_bytes()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test that asks for the real data set, so that `-m "not data"` leaves it out whoever wrote it."""
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("data")


@pytest.fixture(autouse=True)
def _data_present(request: pytest.FixtureRequest) -> None:
    """Skips a test marked `data` where the data set is absent, even if it finds the data some other way."""
    if request.node.get_closest_marker("data") is not None:
        request.getfixturevalue("shared_data")


def _inside(package: str, relative: str) -> Path:
    # Found without an import: insightface imports onnxruntime and a network stack that some tests must not have loaded.
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is not installed; `make test` installs it"
    assert spec.origin is not None, f"{package} has no files"
    path = Path(spec.origin).parent / relative
    assert path.is_file(), f"{path} is missing from {package}"
    return path
