"""What every command of `mien-export` shares at the terminal.

Holds a person's mistake as one clear line, SIGTERM as Ctrl-C, the check of a pack's name, what was typed, and the last
line of a command that made a pack. Never does a command's work, and never imports torch.
"""

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click


@contextmanager
def one_line() -> Iterator[None]:
    """A mistake of the person who runs it is one line on the error stream, and exit code 1."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is missing; install the train extra: pip install 'mien[train]'"
        ) from error
    except OSError as error:  # a full disk, a folder that may not be written
        named = "" if error.filename is None else f"{error.filename}: "
        raise click.ClickException(f"{named}{error.strerror or error}") from error
    except (ValueError, RuntimeError) as error:  # each of this project's errors that a person can mend is one of these
        if not type(error).__module__.startswith(("export.", "model.")):
            raise
        raise click.ClickException(str(error)) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does, so that nothing half made is left."""

    def stop(_: int, __: FrameType | None) -> None:
        sys.exit(128 + signal.SIGTERM)

    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def require_name(name: str, option: str = "--name") -> None:
    """Holds a pack's name to the characters that it may have.

    Raises:
        click.UsageError: naming the option that it came from.
    """
    if not name[:1].isalnum() or not all(char.isascii() and (char.isalnum() or char in "._-") for char in name):
        raise click.UsageError(
            f"{option} {name!r}: letters, digits, '.', '_' and '-', beginning with a letter or digit"
        )


def typed_command() -> str:
    """What was typed, as one would type it again."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def say_made(folder: Path) -> None:
    """Says where a finished pack is, how large, and how to serve it."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    click.echo(f"{folder}: {size / 1e6:.1f} MB; serve it with: mien serve --pack {folder}")
