"""The API reference's files: they are there, current enough, and name no other host to load from."""

import importlib.util
import re
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from service.docs_assets import SCRIPT, STYLE, docs_dir
from service.errors import StartupError


def test_swagger_ui_5_is_installed() -> None:
    """The script is of version 5.20 or later, which renders OpenAPI 3.1."""
    text = (docs_dir() / SCRIPT).read_text(encoding="utf-8")
    found = re.search(r'PACKAGE_VERSION:"(\d+)\.(\d+)', text)
    assert found is not None
    assert (int(found[1]), int(found[2])) >= (5, 20)


def test_the_style_loads_nothing_from_elsewhere() -> None:
    """The style sheet imports nothing by a network address."""
    text = (docs_dir() / STYLE).read_text(encoding="utf-8")
    assert not re.search(r"url\(\s*['\"]?https?:", text)
    assert "@import" not in text


@pytest.mark.parametrize("spec", [None, "empty"])
def test_a_missing_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spec: str | None) -> None:
    """Where the package or its files are absent, start-up says what to install."""
    found = None
    if spec is not None:
        found = ModuleSpec("fastapi_offline", None, is_package=True)
        found.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: found)
    with pytest.raises(StartupError, match="install fastapi-offline"):
        docs_dir()
