"""The command `mien`: serves a pack, analyses and compares photographs without a server, and shows packs.

Holds its commands' names, and imports a command when it is asked for: a service is ready the sooner for what it does
not import. Never holds what a command does.
"""

import importlib
from typing import Final

import click

from service.memory import uncollected
from service.names import nearest

_COMMANDS: Final = {  # by name: the module and what it calls the command
    "analyze": ("service.photo_commands", "analyze_command"),
    "bench": ("service.bench.command", "bench_command"),
    "extract": ("service.extract.command", "extract_command"),
    "match": ("service.match.command", "match_command"),
    "pack": ("service.pack_command", "pack_group"),
    "serve": ("service.serve_command", "serve_command"),
    "verify": ("service.photo_commands", "verify_command"),
}


class _Commands(click.Group):
    """A group whose commands are imported when they are looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        with uncollected():
            command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not ctx.resilient_parsing:
            raise click.UsageError(f"unknown command {nearest(args[0], list(_COMMANDS))}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mien", prog_name="mien")
def main() -> None:
    """Face analysis: every face on a photograph, with box, landmarks, age, gender, expression and attributes.

    \b
    Start here:
      mien analyze photo.jpg                 a table of the faces on a photograph
      mien analyze *.jpg --draw marked/      the photographs with the faces marked
      mien verify a.jpg b.jpg                are these two the same person?
      mien extract photos/ --out faces.csv   a row a face, for images of any number
      mien match --probe faces.csv --out m/  every pair's score, and TAR at FMR over all of them
      mien bench                             how fast is it here, and what does an overload do?
      mien serve                             the HTTP service, its page and its reference
    """  # noqa: D301 - click needs the control character
