"""Opening: what commands do before they analyse: options that they share, settings, tasks, an analyzer that is warm.

Never shows a traceback for a user's mistake: each becomes one line on stderr and a non-zero exit.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import click

from model.runtime.labels import Task
from model.runtime.pack import DEFAULT_PACK, Pack, PackError, find_pack, read_pack
from service.app import open_analyzer
from service.blocking import BlockingAnalyzer
from service.errors import ServiceError, StartupError
from service.memory import keep_freed_memory
from service.names import nearest
from service.settings import Settings, read_settings

T = TypeVar("T")

DEADLINE_MS: Final = 600_000  # nobody waits for a queue here: a slow machine may take its time

pack_option = click.option(
    "--pack", metavar="NAME|PATH",
    help=f"Name of a pack that ships, or path of a pack's folder.  [default: MIEN_PACK, or {DEFAULT_PACK}]",
)  # fmt: skip


def settings_with(**options: object) -> Settings:
    """Settings from the environment, with the options that were given over them."""
    try:
        return read_settings(None, **{name: value for name, value in options.items() if value is not None})
    except StartupError as error:
        raise click.ClickException(str(error)) from None


def stated(pack: str) -> Pack:
    """What a pack states, before its graphs are opened."""
    try:
        return read_pack(find_pack(pack))
    except PackError as error:
        raise click.ClickException(str(error)) from None


def chosen_tasks(text: str | None, known: tuple[Task, ...]) -> tuple[Task, ...] | None:
    """The tasks that `--tasks` names, in the pack's order; None where it was not given."""
    if text is None:
        return None
    asked = [name.strip() for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in known:
            raise click.UsageError(f"unknown task {nearest(name, known)}")
    if not asked:
        raise click.UsageError("--tasks names no task")
    return tuple(task for task in known if task in asked)


def opened(settings: Settings) -> BlockingAnalyzer:
    """An analyzer that is warm; to be closed."""
    keep_freed_memory()
    try:
        return open_analyzer(settings)
    except (StartupError, PackError) as error:
        raise click.ClickException(str(error)) from None


def or_exit(act: Callable[[], T]) -> T:
    """What `act` returns; a refusal becomes the command's one line."""
    try:
        return act()
    except ServiceError as error:
        raise click.ClickException(error.detail) from None
