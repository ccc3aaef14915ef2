"""What the commands share at the terminal: mistakes as one line, names held to their characters."""

import errno

import click
import pytest

from export.errors import ExportError
from export.terminal import one_line, require_name


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ExportError("the graph differs"), "the graph differs"),
        (OSError(errno.ENOSPC, "No space left on device", "packs/x.onnx"), "packs/x.onnx: No space left on device"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "torch is missing; install the train extra"),
    ],
)
def test_what_a_person_can_mend_is_one_line(error: Exception, line: str) -> None:
    """This project's own errors, a full disk and a missing extra become one line without a traceback."""
    with pytest.raises(click.ClickException, match=line), one_line():
        raise error


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    """An error of another origin is no person's mistake and is not dressed up as one."""
    with pytest.raises(ValueError, match="a bug"), one_line():
        raise ValueError("a bug")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "müsli", "a b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """A pack's name is letters, digits, dot, underscore and hyphen, and begins with a letter or digit."""
    require_name("Nano-1.2_b")
    with pytest.raises(click.UsageError, match="letters, digits"):
        require_name(name, "--out")
