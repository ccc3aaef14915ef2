"""Progress: what a person sees while an export works.

Holds lines and bars on the standard error stream. Never measures and never decides.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Stages:
    """Stages on the terminal: a spinner where there is one, and a line with the seconds a finished stage took."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    @contextmanager
    def stage(self, name: str, *, has_bars: bool = False) -> Iterator[None]:
        """Shows the name while the block runs, unless the block draws bars of its own, and the time it took after."""
        start = time.perf_counter()
        with self._console.status(name) if sys.stderr.isatty() and not has_bars else nullcontext():
            yield
        self._console.print(f"{name}: {time.perf_counter() - start:.1f} s", soft_wrap=True)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Bars on the terminal; nothing where the stream is none."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, disable=not sys.stderr.isatty()) as bars:
            yield bars
