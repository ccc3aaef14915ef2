"""Fixtures of the service's tests: the tiny pack, and a service that serves it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packs import build_pack
from tests.service.serving import Served, serving, settings_for


@pytest.fixture(scope="session")
def tiny_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny real pack with all six tasks, calibrated."""
    return build_pack(tmp_path_factory.mktemp("packs") / "tiny")


@pytest.fixture(scope="module")
def served(tiny_pack: Path) -> Iterator[Served]:
    """A service of the tiny pack, with default settings."""
    with serving(settings_for(tiny_pack)) as service:
        yield service
