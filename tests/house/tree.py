"""The project's own files, as the tests of the house see them: what git tracks, or would track once added."""

import ast
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("service", "model", "export")


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project that is there, by path relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    names = sorted({Path(name) for name in listed.stdout.decode().split("\0") if name})
    return tuple(name for name in names if (PROJECT / name).is_file())


def python_files(*trees: str) -> tuple[Path, ...]:
    """The Python files under the named top-level folders, or all of them."""
    return tuple(name for name in files() if name.suffix == ".py" and (not trees or name.parts[0] in trees))


def text(name: Path) -> str:
    """A file's text."""
    return (PROJECT / name).read_text(encoding="utf-8")


def parse(name: Path) -> ast.Module:
    """A Python file's syntax tree."""
    return ast.parse(text(name), filename=str(name))
