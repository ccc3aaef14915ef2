"""Builds the project's wheel out of tracked files alone, as a stranger's clone would have them."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.house import tree


def build_wheel(folder: Path) -> Path:
    """Builds the wheel under `folder`, from a copy: leftovers of an earlier build would travel with it."""
    source = folder / "source"
    for name in tree.files():
        if name.parts[0] in {*tree.PACKAGES, "pyproject.toml", "README.md", "LICENSE"}:
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree.PROJECT / name, target)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("mien-*.whl")
    return wheel
