"""The options that every `mien-export import` command has: which pack is to come out, and how.

Holds the reading of them alone. Never imports torch before a command runs.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import click

from export.terminal import require_name, typed_command
from model.runtime.pack import DEFAULT_PACK

if TYPE_CHECKING:
    from export.importers.packing import Target, Terms

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class PackOptions:
    """What was typed; None where nothing was."""

    out: Path
    detector: str | None
    version: str
    license_text: str | None
    allowed_use: str | None
    photographs: tuple[Path, ...]
    force: bool

    def target(self, default: "Terms", detector: str = DEFAULT_PACK) -> "Target":
        """The pack that is to be made.

        Args:
            default: the terms where no `--license` was typed.
            detector: the detector where none was typed.
        """
        from export.importers.packing import Target, Terms

        terms = default
        if self.license_text is not None:
            terms = Terms(self.license_text, self.allowed_use or "As the licence says.")
        elif self.allowed_use is not None:
            terms = Terms(default.license, self.allowed_use)
        return Target(
            out=self.out,
            terms=terms,
            detector=self.detector or detector,
            version=self.version,
            photographs=self.photographs,
            force=self.force,
            command=typed_command(),
        )


def pack_options(
    detector: str = f"a copy of the shipped pack's, {DEFAULT_PACK}",
) -> Callable[[Callable[Concatenate[PackOptions, P], None]], Callable[P, None]]:
    """Adds the options to a command, whose first argument they become as one `PackOptions`.

    Args:
        detector: which one is taken where none is named, in words.
    """

    def add(command: Callable[Concatenate[PackOptions, P], None]) -> Callable[P, None]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            options = PackOptions(**{name: kwargs.pop(name) for name in PackOptions.__slots__})  # type: ignore[arg-type]
            require_name(options.out.name, "--out")
            command(options, *args, **kwargs)

        wrapped: Callable[P, None] = run
        for option in reversed(_options(detector)):
            wrapped = option(wrapped)
        return wrapped

    return add


def _options(detector: str) -> list[Callable[[Callable[P, None]], Callable[P, None]]]:
    return [
        click.option(
            "--out",
            required=True,
            type=click.Path(file_okay=False, path_type=Path),
            help="The pack's folder; its name is the pack's.",
        ),
        click.option(
            "--detector",
            default=None,
            metavar="PACK|FILE",
            help=f"A pack whose detector is copied, an SCRFD .onnx, or a detector's checkpoint.  [default: {detector}]",
        ),
        click.option("--version", default="0.1.0", show_default=True, help="The pack's version."),
        click.option(
            "--license",
            "license_text",
            default=None,
            help="Licence of the weights.  [default: what is known of the system's]",
        ),
        click.option("--allowed-use", default=None, help="A sentence on allowed use.  [default: as for --license]"),
        click.option(
            "--photo",
            "photographs",
            multiple=True,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Compare on the faces of this photograph; may be repeated.  [default: those of installed packages]",
        ),
        click.option("--force", is_flag=True, help="Replace a folder of that name even if it is no pack."),
    ]
