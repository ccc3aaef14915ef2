"""The shape of the tree: sizes, names, docstrings, and what no tracked file may hold."""

import ast
import re
from pathlib import Path

import pytest

from tests.house import tree

CEILING_LINES = 350
MEANINGLESS = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
# Split so that this file does not hold them itself.
REGISTRY_HOSTS = ("pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "deb.debian" + ".org")
LARGEST_KB = 30_000
FOREIGN_SUFFIXES = {".parquet", ".pt", ".pth", ".ckpt", ".npz"}


def test_init_files_are_empty() -> None:
    """Every `__init__.py` is empty, so that importing a package runs nothing."""
    assert [str(name) for name in tree.python_files() if name.name == "__init__.py" and tree.text(name)] == []


def test_no_python_file_passes_the_ceiling() -> None:
    """No Python file has more than 350 lines."""
    lengths = {str(name): len(tree.text(name).splitlines()) for name in tree.python_files()}
    assert {name: length for name, length in lengths.items() if length > CEILING_LINES} == {}


def test_names_say_what_they_hold() -> None:
    """No module, folder, class or function is named for nothing: utils, helpers, common, manager."""
    found = [str(name) for name in tree.files() if MEANINGLESS & {part.lower() for part in (*name.parts, name.stem)}]
    for name in tree.python_files():
        found += [f"{name}: {defined}" for defined in _definitions(name) if MEANINGLESS & set(_words(defined))]
    assert found == []


@pytest.mark.parametrize("package", tree.PACKAGES)
def test_modules_say_what_never_lives_in_them(package: str) -> None:
    """Every module's docstring says what lives in it, and what it never does."""
    silent = []
    for name in tree.python_files(package):
        docstring = ast.get_docstring(tree.parse(name)) or ""
        if name.name != "__init__.py" and not re.search(r"\b[Nn]ever\b", docstring):
            silent.append(str(name))
    assert silent == []


def test_every_test_states_a_behaviour() -> None:
    """Every test's docstring begins with one sentence, which states a behaviour."""
    silent = []
    for name in tree.python_files("tests"):
        for node in ast.walk(tree.parse(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                first = (ast.get_docstring(node) or "").split("\n")[0]
                if len(first.split()) < 3 or not first.endswith((".", ":", ",", ";", "?")):
                    silent.append(f"{name}:{node.lineno} {node.name}")
    assert silent == []


def test_tests_hold_no_sleep() -> None:
    """No test sleeps: each waits on a condition or an event; `sleep(0)` only gives way to other tasks."""
    sleeping = []
    for name in tree.python_files("tests"):
        for node in ast.walk(tree.parse(name)):
            if isinstance(node, ast.Call) and re.fullmatch(r"(\w+\.)?sleep\((?!0\)).*\)", ast.unparse(node)):
                sleeping.append(f"{name}:{node.lineno}")
    assert sleeping == []


def test_no_file_names_a_registry() -> None:
    """No tracked text holds a package registry's address, a lock file's download address included."""
    found = [str(name) for name in tree.files() if any(host in _readable(name) for host in REGISTRY_HOSTS)]
    assert found == []


def test_nothing_foreign_or_huge_is_tracked() -> None:
    """No data set, foreign weights or file over 30 MB is tracked; photographs come out of installed packages."""
    foreign = [str(name) for name in tree.files() if name.suffix.lower() in FOREIGN_SUFFIXES]
    huge = [str(name) for name in tree.files() if (tree.PROJECT / name).stat().st_size > LARGEST_KB * 1000]
    assert (foreign, huge) == ([], [])


def _definitions(name: Path) -> list[str]:
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [node.name for node in ast.walk(tree.parse(name)) if isinstance(node, kinds)]


def _words(identifier: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)]


def _readable(name: Path) -> str:
    try:
        return tree.text(name)
    except UnicodeDecodeError:
        return ""  # a binary file
