"""The table of the published systems: each part has its row, and each file, test and command that it names is there."""

import ast
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Final

import click
import pytest

from export.cli import main as mien_export
from model.training.cli import main as mien_train
from model.training.prepare.layout import KINDS
from model.training.recipes.names import NAMES
from service.cli import main as mien
from tests.house import tree

TABLE: Final = Path("docs/systems.md")
SYSTEMS: Final = ("SwinFace", "TMLFA", "FAER", "face_analysis_pytorch")
PARTS: Final = (
    "network",
    "variants",
    "losses",
    "checkpoint import",
    "data layouts",
    "recipe",
    "augmentation",
    "evaluation",
    "pictures",
    "tools",
    "export and serving",
)
COMMANDS: Final = {"mien": mien, "mien-train": mien_train, "mien-export": mien_export}


@cache
def sections() -> dict[str, str]:
    """The document's chapters, by heading."""
    parts = re.split(r"^## (.+)$", tree.text(TABLE), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(system: str) -> list[list[str]]:
    """A system's table: part, where it lives, which tests hold it."""
    lines = [line for line in sections()[system].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def named(text: str) -> list[str]:
    """What stands in code type."""
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_part_of_every_system_has_its_row(system: str) -> None:
    """Each system has a row for each part, and each row names a file where it lives and a test that holds it."""
    found = rows(system)
    assert [row[0] for row in found] == list(PARTS)
    for part, lives, held in found:
        assert any(name.endswith(".py") for name in named(lives)), part
        assert any("::test_" in name for name in named(held)), part


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_file_and_folder_in_the_table_exists(system: str) -> None:
    """What is named as the place of a part is a file of the project, or a folder with files of it."""
    places = {str(name) for name in tree.files()} | {f"{up}/" for name in tree.files() for up in name.parents}
    named_places = [name for _, lives, _ in rows(system) for name in named(lives) if "/" in name and " " not in name]
    assert [name for name in named_places if name not in places] == []


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_test_in_the_table_exists(system: str) -> None:
    """Each `FILE::TEST` is a test of that file."""
    tests = [name for _, _, held in rows(system) for name in named(held)]
    assert [name for name in tests if not _is_test(name)] == []


def test_every_command_in_the_table_exists() -> None:
    """Each command line names a command, options and a recipe that there are."""
    lines = [line.split("  #")[0] for line in _command_lines()]
    assert len(lines) >= 10
    for line in lines:
        _check(shlex.split(line))


def test_a_name_that_is_nowhere_is_seen() -> None:
    """A test, a command, an option, a recipe and a kind that do not exist are found out, and so is a missing option."""
    assert _is_test("tests/house/test_tree.py::test_init_files_are_empty")
    assert not _is_test("tests/house/test_tree.py::test_nothing_at_all")
    assert not _is_test("tests/house/test_none.py::test_init_files_are_empty")
    for line in (
        "mien extrct photos --out x.csv",
        "mien extract photos --out x.csv --fast",
        "mien extract photos --resume",
        "mien-train train swinfaces --data DATA",
        "mien-train prepare celebb CelebA --out DATA",
    ):
        with pytest.raises(AssertionError):
            _check(shlex.split(line))


def _is_test(name: str) -> bool:
    file, _, test = name.partition("::")
    if not (tree.PROJECT / file).is_file():
        return False
    defined = {node.name for node in ast.walk(tree.parse(Path(file))) if isinstance(node, ast.FunctionDef)}
    return test.startswith("test_") and test in defined


def _command_lines() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", tree.text(TABLE), re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    lines = [re.sub(r"^torchrun .*-m model\.training ", "mien-train ", line) for line in joined.splitlines()]
    inline = [name for name in named(re.sub(r"```.*?```", "", tree.text(TABLE), flags=re.DOTALL)) if " " in name]
    return [line for line in (*lines, *inline) if line.split(" ")[0] in COMMANDS]


def _check(words: list[str]) -> None:
    command: click.Command = COMMANDS[words[0]]
    rest = words[1:]
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, " ".join(words)
        command, rest = found, rest[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    given = {word for word in rest if word.startswith("--")}
    assert given <= known, " ".join(words)
    needed = [option for option in command.params if option.required and isinstance(option, click.Option)]
    # A command that is only named has no options; a line to type has all that it needs.
    assert not given or all(given & set(option.opts) for option in needed), " ".join(words)
    if (words[0], command.name) == ("mien-train", "train"):
        assert rest[0] in NAMES, " ".join(words)
    if (words[0], command.name) == ("mien-train", "prepare"):
        assert rest[0] in KINDS, " ".join(words)
