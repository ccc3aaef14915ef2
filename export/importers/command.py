"""`mien-export import`: packs of other systems' checkpoints and model zoos, one command a system.

Holds what reads the command line and the options that every system shares. Never does the work, and imports torch only
when a command runs.
"""

import click


@click.group(name="import")
def import_() -> None:
    """Makes a pack of another system's published weights."""
