"""Fixtures of extraction's tests: the command, and small photographs with known faces."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from tests.packs import Square, photo

Extract = Callable[..., Result]
RED = photo(Square(16, 16, 32, (255, 60, 220)))
GREEN = photo(Square(16, 16, 32, (60, 255, 220)))
TWO = photo(Square(16, 16, 64, (255, 200, 240)), Square(112, 112, 32, (200, 240, 255)))
EMPTY = photo()


@pytest.fixture
def extract(tiny_pack: Path) -> Extract:
    """Runs `mien extract` in this process, with the tiny pack."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, ["extract", "--pack", str(tiny_pack), *map(str, arguments)])

    return run


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A folder of folders: anna has two photographs, ben one of two faces, no one is on the last."""
    files = {"anna/anna_1.png": RED, "anna/anna_2.png": GREEN, "ben/ben_1.png": TWO, "none/none_1.png": EMPTY}
    for name, data in files.items():
        path = tmp_path / "people" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "people"


def one_line(result: Result) -> str:
    """The one line on stderr of a command that failed without a traceback."""
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit), result.exception
    errors = [line for line in result.stderr.splitlines() if line and not line.startswith(("Usage:", "Try "))]
    assert len(errors) == 1, result.stderr
    return errors[0]
